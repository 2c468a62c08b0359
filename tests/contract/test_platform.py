"""The local platform itself: what the other tests of this folder rely on."""

import http.client
import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest

from coldspan_console.platform import Answer, Invocation
from coldspan_console.platform.datagrams import segments
from coldspan_console.platform.ledger import Ledger
from coldspan_console.platform.output import Lines, documents
from coldspan_console.platform.runtime_api import RuntimeApi
from coldspan_console.platform.sandbox import BY_VARIABLES, MOUNTED, unshare_command
from coldspan_console.platform.server import Server
from support import runtimes
from support.running import steps

RUNTIME = "/2018-06-01/runtime"


@pytest.fixture
def api():
    """A RuntimeApi on a server of its own, and a connection to it."""
    ledger, runtime_api = Ledger(), RuntimeApi()
    server = Server(ledger, [runtime_api])
    connection = http.client.HTTPConnection(server.address, timeout=10)

    def request(method, path, body=None, **headers):
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    yield runtime_api, request
    connection.close()
    server.close()
    ledger.close()


def test_an_event_carries_every_header_that_it_was_given(api):
    """Names as in the Runtime API's documentation; what was not given is not there."""
    runtime_api, request = api
    runtime_api.submit(Invocation(b"[1]", tenant_id="blue", trace_id="Root=1", client_context="{}", invocation_id="a"))
    status, headers, body = request("GET", f"{RUNTIME}/invocation/next")
    assert (status, body, headers["Content-Type"]) == (200, b"[1]", "application/json")
    assert headers["Lambda-Runtime-Aws-Tenant-Id"] == "blue"
    assert headers["Lambda-Runtime-Trace-Id"] == "Root=1"
    assert headers["Lambda-Runtime-Client-Context"] == "{}"
    assert headers["Lambda-Runtime-Invocation-Id"] == "a"
    assert headers["Lambda-Runtime-Cognito-Identity"] is None
    assert int(headers["Lambda-Runtime-Deadline-Ms"]) > 1_700_000_000_000


def test_a_response_is_taken_once_and_only_for_an_event_that_was_given(api):
    """Unknown ids and second answers are refused, as by the service."""
    runtime_api, request = api
    invocation = runtime_api.submit(Invocation())
    request("GET", f"{RUNTIME}/invocation/next")
    path = f"{RUNTIME}/invocation/{invocation.request_id}/response"
    assert request("POST", f"{RUNTIME}/invocation/unknown/response", b"{}")[0] == 400
    assert [request("POST", path, b"{}")[0] for _ in range(2)] == [202, 400]
    assert invocation.posted.body == b"{}"


def test_a_response_of_more_than_six_megabytes_is_refused(api):
    """The limit is the service's: 6 MB and 100 bytes."""
    runtime_api, request = api
    for size, status in ((6_291_556, 202), (6_291_557, 413)):
        invocation = runtime_api.submit(Invocation())
        request("GET", f"{RUNTIME}/invocation/next")
        assert request("POST", f"{RUNTIME}/invocation/{invocation.request_id}/response", b"x" * size)[0] == status


def test_bodies_in_chunks_and_long_headers_are_read(api):
    """Runtimes stream, and an X-Ray cause may have a megabyte."""
    runtime_api, request = api
    invocation = runtime_api.submit(Invocation())
    request("GET", f"{RUNTIME}/invocation/next")
    path = f"{RUNTIME}/invocation/{invocation.request_id}/error"
    assert request("POST", path, iter([b"ab", b"cd"]), Cause="y" * 1_000_000)[0] == 202
    assert (invocation.posted.header("transfer-encoding"), invocation.posted.body) == ("chunked", b"abcd")
    assert len(invocation.posted.header("cause")) == 1_000_000


def test_other_paths_are_not_found(api):
    """What the platform does not have it does not pretend to have."""
    _, request = api
    assert request("GET", "/2020-01-01/extension/event/next")[0] == 404
    assert request("POST", f"{RUNTIME}/nothing")[0] == 404


