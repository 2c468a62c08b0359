"""The black box beside a real function on the local platform: it tells of kills, and spoils nothing."""

import json
import os
import re
import shutil
import signal
import socket
import textwrap
import threading
from pathlib import Path

import pytest

from coldspan_console.platform import Function, LocalLambda
from coldspan_console.platform.server import Reply
from support.emf_validator import validate_emf

ROOT = Path(__file__).parents[2]
RECORDER = ROOT / "build" / "recorder"
BLACKBOX = ROOT / "build" / "blackbox"
NAME = "coldspan-blackbox"
REGISTER, NEXT = "/2020-01-01/extension/register", "/2020-01-01/extension/event/next"
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
REFUSED = Reply(202, b'{"errorType":"Telemetry.NotSupported"}')

APP = """
import os, signal, time

held = []

def handler(event, context):
    do = event.get("do")
    if do == "hang":
        time.sleep(60)
    if do == "exit":
        os._exit(3)
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "raise":
        raise ValueError("no")
    if do == "grow":
        held.append(b"x" * (event["mb"] << 20))
        time.sleep(event["s"])
        held.clear()
    return "done"
"""

# Stands in for the exporters' process: tells in a file what it was handed, answers flushes.
CHILD = """
import json, os, socket, sys

def run(fd, environ):
    channel = socket.socket(fileno=fd)
    log = open(environ["CHILD_LOG"], "ab", buffering=0)
    log.write(b"started\\n")
    if environ.get("CHILD") == "dies":
        return 1
    channel.send(b"coldspan/1 ready\\n{}")
    while True:
        message = channel.recv(1 << 20)
        if not message:
            return 0
        head, _, body = message.partition(b"\\n")
        log.write(head + b" " + body.strip() + b"\\n")
        if head.endswith((b"flush", b"shutdown")) and environ.get("CHILD") != "hangs":
            told = {"number": json.loads(body)["number"], "sent": 1, "waiting": 0, "dropped": {"otlp_refused": 2}}
            channel.send(b"coldspan/1 flushed\\n" + json.dumps(told).encode())
        if head.endswith(b"shutdown"):
            return 0
"""


def wait_until(condition, timeout_s=20):
    """Whether a condition came to be: what is printed or written rings no bell."""
    pause = threading.Event()
    for _ in range(int(timeout_s / 0.02)):
        if condition():
            return True
        pause.wait(0.02)
    return False


def wait_for_text(path, text):
    """Whether a file came to hold a text."""
    return wait_until(lambda: path.exists() and text in path.read_bytes())


class Watched:
    """A platform with the function, and what is asked of it again and again."""

    def __init__(self, platform):
        self.platform = platform

    def kill_by(self, do, deadline_ms=30_000, **event):
        """Invoke so that the process ends, and wait for that."""
        body = json.dumps({"do": do, **event}).encode()
        self.platform.submit(body, request_id=f"{do}-1", deadline_ms=deadline_ms)
        self.platform.wait_exit()

    def with_metric(self, name):
        """The documents that carry a metric."""
        return [document for document in self.platform.documents if name in document]

    def kills(self):
        """The records that the black box told."""
        return [document for document in self.with_metric("Duration") if document.get("told_by") == "black_box"]

    def wait_for_metric(self, name, count=1):
        """Wait until so many documents carry a metric."""
        assert wait_until(lambda: len(self.with_metric(name)) >= count), self.platform.text
        return self.with_metric(name)

    def asked(self, path):
        """The requests for a path."""
        return [exchange for exchange in self.platform.exchanges if exchange.path == path]

    @property
    def process(self):
        """The extension's process."""
        return self.platform.sandbox.extensions[NAME]


