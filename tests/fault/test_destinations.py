"""stdout and the X-Ray daemon against every fault: what is lost is counted once, what is not is sent once."""

import errno
import json

import pytest

from coldspan.core import limits
from coldspan.drain import stdout
from coldspan.drain.daemon import Daemon

ADDRESS = ("127.0.0.1", 2000)


class Pipe:
    """Stands in for os.write on stdout; `script` says what each write does: a number of bytes to take, or an error."""

    def __init__(self, script):
        self.script = list(script)
        self.taken = b""

    def write(self, descriptor, data):
        """Take what the script says, or all when it has ended."""
        assert descriptor == 1
        step = self.script.pop(0) if self.script else len(data)
        if isinstance(step, BaseException):
            raise step
        self.taken += bytes(data[:step])
        return len(data[:step])

    @property
    def records(self):
        """The invocation lines that came through; every line must be whole."""
        lines = [json.loads(line) for line in self.taken.splitlines()]
        return [line for line in lines if "Duration" in line]


def os_error(number):
    """An OSError as the system raises it."""
    return OSError(number, errno.errorcode[number])


UNSENDABLE = [pytest.mark.expects_errors("write"), pytest.mark.expects_drops("lines_unsendable")]


@pytest.mark.parametrize(
    ("script", "lost", "errors", "drops"),
    [
        pytest.param([os_error(errno.EAGAIN)], 0, {}, {}, id="full"),
        pytest.param([os_error(errno.EPIPE)], 0, {}, {}, id="reset"),
        pytest.param([os_error(errno.EBADF)], 0, {}, {}, id="closed"),
        pytest.param([os_error(errno.EIO)], 0, {}, {}, id="broken"),
        pytest.param([40], 0, {}, {}, id="half a write"),
        pytest.param([40, os_error(errno.EAGAIN), os_error(errno.EAGAIN)], 0, {}, {}, id="half a write, then full"),
        pytest.param([1] * 50, 0, {}, {}, id="byte by byte"),
        pytest.param([MemoryError()], 1, {"write": 1}, {"lines_unsendable": 1}, id="memory", marks=UNSENDABLE),
        pytest.param([ValueError("?")], 1, {"write": 1}, {"lines_unsendable": 1}, id="raises", marks=UNSENDABLE),
    ],
)
def test_a_fault_of_stdout_loses_what_is_counted_and_repeats_nothing_promise_4(
    trial, works, make_function, monkeypatch, script, lost, errors, drops
):
    """A line that was refused goes with the next drain, one that has begun is finished, none is written twice."""
    pipe = Pipe(script)
    monkeypatch.setattr(stdout, "os_write", pipe.write)
    trial.record(write=stdout.write)
    function = make_function(works.nothing)
    for _ in range(3):
        trial.invoke(function.handler)
    assert [record["request_id"] for record in pipe.records] == ["r1", "r2", "r3"][lost:]
    assert function.runs == 3
    assert list(map(id, trial.runtime.returned)) == list(map(id, function.given))
    told = [(record.get("errors", {}), record.get("dropped", {})) for record in pipe.records]
    assert [each for each in told if each != ({}, {})] == ([(errors, drops)] if errors else [])


@pytest.mark.expects_errors("write", "step")
@pytest.mark.expects_drops("lines_unsendable", "older")
def test_counts_that_a_lost_line_was_to_tell_are_told_by_the_next_promise_4(trial, works, make_function, monkeypatch):
    """The line that tells of a loss may be lost itself."""
    pipe = Pipe([MemoryError()])
    monkeypatch.setattr(stdout, "os_write", pipe.write)
    recorder = trial.record(write=stdout.write)
    recorder.scope.buffer.drop("older", 3)
    recorder.scope.buffer.errors["step"] = 2
    function = make_function(works.nothing)
    for _ in range(2):
        trial.invoke(function.handler)
    assert [record["request_id"] for record in pipe.records] == ["r2"]
    assert pipe.records[0]["dropped"] == {"older": 3, "lines_unsendable": 1}
    assert pipe.records[0]["errors"] == {"step": 2, "write": 1}