def test_a_scripted_answer_is_given(api):
    """Tests of refusals rest on it."""
    runtime_api, request = api
    invocation = runtime_api.submit(Invocation(answer=Answer.container_error()))
    request("GET", f"{RUNTIME}/invocation/next")
    status, _, body = request("POST", f"{RUNTIME}/invocation/{invocation.request_id}/response", b"{}")
    assert (status, json.loads(body)["errorType"]) == (500, "InternalServerError")


def test_what_was_written_before_a_note_is_entered_before_it():
    """The order in the ledger is the function's, not that of our threads: nothing is read until the note."""
    read, write = os.pipe()
    ledger, lines = Ledger(), Lines("stdout", read)
    try:
        ledger.watch(lines)
        for number in range(200):
            os.write(write, b"line %d\n" % number)
            ledger.note("request", number)
        kinds = [entry.kind for entry in ledger.entries()]
    finally:
        os.close(write)
        ledger.close()
    assert kinds == ["stdout", "request"] * 200


def test_documents_are_told_from_what_else_is_printed():
    """A line is a document when it is one JSON object with `_aws` in it, and whole."""
    lines = [b'{"_aws": {}}\n', b'{"a": 1}\n', b' {"_aws": {}}\n', b"[1]\n", b'{"_aws": \n', b'x{"_aws": {}}\n']
    assert documents(lines) == [{"_aws": {}}]


def test_a_datagram_without_the_daemons_header_is_refused():
    """The daemon drops what it cannot read; here it is an error."""
    assert segments([b'{"format": "json", "version": 1}\n{"id": "1"}']) == [{"id": "1"}]
    for junk in (b'{"id": "1"}', b'{"format": "xml"}\n{}'):
        with pytest.raises(ValueError):
            segments([junk])


@pytest.mark.parametrize("mounting", [MOUNTED, BY_VARIABLES])
def test_a_function_finds_its_folders_where_they_were_promised(start, task, layer, mounting):
    """Mounted: the names that Lambda gives, read-only. By variables: the folders' own names, and the run says so."""
    if mounting == MOUNTED and unshare_command() is None:
        pytest.skip("no mount namespaces here")
    platform = start("environment.handler", mounting=mounting)
    seen = json.loads(platform.invoke().posted.body)
    assert platform.sandbox.mounting == mounting
    expected = ("/var/task", "/opt/python") if mounting == MOUNTED else (str(task), str(layer / "python"))
    assert (seen["LAMBDA_TASK_ROOT"], seen["sys.path"][2]) == expected
    assert seen["sys.path"][0] == seen["LAMBDA_TASK_ROOT"]
    assert not {"HOME", "COLDSPAN_LOCAL_PYTHON", "COLDSPAN_LOCAL_VERSION", "COLDSPAN_LOCAL_OPT"} & set(seen)


def test_nothing_is_left_of_a_function_that_was_closed(start):
    """No process, no folder; and the host has no mount points that it did not have."""
    before = set(Path("/var").iterdir())
    platform = start()
    platform.invoke()
    process, stage = platform.sandbox.process, platform.sandbox.stage
    platform.close()
    assert process.poll() is not None
    assert not stage.exists()
    assert set(Path("/var").iterdir()) == before


def test_the_steps_of_an_invocation_are_told_in_order(start):
    """What the other tests read."""
    platform = start(layer=None)
    platform.invoke()
    platform.invoke(b"{not json")
    assert steps(platform) == [
        "next", "given", "response", "accepted", "next", "given", "line", "error", "accepted", "next",
    ]  # fmt: skip


def test_every_minor_release_of_the_runtime_client_is_tried_or_its_absence_has_a_reason():
    """The list is of the newest of each minor; it must not fall behind what is installed beside the tests."""
    minors = [text.rsplit(".", 1)[0] for text in runtimes.VERSIONS]
    assert len(set(minors)) == len(minors)
    assert version("awslambdaric") in runtimes.VERSIONS
    assert {found for _, found in runtimes.pairs()} or runtimes.KNOWN["absent"]
    assert all(entry["reason"] for entry in runtimes.KNOWN["absent"])
