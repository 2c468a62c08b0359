"""The parts of the extension's main process, without a platform."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from coldspan_blackbox import memory, shutdown
from coldspan_blackbox.counts import TOLD_EVERY_NS, Counts
from coldspan_blackbox.datagrams import DATAGRAM_BYTES, Receiver, bind
from coldspan_blackbox.exporter import RESTARTS, Exporter
from coldspan_blackbox.invoking import MS
from coldspan_blackbox.memory import Threshold
from coldspan_blackbox.restarts import Restarts
from coldspan_blackbox.settings import Settings

MB = 1 << 20

# --- settings -----------------------------------------------------------------------------------------------------


def settings_of(**variables):
    """Settings from variables as the process has them: bytes."""
    return Settings({name.encode(): value.encode() for name, value in variables.items()})


def test_without_a_variable_the_settings_are_the_documented_ones():
    """What the documents say would not be so."""
    settings = settings_of()
    assert (settings.enabled, settings.emf, settings.exporting, settings.problems) == (True, True, False, [])
    assert settings.journal_folder == "/tmp/coldspan"  # noqa: S108  # the recorder's
    assert settings.memory_warning_percent == 90
    assert settings.namespace == "coldspan"


def test_what_cannot_be_understood_keeps_its_default_and_is_named():
    """A typing error would switch something off, or end the extension."""
    settings = settings_of(
        COLDSPAN_ENABLED="maybe",
        COLDSPAN_MEMORY_WARNING="much",
        COLDSPAN_EXPORT="otlp, smoke",
        COLDSPAN_EXPORT_FLUSH="x",
    )
    assert settings.problems == [
        "COLDSPAN_ENABLED", "COLDSPAN_MEMORY_WARNING", "COLDSPAN_EXPORT", "COLDSPAN_EXPORT_FLUSH",
    ]  # fmt: skip
    assert (settings.enabled, settings.memory_warning_percent, settings.export) == (True, 90, ("otlp",))
    assert settings_of(COLDSPAN_MEMORY_WARNING="1e999").memory_warning_percent == 90


@pytest.mark.parametrize(
    ("variables", "exporting", "refused"),
    [
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}, True, False),
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256"}, False, True),
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "COLDSPAN_EXPORT_FORCE": "true"}, True, False),
        ({}, True, False),
        ({"COLDSPAN_ENABLED": "false"}, False, False),
    ],
)
def test_exporters_run_where_there_is_memory_for_them_or_they_are_forced(variables, exporting, refused):
    """They would take from a small function what it needs itself."""
    settings = settings_of(COLDSPAN_EXPORT="otlp", **variables)
    assert (settings.exporting, settings.export_refused) == (exporting, refused)


# --- counts ---------------------------------------------------------------------------------------------------------


def test_whatever_a_step_raises_is_counted_with_its_place_and_the_loop_goes_on():
    """SystemExit too: an extension that ends spoils the answer of a handler that knows nothing of it."""
    counts = Counts()
    assert counts.attempt("step", sys.exit, 1) is None
    assert counts.attempt("step", lambda: 1 / 0) is None
    assert counts.attempt("other", lambda: 5) == 5
    metrics, properties = counts.take()
    assert metrics == {"BlackBoxFaults": 2}
    assert properties["faults"] == {"step": 2}
    assert properties["first_fault"].startswith("step: SystemExit in attempt:")
    assert counts.take() == ({}, {})


def test_counts_are_told_once_a_minute_at_most():
    """A destination that is down would fill the function's log."""
    counts = Counts()
    assert not counts.due(10**18)
    counts.drop("queue_full", 3)
    assert counts.due(10**18)
    assert counts.take(10**18)[0] == {"ExportDropped": 3}
    counts.drop("queue_full")
    assert not counts.due(10**18 + TOLD_EVERY_NS - 1)
    assert counts.due(10**18 + TOLD_EVERY_NS)


# --- datagrams --------------------------------------------------------------------------------------------------------


def test_each_kind_of_datagram_is_sorted_and_what_is_none_is_counted():
    """Anybody in the sandbox may send; a recorder of another version may be attached."""
    counts = Counts()
    receiver = Receiver(SimpleNamespace(), counts)
    line = b'coldspan/1 line\n{"_aws":{}}'
    for datagram in (
        line, b'coldspan/1 hello\n{"pid":7}', b'coldspan/1 end\n{"request_id":"r1","pid":7}',
        b"coldspan/2 line\n{}", b"coldspan/1 line", b"coldspan/1 line\n", b"coldspan/1 other\n{}", b"", b"\xff" * 9,
        b'coldspan/1 hello\n{"pid":"7"}', b'coldspan/1 hello\n{"pid":true}', b'coldspan/1 hello\n{"pid":-1}',
        b"coldspan/1 hello\n{", b'coldspan/1 end\n{"request_id":7}', b"coldspan/1 end\n[]",
    ):  # fmt: skip
        receiver.take(datagram)
    assert (receiver.lines, receiver.pids, receiver.ended) == ([line], [7], ["r1"])
    assert counts.drops == {"datagrams_version_refused": 1, "datagrams_unreadable": 11}


