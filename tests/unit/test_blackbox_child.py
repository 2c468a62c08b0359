"""The exporters' process behind its socket, with destinations of the test's own."""

import json
import os
import socket
import threading
import time

import pytest

from coldspan.core.emf import EmfEncoder
from coldspan_blackbox.exporting import child as child_module
from coldspan_blackbox.exporting.backlog import Limits
from coldspan_blackbox.exporting.child import Child, make_exporters, run, sender
from coldspan_blackbox.exporting.exporter import Result, Sent
from coldspan_blackbox.exporting.settings import Settings, read_settings
from support.records import call, invocation, results


def lines(**changes):
    """The lines of an invocation with one call: two documents."""
    owner = invocation(**changes)
    call(owner)
    return [
        b"coldspan/1 line\n" + line
        for line in EmfEncoder("coldspan", "orders").invocation_lines(owner, results(owner), {})
    ]


class Destination:
    """Keeps what it gets; hangs while `gate` is cleared."""

    def __init__(self, name="fake", result=None) -> None:
        self.name = name
        self.result = result or Result(Sent.SENT)
        self.records = []
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()

    def export(self, records, timeout_s):
        self.entered.set()
        if not self.gate.wait(timeout_s):
            return Result(Sent.RETRY, "timeout")
        self.records += records
        return self.result

    def close(self):
        pass


class Served:
    """A Child on a thread, and the main process's end of its socket."""

    def __init__(self, *destinations, **settings) -> None:
        self.near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.near.settimeout(20)
        self.far = far
        made = {each.name: each for each in destinations}
        settings = {"memory_bytes": 1 << 40, **settings}  # the process is the test runner, which holds much
        self.child = Child(far, sender(far), made, Settings(**settings), Limits(batch_records=1_000))
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        try:
            self.child.serve()
        finally:
            self.child.close()

    def tell(self, *messages):
        for message in messages:
            self.near.send(message)

    def flush(self, within_s=20.0, number=1):
        """Ask for a flush and give its answer."""
        until_ms = int((time.monotonic() + within_s) * 1_000)
        self.tell(b"coldspan/1 flush\n" + json.dumps({"until_ms": until_ms, "number": number}).encode())
        return self.answer()

    def answer(self):
        kind, _, told = self.near.recv(65_536).partition(b"\n")
        assert kind == b"coldspan/1 flushed"
        return json.loads(told)

    def close(self):
        self.near.close()
        self.thread.join(20)
        self.far.close()
        assert not self.thread.is_alive()


@pytest.fixture
def serve():
    made = []

    def start(*destinations, **settings):
        made.append(Served(*destinations, **settings))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_what_is_handed_over_is_sent_at_the_flush(serve):
    """Records would stay in the process, or the main process not know that they are out."""
    destination = Destination()
    served = serve(destination)
    served.tell(*lines())
    told = served.flush(number=7)
    assert (told["number"], told["sent"], told["waiting"], told["dropped"]) == (7, 2, 0, {})
    assert [record.is_invocation for record in destination.records] == [True, False]
    assert told["destinations"] == {"fake": {"received": 2, "sent": 2, "dropped": 0, "waiting": 0}}


def test_an_answer_tells_what_is_new_since_the_last(serve):
    """Drops would be reported again with every flush."""
    refusing = Destination(result=Result(Sent.REFUSED, "http_400"))
    served = serve(refusing)
    served.tell(*lines())
    assert served.flush()["dropped"] == {"fake_http_400": 2}
    assert served.flush()["dropped"] == {}
    served.tell(lines()[0])
    assert served.flush()["dropped"] == {"fake_http_400": 1}


def test_a_hung_destination_holds_up_neither_the_other_nor_what_comes_in(serve):
    """One dead destination would cost all telemetry."""
    hung, healthy = Destination("hung"), Destination("healthy")
    hung.gate.clear()
    served = serve(hung, healthy)
    served.tell(*lines())
    told = served.flush(within_s=0.5)
    assert (told["sent"], told["waiting"]) == (2, 2)
    served.tell(*lines() * 20)
    hung.gate.set()
    assert len(healthy.records) == 2
    served.flush()
    assert len(healthy.records) == 42


def test_lines_are_read_while_a_flush_goes_on(serve):
    """The socket would fill up, and the main process drop."""
    hung = Destination()
    hung.gate.clear()
    served = serve(hung)
    served.tell(lines()[0])
    until_ms = int((time.monotonic() + 20) * 1_000)
    served.tell(b"coldspan/1 flush\n" + json.dumps({"until_ms": until_ms, "number": 1}).encode())
    assert hung.entered.wait(20)
    for _ in range(1_000):  # many times what the socket holds
        served.tell(lines_once[0])
    hung.gate.set()
    assert served.answer()["sent"] + served.flush()["sent"] == 1_001