@pytest.fixture
def beside(tmp_path):
    """Start APP with both layers: `beside(telemetry=False, blackbox=folder, **fields of Function)` gives a Watched."""
    assert (BLACKBOX / "extensions" / NAME).exists(), "run `make layer`"
    started = []

    def start(*, telemetry=True, blackbox=BLACKBOX, environment=(), fails=False, **fields):
        task = tmp_path / "task"
        task.mkdir(exist_ok=True)
        (task / "app.py").write_text(textwrap.dedent(APP))
        variables = {"COLDSPAN_FLUSH_MS": "10000", **dict(environment)}
        fields = {"memory_mb": 512, "more_layers": (blackbox,), **fields}
        function = Function(task=task, layer=RECORDER, environment=variables, **fields)
        platform = LocalLambda(function, enforce_deadline=True)
        started.append(platform)
        if not telemetry:
            platform.telemetry.scripted = REFUSED
        platform.start()
        platform.wait_exit() if fails else platform.wait_idle()
        return Watched(platform)

    yield start
    for platform in started:
        platform.close()
        for entry in platform.ledger.entries("stdout", "extension"):
            if entry.item.startswith(b'{"_aws"'):
                assert validate_emf(entry.item)
    faults = [found for platform in started for found in platform.documents if "BlackBoxFaults" in found]
    assert faults == []


@pytest.fixture
def exporting(beside, tmp_path):
    """The same with an exporter configured, whose process is CHILD: a Watched and the path of the child's log."""
    layer = tmp_path / "blackbox"
    shutil.copytree(BLACKBOX, layer)
    package = layer / NAME / "coldspan_blackbox" / "exporting"
    (package / "child.py").write_text(CHILD)
    for compiled in (package / "__pycache__").glob("child.*"):
        compiled.unlink()
    log = tmp_path / "child.log"

    def start(**fields):
        environment = {"COLDSPAN_EXPORT": "otlp", "CHILD_LOG": str(log), **dict(fields.pop("environment", {}))}
        return beside(blackbox=layer, environment=environment, **fields), log

    return start


# --- kills --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("telemetry", [True, False], ids=["telemetry", "no telemetry"])
@pytest.mark.parametrize(
    ("do", "outcome", "reason"),
    [("hang", "timeout", "timeout"), ("exit", "crash", "failure"), ("kill", "crash", "failure")],
)
def test_a_kill_is_told_before_the_environment_comes_back(beside, do, outcome, reason, telemetry):
    """Without the black box it would be told by the next init, or never; with it, at once, and once."""
    watched = beside(telemetry=telemetry)
    watched.platform.invoke(request_id="before")
    watched.kill_by(do, deadline_ms=1_000 if do == "hang" else 30_000)
    assert watched.platform.reason == reason
    (record,) = watched.kills()
    assert (record["request_id"], record["outcome"], record["flush"]) == (f"{do}-1", outcome, "journal")
    assert (record["Error"], record["Timeout"]) == (1, int(do == "hang"))
    assert 900 <= record["Duration"] <= 1_500 if do == "hang" else record["Duration"] < 900
    if telemetry:
        assert record["platform"]["memory_size_mb"] == 512
        assert {document["request_id"] for document in watched.with_metric("BilledDuration")} == {"before", f"{do}-1"}
    watched.platform.restart()
    watched.platform.invoke(request_id="after")
    assert len(watched.kills()) == 1
    assert [found["start"] for found in watched.with_metric("Duration")][-1] == "cold"