def test_each_line_of_a_datagram_is_a_message_of_its_own():
    """A record's lines come together; an exporter's process reads one document at a time."""
    receiver = Receiver(SimpleNamespace(), Counts())
    receiver.take(b'coldspan/1 line\n{"a":1}\n{"b":2}\n')
    assert receiver.lines == [b'coldspan/1 line\n{"a":1}', b'coldspan/1 line\n{"b":2}']


def test_datagrams_are_read_off_the_name_that_the_recorder_knows():
    """The two find each other by the runtime's address alone; a second extension of the environment is refused."""
    address = f"test:{os.getpid()}"
    counts = Counts()
    receiving = bind(address)
    with pytest.raises(OSError, match="in use"):
        bind(address)
    receiver = Receiver(receiving, counts)
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
        f"s.connect('\\0coldspan-{address}'); s.send(b'coldspan/1 line\\n{{}}')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    assert receiver.receive()
    assert receiver.lines == [b"coldspan/1 line\n{}"]
    assert len(receiver._buffer) > DATAGRAM_BYTES
    receiving.close()


# --- memory -----------------------------------------------------------------------------------------------------------


def test_a_crossing_is_told_once_and_again_only_after_a_clear_fall():
    """A function that works near its limit would warn every second."""
    threshold = Threshold(90, 100)
    told = [threshold.crossed(mb * MB) for mb in (89, 90, 95, 85, 91, 80, 79, 90, 99)]
    assert told == [False, True, False, False, False, False, False, True, False]
    assert not Threshold(0, 100).watched
    assert not Threshold(90, 0).watched


def test_a_process_its_children_and_ours_are_weighed():
    """What a subprocess of the function uses counts towards the same limit."""
    code = "import os, sys; data = b'x' * (30 << 20); sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1) == b"."
        usage = memory.Usage(512 * MB)
        gone, function, own = usage.look([process.pid], [os.getpid()])
        alone, _ = memory.resident(process.pid)
        process.stdin.close()
    assert gone == set()
    assert function > alone + 25 * MB
    assert own > 5 * MB
    gone, function, _ = usage.look([process.pid], [])
    assert (gone, function) == ({process.pid}, 0)
    assert usage.look([], []) == (set(), 0, 0)


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_failures_are_counted_over_lives_and_a_success_ends_the_row(tmp_path):
    """A crash loop would look like many single crashes."""
    folder = str(tmp_path / "coldspan")
    assert [Restarts(folder).fail() for _ in range(3)] == [1, 2, 3]
    same = Restarts(folder)
    assert (same.fail(), same.fail()) == (4, 4)
    Restarts(folder).succeed()
    assert Restarts(folder).fail() == 1


@pytest.mark.parametrize("text", [b"", b"x", b"another-boot 5\n", b"\xff\xff 5", b"5"])
def test_a_count_of_another_boot_or_no_count_at_all_starts_anew(tmp_path, text):
    """A container image may bring a file of that name along; a kill may have torn it."""
    (tmp_path / "restarts").write_bytes(text)
    assert Restarts(str(tmp_path)).fail() == 1


def test_without_a_folder_to_write_to_nothing_is_raised(tmp_path):
    """A full or read-only /tmp must not cost the record of a kill."""
    (tmp_path / "file").write_text("")
    assert Restarts(str(tmp_path / "file")).fail() == 1


# --- the exporters' process -------------------------------------------------------------------------------------------

CHILD = """
import os, socket, sys
channel = socket.socket(fileno=int(sys.argv[2]))
channel.send(b"coldspan/1 ready\\n{}")
while True:
    message = channel.recv(1 << 20)
    if not message or message.endswith(b"die"):
        break
    if message.endswith(b"stop"):
        continue
    channel.send(b"coldspan/1 flushed\\n" + message.partition(b"\\n")[2])
"""


@pytest.fixture
def exporter(tmp_path):
    """An exporter whose process is CHILD, ready."""
    (tmp_path / "start.py").write_text(CHILD)
    made = Exporter(str(tmp_path / "start.py"), Counts())
    made.start()
    made._socket.setblocking(True)
    made._take(made._socket.recv(1000))
    assert made.ready
    yield made
    made.close()


def test_a_message_that_does_not_fit_or_finds_nobody_is_counted(exporter):
    """What is dropped without a count is a hole that nobody knows of."""
    counts = exporter._counts
    exporter.send(b"coldspan/1 line\n" + b"x" * (64 << 20))
    assert counts.drops == {"records_too_large": 1}
    exporter.send(b"die")
    assert exporter._socket.recv(1000) == b""
    exporter._ended()
    exporter.send(b"coldspan/1 line\n{}")
    assert counts.drops == {"records_too_large": 1, "exporter_died": 1, "exporter_dead": 1}