lines_once = lines()


def test_what_is_no_record_is_counted_and_costs_nothing_else(serve):
    """Garbage would end the process with all that waits in it."""
    destination = Destination()
    served = serve(destination)
    served.tell(
        b"coldspan/2 line\n{}",
        b"\x00\xff",
        b"coldspan/1 line\nnot json",
        b"coldspan/1 line\n" + b"[" * 50_000,
        b"coldspan/1 platform\n[]",
        b"coldspan/1 flush\n{}",
        b"coldspan/1 flush\n[]",
        b"coldspan/1 dance\n{}",
        lines()[0],
    )
    told = served.flush()
    assert told["sent"] == 1
    assert told["dropped"] == {"message_version_refused": 2, "message_unreadable": 4, "message_unknown": 2}


def test_a_shutdown_sends_the_rest_and_ends(serve):
    """What the last invocations told would be lost with the environment."""
    destination = Destination()
    served = serve(destination)
    served.tell(*lines(), b'coldspan/1 shutdown\n{"until_ms": %d}' % ((time.monotonic() + 20) * 1_000))
    told = served.answer()
    served.thread.join(20)
    assert not served.thread.is_alive()
    assert (told["sent"], told["waiting"]) == (2, 0)


def test_what_a_shutdown_has_no_time_for_is_counted(serve):
    """Records would be missing that nobody counted."""
    hung = Destination()
    hung.gate.clear()
    served = serve(hung)
    served.tell(*lines(), b'coldspan/1 shutdown\n{"until_ms": %d}' % ((time.monotonic() + 0.5) * 1_000))
    told = served.answer()
    assert (told["dropped"], told["waiting"]) == ({"fake_deadline": 2}, 0)
    hung.gate.set()


def test_a_destination_has_the_rest_of_the_time_to_be_told_that_it_was_the_last(serve):
    """Series without an end would stand for five minutes where nothing is."""
    destination, left, told = Destination(), threading.Event(), []
    destination.close = lambda: told.append(left.wait(0.3))
    served = serve(destination)
    until_ms = int((time.monotonic() + 5) * 1_000)
    served.tell(b"coldspan/1 shutdown\n" + json.dumps({"until_ms": until_ms}).encode())
    served.answer()
    served.thread.join(5)
    assert told == [False]
    assert time.monotonic() * 1_000 < until_ms - 2_000


def test_the_end_of_the_main_process_is_the_end_of_this_one(serve):
    """A process would be left over in the environment."""
    destination = Destination()
    served = serve(destination)
    served.tell(*lines())
    served.near.close()
    served.thread.join(20)
    assert not served.thread.is_alive()
    assert len(destination.records) == 2


def test_too_much_memory_costs_the_older_half(serve, monkeypatch):
    """The kernel would end the process, and all would be lost."""
    monkeypatch.setattr(child_module, "_rss_bytes", lambda: 1 << 41)
    monkeypatch.setattr(child_module, "LOOK_EVERY", 10)
    served = serve(Destination())
    served.tell(*lines_once[:1] * 20)
    told = served.flush()
    assert told["dropped"] == {"fake_memory_limit": 12}  # 5 of 9, then 7 of 14
    assert told["sent"] == 8


# --- sampling -------------------------------------------------------------------------------------------------------


def with_spans(serve, share, count, **changes):
    destination = Destination()
    served = serve(destination, share=share)
    for number in range(count):
        served.tell(lines(trace=None, request_id=f"request-{number}", **changes)[0])
    served.flush()
    assert len(destination.records) == count
    assert all(record.points for record in destination.records)
    return sum(record.is_invocation for record in destination.records)


def test_a_share_of_the_invocations_leaves_as_spans(serve):
    """The share would be all or nothing, or cost metrics."""
    assert with_spans(serve, 0.0, 20) == 0
    assert with_spans(serve, 1.0, 20) == 20
    assert 60 < with_spans(serve, 0.25, 400) < 140


@pytest.mark.parametrize(
    "changes", [{"outcome": "timeout"}, {"start": "cold"}, {"end_ns": 7_000_000_000 + 2_000_000_000}]
)
def test_what_failed_was_cold_or_slow_always_leaves(serve, changes):
    """What is looked for would be missing nearly always."""
    assert with_spans(serve, 0.0, 5, **changes) == 5