@pytest.mark.parametrize("both", [True, False], ids=["both layers", "the recorder"])
def test_the_block_of_the_page_shows_a_kill(tmp_path, capsys, monkeypatch, both):
    """docs/blackbox.md: the way to see a kill told without an account, as it stands there."""
    page = (ROOT / "docs" / "blackbox.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "fn").mkdir()
    (tmp_path / "fn" / "app.py").write_text("import time\n\ndef handler(event, context):\n    time.sleep(2)\n")
    (tmp_path / "build").symlink_to(ROOT / "build")
    monkeypatch.chdir(tmp_path)
    block = block if both else block.replace('(Path("build/blackbox"),)', "()")
    exec(compile(block, "blackbox.md", "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out.strip()
    expected = re.findall(r"`((?:black_box|next_init) timeout \[[^`]*)`", page)
    assert printed.startswith(expected[not both].removesuffix("..."))


def test_a_handlers_own_error_is_no_kill(beside):
    """Its process lives: nothing of it is to be claimed, and the next invocation is warm."""
    watched = beside()
    watched.platform.invoke(b'{"do": "raise"}', request_id="r1")
    watched.wait_for_metric("BilledDuration")
    watched.platform.invoke(request_id="r2")
    watched.wait_for_metric("BilledDuration", 2)
    assert watched.kills() == []
    assert [found["start"] for found in watched.with_metric("Duration")] == ["cold", "warm"]
    assert [found.get("error_type") for found in watched.with_metric("BilledDuration")] == ["ValueError", None]


def test_a_worker_of_a_managed_instance_that_dies_is_told_while_the_environment_goes_on(beside):
    """There is no SHUTDOWN: only that its process is gone says it."""
    watched = beside(init_type="lambda-managed-instances", max_concurrency=2)
    platform = watched.platform
    pids = [int(path.name.partition("-")[0]) for path in journals(platform)]
    assert len(pids) == 2, pids
    platform.submit(b'{"do": "hang"}', request_id="stuck", deadline_ms=60_000)
    assert wait_until(lambda: any(b"stuck" in journal_of(platform, pid) for pid in pids))
    victim = next(pid for pid in pids if b"stuck" in journal_of(platform, pid))
    os.kill(victim, signal.SIGKILL)
    assert wait_until(watched.kills), platform.text
    (record,) = watched.kills()
    assert (record["request_id"], record["outcome"], record["pid"]) == ("stuck", "crash", victim)


def journals(platform):
    """The journal files of the environment."""
    return sorted((Path(platform.sandbox.folders.tmp) / "coldspan").glob("*.journal"))


def journal_of(platform, pid):
    """The bytes of a process's journal."""
    return b"".join(path.read_bytes() for path in journals(platform) if path.name.startswith(f"{pid}-"))


# --- registration and events ------------------------------------------------------------------------------------------


def test_it_registers_for_shutdown_alone_without_an_exporter(beside):
    """INVOKE events would wake it for each invocation, and hold each answer back on the emulator."""
    watched = beside()
    (exchange,) = watched.asked(REGISTER)
    assert json.loads(exchange.body) == {"events": ["SHUTDOWN"]}
    assert exchange.header("Lambda-Extension-Name") == NAME
    for number in range(3):
        watched.platform.invoke(request_id=f"r{number}")
    assert len(watched.asked(NEXT)) == 1


def test_off_means_off_but_it_is_there_until_shutdown_promise_7(beside):
    """An extension that did not register would block the init; one that tells something is not off."""
    watched = beside(environment={"COLDSPAN_ENABLED": "false"})
    watched.platform.invoke(request_id="r1")
    watched.kill_by("exit")
    assert [exchange.path for exchange in watched.platform.posts if "extension" in exchange.path] == [REGISTER]
    assert watched.platform.documents == []
    watched.platform.restart()
    assert watched.platform.invoke(request_id="r2").posted.body == b'"done"'


def test_an_invoke_that_is_refused_is_done_without(exporting):
    """Managed Instances know SHUTDOWN alone: an extension that then ended would end the environment."""
    watched, log = exporting(init_type="lambda-managed-instances", max_concurrency=1)
    bodies = [json.loads(exchange.body)["events"] for exchange in watched.asked(REGISTER)]
    assert bodies == [["INVOKE", "SHUTDOWN"], ["SHUTDOWN"]]
    watched.platform.invoke(request_id="r1")
    assert wait_for_text(log, b'"request_id":"r1"')


def test_events_and_answers_that_are_not_understood_are_asked_for_again(beside):
    """An extension that ends on an event turns the handler's good answer into a 502."""
    watched = beside()
    api = watched.platform.extensions_api
    with api.changed:
        api.named(NAME).queue.append({"eventType": "REINVENTED"})
        api.changed.notify_all()
    assert wait_until(lambda: len(watched.asked(NEXT)) >= 2)
    assert watched.platform.invoke(request_id="r1").posted.body == b'"done"'
    watched.platform.spindown()
    (told,) = watched.with_metric("BlackBoxRefused")
    assert told["refused"] == {"event_unknown": 1}


@pytest.mark.parametrize(
    "garbage", [b"\x00\xff" * 2_000, b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n[1]"]
)
def test_garbage_on_its_port_costs_a_count_and_nothing_else(beside, garbage):
    """Everything in the sandbox can reach the port; the platform's own telemetry still gets through."""
    watched = beside()
    (subscription,) = watched.asked("/2022-07-01/telemetry")
    port = int(json.loads(subscription.body)["destination"]["URI"].rpartition(":")[2])
    assert port != 9001
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(garbage)
    watched.platform.invoke(request_id="r1")
    watched.wait_for_metric("BilledDuration")
    watched.platform.spindown()
    assert sum(sum(told["refused"].values()) for told in watched.with_metric("BlackBoxRefused")) == 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_meant_for_others_does_not_end_it(beside, number):
    """The platform's word to an extension is SHUTDOWN; its end before that fails the environment."""
    watched = beside()
    os.kill(watched.process.pid, number)
    assert watched.platform.invoke(request_id="r1").posted.body == b'"done"'
    assert watched.process.poll() is None


def test_it_ends_with_shutdown_and_in_time(beside):
    """One that goes on is killed, and what it had not told is lost."""
    watched = beside()
    process = watched.process
    watched.platform.spindown()
    assert process.wait(0) == 0
    assert [found["shutdown_reason"] for found in watched.with_metric("UnusedInit")] == ["spindown"]


def test_an_environment_that_was_used_is_not_called_unused(beside):
    """The event that says so may still be on its way when the environment ends."""
    watched = beside()
    watched.platform.invoke(request_id="r1")
    watched.platform.spindown()
    assert watched.with_metric("UnusedInit") == []
    assert watched.kills() == []


def test_a_layer_that_is_broken_in_half_still_answers_the_platform_promise_2(beside, tmp_path):
    """A module that does not load would end the extension, and every invocation with it."""
    layer = tmp_path / "broken"
    shutil.copytree(BLACKBOX, layer)
    package = layer / NAME / "coldspan_blackbox"
    for name in ("loop", "listener"):
        (package / f"{name}.py").write_text("raise RuntimeError('broken')\n")
        for compiled in (package / "__pycache__").glob(f"{name}.*"):
            compiled.unlink()
    watched = beside(blackbox=layer)
    assert watched.platform.invoke(request_id="r1").posted.body == b'"done"'
    process = watched.process
    watched.platform.spindown()
    assert process.wait(0) == 0


# --- init, memory -----------------------------------------------------------------------------------------------------


def test_failures_in_a_row_are_counted_over_resets_and_a_success_ends_the_row(beside):
    """A crash loop is seen only by somebody who remembers: /tmp outlives the environment's processes."""
    watched = beside()
    for expected in (1, 2, 3):
        watched.kill_by("exit")
        assert watched.kills()[-1].get("failures_in_a_row", expected) == expected
        watched.platform.restart()
    watched.platform.invoke(request_id="fine")
    watched.wait_for_metric("BilledDuration", 4)
    assert not (Path(watched.platform.sandbox.folders.tmp) / "coldspan" / "restarts").exists()


def test_an_init_that_fails_is_told(beside):
    """The function may have had no time to say it itself."""
    watched = beside(handler="missing.handler", fails=True)
    failures = watched.with_metric("InitFailure")
    assert [found["error_type"] for found in failures] == ["Runtime.ImportModuleError"]
    assert failures[0]["failures_in_a_row"] == 1


def test_memory_near_the_limit_is_told_before_the_kill_and_once(beside):
    """After the kill it is too late to say how near it was."""
    watched = beside(memory_mb=128, environment={"COLDSPAN_MEMORY_WARNING": "80"})
    watched.platform.invoke(b'{"do": "grow", "mb": 120, "s": 3.5}', request_id="r1")
    (told,) = watched.with_metric("MemoryNearLimit")
    assert told["request_id"] == "r1"
    assert told["memory_mb"] == 128
    assert told["function_mb"] > 100
    assert 0 < told["black_box_mb"] < 40


# --- exporters --------------------------------------------------------------------------------------------------------


def test_an_exporters_process_gets_every_line_and_flushes_at_the_end(exporting):
    """What the function recorded leaves after the response; the next event is asked for when it has."""
    watched, log = exporting()
    assert watched.platform.invoke(request_id="r1").posted.body == b'"done"'
    text = log.read_bytes()
    assert text.startswith(b"started\n")
    line, flush = text.index(b'coldspan/1 line {"_aws"'), text.index(b"coldspan/1 flush ")
    assert line < flush
    assert text.count(b"coldspan/1 flush ") == 1
    assert wait_for_text(log, b'"BilledDuration":')
    watched.platform.spindown()
    assert wait_for_text(log, b"coldspan/1 shutdown ")
    assert log.read_bytes().count(b'"BilledDuration":') == 1, "a destination would count it twice"
    dropped = [found["export_dropped"] for found in watched.with_metric("ExportDropped")]
    assert sum(found.get("otlp_refused", 0) for found in dropped) >= 2


def test_a_kill_goes_to_the_exporters_too(exporting):
    """The record that matters most would be missing where the team looks."""
    watched, log = exporting()
    watched.kill_by("exit")
    text = log.read_bytes()
    assert b'"told_by":"black_box"' in text
    assert text.index(b'"told_by":"black_box"') < text.index(b"coldspan/1 shutdown ")


def test_a_kill_goes_to_the_exporters_with_its_place_in_the_trace(exporting):
    """Its span would be a trace of its own, beside the one that everybody looks at."""
    watched, log = exporting()
    watched.platform.submit(b'{"do": "exit"}', request_id="r1", deadline_ms=30_000, trace_id=TRACE)
    watched.platform.wait_exit()
    (line,) = [text for text in log.read_bytes().splitlines() if b'"told_by":"black_box"' in text]
    document = json.loads(line.partition(b"coldspan/1 line ")[2])
    assert (document["parent_id"], document["sampled"]) == ("53995c3f42cd8ad8", True)
    assert document["trace_id"] == "5759e988bd862e3fe1be46a994272793"
    (record,) = watched.kills()
    assert {**record, "parent_id": "53995c3f42cd8ad8", "sampled": True} == document


def test_a_process_of_exporters_that_dies_costs_counts_and_nothing_else(exporting):
    """It is there to be killed first when memory is short; it is started again, but not for ever."""
    watched, _ = exporting(environment={"CHILD": "dies"})
    for number in range(3):
        assert watched.platform.invoke(request_id=f"r{number}").posted.body == b'"done"'
    watched.platform.spindown()
    dropped = watched.with_metric("ExportDropped")
    assert sum(found["export_dropped"].get("exporter_died", 0) for found in dropped) >= 1
    assert sum(found["export_dropped"].get("exporter_dead", 0) for found in dropped) >= 3


def test_a_process_of_exporters_that_hangs_holds_an_invocation_for_its_share_at_most(exporting):
    """A destination that does not answer must not become the function's duration."""
    watched, _ = exporting(environment={"CHILD": "hangs", "COLDSPAN_EXPORT_FLUSH_MS": "200"})
    watched.platform.invoke(request_id="r1")
    (report,) = watched.wait_for_metric("ExtensionOverhead")
    assert 150 <= report["ExtensionOverhead"] < 1_500
    process = watched.process
    watched.platform.spindown()
    assert process.wait(0) == 0


def test_a_function_with_little_memory_gets_no_exporters_unless_they_are_forced(exporting):
    """Their libraries alone would take a quarter of 256 MB from the customer."""
    watched, log = exporting(memory_mb=256)
    watched.platform.invoke(request_id="r1")
    watched.platform.spindown()
    assert not log.exists()
    assert {"memory_too_small": 1} in [found["export_dropped"] for found in watched.with_metric("ExportDropped")]
    forced, log = exporting(memory_mb=256, environment={"COLDSPAN_EXPORT_FORCE": "true"})
    forced.platform.invoke(request_id="r1")
    assert b"coldspan/1 line" in log.read_bytes()


def test_a_killed_invocation_does_not_keep_the_extension_waiting_for_its_end(exporting):
    """Its end never comes: the death of the process is what says so, and SHUTDOWN must be heard in time."""
    watched, _ = exporting()
    watched.platform.invoke(request_id="r0")
    watched.kill_by("kill")
    assert [record["request_id"] for record in watched.kills()] == ["kill-1"]