def test_what_it_held_when_it_died_is_counted_for_each_destination(exporter):
    """Twenty invocations were in no count: neither sent nor dropped."""
    exporter._take(b'coldspan/1 ready\n{"exporters":["otlp","kafka"]}')
    for _ in range(9):
        exporter.send(b"coldspan/1 line\n{}")
    exporter.send(b"coldspan/1 other\n{}")
    told = {"otlp": {"received": 6, "sent": 4, "dropped": 1, "waiting": 1}, "kafka": {"sent": 0, "dropped": 0}}
    exporter._take(b"coldspan/1 flushed\n" + json.dumps({"number": 1, "destinations": told}).encode())
    assert exporter.unsettled() == 4 + 9
    exporter._ended()
    assert exporter._counts.drops == {"exporter_died": 13}
    exporter.start()
    assert exporter.unsettled() == 0


def test_why_it_ended_is_read_although_it_had_not_read_all(tmp_path):
    """A reset comes before its last words: a secret that could not be read was told as a process that had died."""
    (tmp_path / "start.py").write_text(
        "import socket, sys\nchannel = socket.socket(fileno=int(sys.argv[2]))\nchannel.recv(10, socket.MSG_PEEK)\n"
        'channel.send(b\'coldspan/1 refused\\n{"reason":"configuration","exporters":{"otlp":"why"}}\')\n'
    )
    made = Exporter(str(tmp_path / "start.py"), Counts())
    made.start()
    for _ in range(3):
        made.send(b"coldspan/1 line\n{}")
    os.waitid(os.P_PID, made.pid, os.WEXITED | os.WNOWAIT)
    while made.receive():
        pass
    assert (made.refused, made.problems) == ("configuration", {"otlp": "why"})
    assert (made._counts.drops, made.restart_ns) == ({}, 0)
    made.close()


def test_what_of_its_variables_it_cannot_read_is_kept_to_be_told(exporter):
    """COLDSPAN_EXPORT_SHARE=10% sent all of it, and nobody said so."""
    exporter._take(b'coldspan/1 ready\n{"exporters":["otlp"],"problems":["COLDSPAN_EXPORT_SHARE"]}')
    assert exporter.settings_refused == ["COLDSPAN_EXPORT_SHARE"]


def test_a_queue_that_is_full_is_counted_and_nothing_waits(exporter):
    """A child that is stopped or busy would stop the extension, and with it every invocation."""
    os.kill(exporter.pid, 19)  # SIGSTOP
    exporter._socket.setblocking(False)
    for _ in range(10_000):
        exporter.send(b"x" * 1000)
        if exporter._counts.drops:
            break
    assert exporter._counts.drops == {"export_queue_full": 1}


def test_it_is_started_again_with_growing_pauses_and_not_for_ever(exporter, monkeypatch):
    """A process that dies at each start would cost the function its processor."""
    pauses = []
    monkeypatch.setattr("coldspan_blackbox.exporter.monotonic_ns", lambda: 0)
    for _ in range(RESTARTS + 1):
        exporter._ended()
        pauses.append(exporter.restart_ns)
        exporter.restart_ns = 0
    assert pauses == [10**9, 4 * 10**9, 16 * 10**9, 0]


def test_a_refusal_is_told_with_its_reason_and_ends_the_tries():
    """What is configured wrongly stays wrong; the text says what to do."""
    exporter = Exporter("start.py", Counts())
    exporter._take(b'coldspan/1 refused\n{"reason":"configuration","exporters":{"otlp":"set OTEL_..."}}')
    exporter._ended()
    assert exporter.problems == {"otlp": "set OTEL_..."}
    assert (exporter.refused, exporter.restart_ns) == ("configuration", 0)
    exporter.send(b"x")
    assert exporter._counts.drops == {"exporter_refused": 1}


@pytest.mark.parametrize(
    ("word", "drops"), [(b"shutdown", {}), (b"die", {"exporter_died": 1}), (b"stop", {"exporter_late": 1})]
)
def test_its_end_at_the_shutdown_is_no_death_unless_it_has_not_answered(exporter, monkeypatch, word, drops):
    """Every environment would end with a drop, or what was lost in the last flush be counted nowhere."""
    loop = SimpleNamespace(
        extension=SimpleNamespace(exporter=exporter), counts=exporter._counts, serve=lambda _: exporter.receive()
    )
    ask = Exporter.ask_flush
    until_ns = time.monotonic_ns() + (300 * MS if word == b"stop" else 20_000 * MS)
    monkeypatch.setattr(Exporter, "ask_flush", lambda self, until_ms, _: ask(self, until_ms, word))
    if word != b"shutdown":  # CHILD goes by how a message ends
        monkeypatch.setattr(exporter, "send", lambda _: Exporter.send(exporter, word))
    exporter._socket.setblocking(False)
    shutdown._last_flush(loop, until_ns)
    if word == b"shutdown":
        exporter.send(b"die")
        while exporter.receive():
            pass
    assert exporter._counts.drops == drops
    assert exporter.restart_ns == 0