@pytest.mark.expects_errors("step", "_encode")
@pytest.mark.expects_drops("older", "records_unencodable")
def test_counts_that_a_broken_record_was_to_tell_are_told_by_the_next_promise_4(trial, works, make_function):
    """A record that cannot be encoded takes no count with it."""
    recorder = trial.record()
    recorder.scope.buffer.drop("older", 3)
    recorder.scope.buffer.errors["step"] = 2
    encoder = trial.recorder.drain.emf
    whole = type(encoder).invocation_lines

    def broken(self, invocation, *rest):
        if invocation.request_id == "r1":
            raise TypeError
        return whole(self, invocation, *rest)

    trial.patch.setattr(type(encoder), "invocation_lines", broken)
    function = make_function(works.nothing)
    for _ in range(3):
        trial.invoke(function.handler)
    assert recorder.told == ({"step": 2, "_encode": 1}, {"older": 3, "records_unencodable": 1})


def test_a_slow_stdout_costs_a_drain_its_budget_and_one_line_promise_3(trial, works, make_function):
    """Slow, not blocked: the budget is checked before each line, and what is left goes with the next drain."""
    sent = []

    def slow(line):
        trial.clock.advance(ms=30)
        sent.append(json.loads(line))
        return True

    recorder = trial.record(write=slow)
    budget_ms = recorder.seam.settings.flush_ns / 1e6
    function = make_function(lambda: [works.quote(), works.by_hand(), works.get()])
    began = trial.clock.monotonic_ns
    trial.invoke(function.handler)
    assert (trial.clock.monotonic_ns - began) / 1e6 <= budget_ms + 30
    while recorder.drain.pending:
        trial.invoke(make_function(works.nothing).handler)
    assert len([line for line in sent if line.get("request_id") == "r1" and "tool" not in line]) == 1
    told = sorted((line["tool"], line["operation"]) for line in sent if "tool" in line)
    assert told == [("*", "GET"), ("pricing", "quote")]


class Socket:
    """Stands in for the daemon's socket: `error` is raised by every send."""

    def __init__(self, error):
        self.error = error
        self.sent = []

    def sendto(self, datagram, address):
        """Send, or fail."""
        if self.error is not None:
            raise self.error
        self.sent.append(datagram)

    def fileno(self):
        """No descriptor: it is not ours to close."""
        raise OSError(errno.EBADF, "no descriptor")

    def close(self):
        """Nothing to close."""

    detach = close


def lost_to(reason, *errors):
    """Marks for a row that drops datagrams."""
    return [pytest.mark.expects_drops(reason), *([pytest.mark.expects_errors(*errors)] if errors else [])]


@pytest.mark.parametrize(
    ("error", "reason", "step"),
    [
        pytest.param(None, None, None, id="works"),
        pytest.param(os_error(errno.EAGAIN), "xray_socket_full", None, id="full", marks=lost_to("xray_socket_full")),
        pytest.param(
            os_error(errno.ECONNREFUSED), "xray_send_failed", None, id="refuses", marks=lost_to("xray_send_failed")
        ),
        pytest.param(
            os_error(errno.ECONNRESET), "xray_send_failed", None, id="resets", marks=lost_to("xray_send_failed")
        ),
        pytest.param(
            os_error(errno.ENETUNREACH), "xray_send_failed", None, id="no network", marks=lost_to("xray_send_failed")
        ),
        pytest.param(
            os_error(errno.EMSGSIZE), "xray_send_failed", None, id="too long", marks=lost_to("xray_send_failed")
        ),
        pytest.param(
            OverflowError("port"), "lines_unsendable", "_send_datagram", id="raises",
            marks=lost_to("lines_unsendable", "_send_datagram"),
        ),
        pytest.param(
            MemoryError(), "lines_unsendable", "_send_datagram", id="memory",
            marks=lost_to("lines_unsendable", "_send_datagram"),
        ),
    ],
)  # fmt: skip
def test_a_fault_of_the_xray_daemon_costs_one_count_a_datagram_promise_4(
    trial, works, make_function, error, reason, step
):
    """The record on stdout leaves once, whatever becomes of the datagram, and tells of it the next time."""
    daemon = Daemon(ADDRESS)
    daemon.socket = Socket(error)
    trial.patch.setattr(Daemon, "_is_ours", lambda *_: True)
    trial.patch.setattr("coldspan.drain.daemon.getpid", lambda: 0)
    recorder = trial.record(daemon=daemon)
    function = make_function(works.nothing)
    for _ in range(3):
        trial.invoke(function.handler)
    assert [record["request_id"] for record in recorder.records] == ["r1", "r2", "r3"]
    assert recorder.told == ({step: 2} if step else {}, {reason: 2} if reason else {})
    assert recorder.drain.pending == []
    assert len(daemon.socket.sent) == (0 if error else 3)