def test_further_parts_leave_with_their_invocation(serve):
    """Half of an invocation would be told."""
    destination = Destination()
    served = serve(destination, share=0.0)
    part = {"function_name": "orders", "part": 1, "calls": [{"status": "ok"}]}
    first = lines(outcome="error")[0]
    served.tell(first)
    served.tell(b"coldspan/1 line\n" + json.dumps({**part, "request_id": invocation().request_id}).encode())
    served.tell(b"coldspan/1 line\n" + json.dumps({**part, "request_id": "another"}).encode())
    served.flush()
    assert [record.is_invocation for record in destination.records] == [True, True, False]


# --- start and refusal ----------------------------------------------------------------------------------------------


def answers(environ):
    """What `run` answers, and its exit code; in this process, so nothing is limited."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.settimeout(20)
    near.shutdown(socket.SHUT_WR)
    code = run(far.detach(), environ)
    with near:
        kind, _, told = near.recv(65_536).partition(b"\n")
    return kind.removeprefix(b"coldspan/1 ").decode(), json.loads(told), code


@pytest.fixture
def harmless(monkeypatch):
    """The test's own process is not to be limited."""
    monkeypatch.setattr(child_module, "_be_first_to_die", lambda: None)
    monkeypatch.setattr(child_module, "_limit_memory", lambda more_bytes: None)


def test_little_memory_is_a_refusal_unless_forced(harmless):
    """The customer's function would be killed for the sake of its telemetry."""
    environ = {"COLDSPAN_EXPORT": "otlp", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256"}
    assert answers(environ) == ("refused", {"reason": "little_memory"}, 0)
    assert answers({}) == ("refused", {"reason": "none_configured"}, 0)
    kind, told, code = answers({**environ, "COLDSPAN_EXPORT_FORCE": "true"})
    assert (kind, told["exporters"], code) == ("ready", ["otlp"], 0)


def test_an_exporter_that_cannot_work_is_named_and_the_others_go_on(harmless):
    """One spelling mistake would cost all telemetry, or nobody would know of it."""
    kind, told, code = answers({"COLDSPAN_EXPORT": "otlp, zipkin", "COLDSPAN_EXPORT_SHARE": "half"})
    assert (kind, told["exporters"], told["problems"], code) == ("ready", ["otlp"], ["COLDSPAN_EXPORT_SHARE"], 0)
    assert told["refused"] == {"zipkin": "COLDSPAN_EXPORT: zipkin is none of otlp, prometheus, statsd, kafka"}
    kind, told, code = answers({"COLDSPAN_EXPORT": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "nowhere"})
    assert (kind, told["reason"], code) == ("refused", "configuration", 0)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in told["exporters"]["otlp"]


def test_a_fault_of_ours_is_told(harmless, monkeypatch):
    """The process would end, and nobody know why; or its text would show a key."""

    def broken(settings, environ):
        raise RuntimeError("Invalid header value b'a key'")

    monkeypatch.setattr(child_module, "make_exporters", broken)
    kind, told, code = answers({"COLDSPAN_EXPORT": "otlp"})
    assert (kind, told["reason"], code) == ("refused", "fault", 1)
    assert told["fault"].startswith("RuntimeError at test_blackbox_child.py:")
    assert "a key" not in str(told)


def test_an_exporter_whose_packages_are_not_there_says_what_to_build(monkeypatch):
    """A name in COLDSPAN_EXPORT that the layer was built without would be an ImportError in a log, or nothing."""

    def missing(name):
        raise ModuleNotFoundError("No module named 'confluent'", name="confluent")

    monkeypatch.setattr(child_module, "import_module", missing)
    made, refused = make_exporters(read_settings({"COLDSPAN_EXPORT": "kafka"}), {})
    assert made == {}
    assert refused["kafka"] == "COLDSPAN_EXPORT: kafka is not in this layer (confluent): build it with this extra"


def test_settings_out_of_range_are_named():
    """A queue of minus one would drop everything."""
    told = read_settings(
        {"COLDSPAN_EXPORT_QUEUE_KB": "-1", "COLDSPAN_EXPORT_TIMEOUT_MS": "nan", "COLDSPAN_EXPORT": " , "}
    )
    assert (told.limits.queue_bytes, told.limits.export_timeout_s, told.exporters) == (2_048_000, 5.0, ())
    assert told.problems == ("COLDSPAN_EXPORT_QUEUE_KB", "COLDSPAN_EXPORT_TIMEOUT_MS")
    assert os.EFD_NONBLOCK  # what the child waits with
