"""Records handed to the black box: one datagram each, from a real process, to a socket of the test's."""

import contextlib
import json
import os
import select
import socket
import threading
from concurrent import futures

import pytest

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
TWO = """
from coldspan import call
def handler(event, context):
    with call("pricing", "quote"):
        pass
    return 1
invoke(handler)
invoke(handler)
"""
EXPORTING = {"COLDSPAN_EXPORT": "otlp", "AWS_LAMBDA_RUNTIME_API": ""}


@pytest.fixture
def blackbox():
    """A bound socket where the black box would be; `.messages()` gives (kind, body) of what has come."""
    api = f"test-{os.urandom(6).hex()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(f"\0coldspan-{api}")
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        yield api, bound


def messages(bound):
    """(kind, document) of every line of the datagrams that wait."""
    found = []
    while True:
        try:
            head, _, body = bound.recv(1 << 20).partition(b"\n")
        except BlockingIOError:
            return found
        version, kind = head.decode().split(" ")
        assert version == "coldspan/1"
        found += [(kind, json.loads(line)) for line in body.split(b"\n")]


def test_each_line_goes_to_the_black_box_too_and_then_the_end_of_the_invocation(program, blackbox):
    """What is exported would not be what was recorded, or nobody would know when all of it is there."""
    api, bound = blackbox
    run = program(TWO, **{**EXPORTING, "AWS_LAMBDA_RUNTIME_API": api})
    found = messages(bound)
    assert [kind for kind, _ in found] == ["hello", "line", "line", "end", "line", "line", "end"]
    sent = [body for kind, body in found if kind == "line"]
    placed = [(body.pop("parent_id"), body.pop("sampled")) for body in sent if "Duration" in body]
    assert placed == [("53995c3f42cd8ad8", True)] * 2
    assert sent == run.documents
    assert [body["request_id"] for kind, body in found if kind == "end"] == ["r1", "r2"]
    assert "dropped" not in run.documents[-2]


def test_what_is_exported_is_complete_where_the_log_is_not(program, blackbox):
    """A share of details for the log would be a share for the exporters."""
    api, bound = blackbox
    run = program(TWO, **{**EXPORTING, "AWS_LAMBDA_RUNTIME_API": api, "COLDSPAN_DETAIL": "0", "COLDSPAN_EMF": "false"})
    assert run.documents == []
    told = [body for kind, body in messages(bound) if kind == "line" and "Duration" in body]
    assert [len(body["calls"]) for body in told] == [1, 1]
    run = program(TWO, **{**EXPORTING, "AWS_LAMBDA_RUNTIME_API": api, "COLDSPAN_DETAIL": "0"})
    assert "calls" not in run.records[1]
    told = [body for kind, body in messages(bound) if kind == "line" and "Duration" in body]
    assert [len(body["calls"]) for body in told] == [1, 1]


def test_without_a_black_box_each_datagram_is_counted_and_nothing_else_happens(program):
    """A layer that was forgotten would show as a fault of the function, or as nothing at all."""
    run = program(TWO, **{**EXPORTING, "AWS_LAMBDA_RUNTIME_API": f"test-{os.urandom(6).hex()}"})
    assert run.code == 0
    assert [record["outcome"] for record in run.records] == ["ok", "ok"]
    assert run.records[1]["dropped"] == {"export_send_failed": 2}


def test_what_the_queue_has_no_room_for_is_read_in_the_end_and_in_its_order(program, blackbox):
    """The kernel's own queue, which holds ten: the other half of the lines of an invocation of 20 tools."""
    api, bound = blackbox
    found = []
    with futures.ThreadPoolExecutor() as pool:
        running = pool.submit(
            program,
            """
            from coldspan import call
            def handler(event, context):
                for number in range(20):
                    with call(f"tool-{number}", "quote"):
                        pass
                return 1
            for _ in range(5):
                invoke(handler)
            """,
            **{**EXPORTING, "AWS_LAMBDA_RUNTIME_API": api, "COLDSPAN_FLUSH_MS": "10000"},
        )
        while not running.done():
            select.select([bound], [], [], 0.05)
            found += messages(bound)
        run = running.result()
    found += messages(bound)
    assert [kind for kind, _ in found] == ["hello", *(["line"] * 21 + ["end"]) * 5]
    sent = [body for kind, body in found if kind == "line"]
    for body in sent:
        body.pop("parent_id", None), body.pop("sampled", None)
    assert sent == run.documents
    assert [record["dropped"] for record in run.records if "dropped" in record] == []


def test_a_record_too_large_for_a_datagram_goes_in_parts(program, blackbox):
    """A limit of the kernel's would lose the busiest invocation, with its metrics."""
    api, bound = blackbox
    got = []
    bound.settimeout(0.2)
    ended = threading.Event()

    def read():
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                got.append(bound.recv(1 << 20))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        run = program(
            """
            from coldspan import call
            def handler(event, context):
                for number in range(900):
                    with call("pricing", "quote"):
                        pass
                return 1
            invoke(handler)
            invoke(lambda event, context: 1)
            """,
            **{**EXPORTING, "AWS_LAMBDA_RUNTIME_API": api},
        )
    finally:
        ended.set()
        reader.join(30)
    assert "dropped" not in run.records[1]
    lines = [message.partition(b"\n")[2] for message in got if message.startswith(b"coldspan/1 line\n")]
    documents = [json.loads(text) for body in lines for text in body.splitlines()]
    assert [document["Calls"] for document in documents if "outcome" in document] == [900, 0]
    told = [call for document in documents for call in document.get("calls", ()) if "CallDuration" not in document]
    assert len(told) == 900


def test_a_record_of_many_lines_fits_the_queue_of_a_reader_that_has_not_had_its_turn(program, blackbox):
    """On one processor lines would be lost, and the black box would wait for the end until the deadline."""
    api, bound = blackbox
    run = program(
        """
        from coldspan import call
        def handler(event, context):
            for number in range(18):
                with call(f"tool-{number}", "quote"):
                    pass
            return 1
        invoke(handler)
        invoke(handler)
        """,
        **{**EXPORTING, "AWS_LAMBDA_RUNTIME_API": api},
    )
    found = messages(bound)
    assert [kind for kind, _ in found] == ["hello", *["line"] * 19, "end", *["line"] * 19, "end"]
    assert all("dropped" not in record for record in run.records)