@pytest.mark.expects_drops("xray_send_failed")
def test_no_descriptor_left_for_the_xray_socket_is_a_counted_drop_promise_4(trial, works, make_function, monkeypatch):
    """A function that has used up its descriptors has troubles of its own: its records still leave, once each."""
    import _socket

    def refuse(*_):
        raise os_error(errno.EMFILE)

    monkeypatch.setattr(_socket, "socket", refuse)
    recorder = trial.record(daemon=Daemon(ADDRESS))
    function = make_function(works.nothing)
    for _ in range(3):
        trial.invoke(function.handler)
    assert [record["request_id"] for record in recorder.records] == ["r1", "r2", "r3"]
    assert recorder.told == ({}, {"xray_send_failed": 2})


@pytest.mark.expects_drops("calls_limit")
def test_calls_above_the_limit_are_made_and_counted_promise_4(trial, works, make_function, monkeypatch):
    """A full invocation refuses records, never calls."""
    monkeypatch.setattr(limits, "CALLS_PER_INVOCATION", 3)
    recorder = trial.record()
    made = []
    function = make_function(lambda: [made.append(works.quote()) for _ in range(10)])
    trial.invoke(function.handler)
    assert made == ["quoted"] * 10
    assert recorder.records[0]["Calls"] == 3
    assert recorder.records[0]["dropped"] == {"calls_limit": 7}


@pytest.mark.expects_drops("calls_buffer_full")
def test_background_calls_above_the_limit_are_made_and_counted_promise_4(trial, works, make_function, monkeypatch):
    """A thread that never stops calling costs a counter, not memory."""
    recorder = trial.record()
    recorder.seam.before_next()
    monkeypatch.setattr(limits, "CALLS_OUTSIDE", 4)
    assert [works.quote() for _ in range(10)] == ["quoted"] * 10
    trial.invoke(make_function(works.nothing).handler)
    trial.invoke(make_function(works.nothing).handler)
    assert recorder.told[1] == {"calls_buffer_full": 6}


@pytest.mark.expects_drops("lines_buffer_full")
def test_lines_above_the_limit_are_counted_with_what_they_told_promise_4(trial, works, make_function, monkeypatch):
    """A stdout that takes nothing for a long time costs the oldest lines."""
    monkeypatch.setattr(limits, "LINES_WAITING", 4)
    accepts = []
    sent = []

    def write(line):
        if accepts:
            sent.append(json.loads(line))
        return bool(accepts)

    trial.scope.settings.xray_address = ""
    trial.record(write=write)
    function = make_function(works.nothing)
    for _ in range(10):
        trial.invoke(function.handler)
    accepts.append(True)
    trial.invoke(function.handler)
    trial.invoke(function.handler)
    lost = sum(line.get("dropped", {}).get("lines_buffer_full", 0) for line in sent)
    assert len(sent) + lost == 12
    assert lost == 7
