"""What every test gets: a clock that moves when told to, a scope of its own, a check that nothing of ours is left."""

import gc
import os
import re
import socket
import stat
import sys
import threading
import traceback
from pathlib import Path
from types import FunctionType, SimpleNamespace

import pytest

try:
    import hypothesis
except ImportError:  # the environments of some suites have none
    hypothesis = None

from coldspan.core import buffer as buffer_module
from coldspan.hot import scope as scope_module
from coldspan.hot.patch import MARK

if hypothesis is not None:  # how fast examples are made says how busy the machine is
    slow = hypothesis.HealthCheck.too_slow
    hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[slow])
    hypothesis.settings.load_profile("busy")

TESTS = Path(__file__).parent
RECORDER = Path(buffer_module.__file__).parents[1]

# Seconds a test of each suite may take; a test's own @pytest.mark.timeout goes first.
TIMEOUTS = {
    "unit": 30, "contract": 60, "fault": 60, "process": 120, "console": 60, "platform": 120, "report": 120, "e2e": 300,
    "destinations": 120,
}  # fmt: skip

# Modules whose attributes and classes the recorder may patch: none may carry our mark after a test.
PATCHED = re.compile(
    r"awslambdaric(\..*)?|threading|faulthandler|http\.client|concurrent\.futures\.\w+|asyncio\.(tasks|events|base_events)"
    r"|(aio)?botocore\.(\w*client|endpoint|\w*httpsession|response|awsrequest|retryhandler|parsers|serialize|hooks)"
    r"|urllib3\.(connection|connectionpool|poolmanager|response)|urllib3\.util\.retry"
    r"|httpx2?(\._client|\._models|\._api|\._transports\.\w+)?|httpcore2?(\._\w+\.\w+)?"
    r"|aiohttp(\.client\w*|\.connector|\.streams)?|mcp\.client\.session|snapshot_restore_py"
)


# --- clocks and scope ---------------------------------------------------------------------------------------------


class FakeClock:
    """Monotonic and wall time in ns, which stand still until the test moves them.

    `clock.monotonic` and `clock.wall` are what a Scope takes as `clock=` and `wall=`. With `tick_ns` set, each reading
    of the monotonic clock moves both by as much, before it answers.
    """

    def __init__(self) -> None:
        self.monotonic_ns = 5_000_000_000_000
        self.wall_ns = 1_795_397_120_187_000_000  # 2026-11-23
        self.tick_ns = 0

    def monotonic(self):
        """What `time.monotonic_ns` gives."""
        if self.tick_ns:
            self.advance(self.tick_ns)
        return self.monotonic_ns

    def wall(self):
        """What `time.time_ns` gives."""
        return self.wall_ns

    def advance(self, ns=0, *, us=0, ms=0, s=0):
        """Let time pass: both clocks move."""
        passed = int(ns + us * 1_000 + ms * 1_000_000 + s * 1_000_000_000)
        self.monotonic_ns += passed
        self.wall_ns += passed

    def jump_wall(self, *, ms=0, s=0):
        """Set the wall clock forward, or back, as a thaw or a time server does; no time passes."""
        self.wall_ns += int(ms * 1_000_000 + s * 1_000_000_000)


@pytest.fixture
def fake_clock():
    """A FakeClock."""
    return FakeClock()


def default_settings(**changes):
    """Settings as they are when no variable is set, in a function called `orders` with 512 MB."""
    settings = {
        "enabled": True,
        "namespace": "coldspan",
        "flush_ns": 50_000_000,
        "detail": 1.0,
        "slow_ms": 1000.0,
        "deadline_ms": 100.0,
        "tools": (),
        "payloads": "off",
        "emf": True,
        "error_text": True,
        "problems": [],
        "propagate": (),
        "xray": "auto",
        "mask_keys": (),
        "function": "orders",
        "version": "$LATEST",
        "memory_mb": 512,
        "region": "eu-west-1",
        "init_type": "on-demand",
        "runtime_api": "127.0.0.1:9001",
        "xray_address": "",
        "journal_bytes": 0,
        "journal_dir": "",
        "local": "emf",
        "export": (),
        "log_format": "Text",
        "log_level": "",
    }
    unknown = set(changes) - set(settings)
    assert not unknown, f"no such setting: {unknown}"
    return SimpleNamespace(**{**settings, **changes})


@pytest.fixture
def settings():
    """Default settings, free to be changed by the test."""
    return default_settings()


@pytest.fixture
def scope(fake_clock, settings):
    """A Scope on the fake clock with a fresh Buffer and default settings, outside of any invocation.

    It is not `coldspan.hot.scope.active`; a test that needs it there sets it with monkeypatch.
    """
    return scope_module.Scope(buffer_module.Buffer(), settings, clock=fake_clock.monotonic, wall=fake_clock.wall)


# --- nothing of ours is lost, nothing of ours is left ---------------------------------------------------------------


class Ledger(dict):
    """A Buffer's `errors` or `drops` that also notes each count in a list, which the drain does not clear."""

    def __init__(self, counts, seen) -> None:
        super().__init__(counts)
        self.seen = seen

    def __setitem__(self, name, count) -> None:
        self.seen.append((name, "".join(traceback.format_exc()) if sys.exc_info()[0] else ""))
        super().__setitem__(name, count)


def watched(slot, seen):
    """A property over a slot of Buffer that turns every dict stored there into a Ledger."""
    return property(slot.__get__, lambda self, counts: slot.__set__(self, Ledger(counts, seen)))


@pytest.fixture
def counted():
    """What any Buffer counted during the test: `.errors` and `.drops`, lists of (name, traceback or "").

    For tests that declare them with the markers expects_errors and expects_drops and want to look at them; clearing is
    not needed.
    """
    seen = SimpleNamespace(errors=[], drops=[])
    with pytest.MonkeyPatch.context() as patch:
        for name, into in vars(seen).items():
            patch.setattr(buffer_module.Buffer, name, watched(vars(buffer_module.Buffer)[name], into))
        yield seen


@pytest.fixture(autouse=True)
def nothing_is_lost_or_left(request, counted):
    """A recorder that is broken and shielded must not pass: no error, drop, patch, thread or socket after a test."""
    before = patches_in_place(), our_threads(), datagram_sockets()
    yield
    problems = [
        *undeclared(request, "expects_errors", "step", counted.errors),
        *undeclared(request, "expects_drops", "drop", counted.drops),
        *(f"patch left: {name}" for name in sorted(patches_in_place() - before[0])),
        *(f"thread left: {name}" for name in sorted(our_threads() - before[1])),
    ]
    if datagram_sockets() - before[2]:
        gc.collect()  # an exporter in a cycle is closed by the collector; one that is still referenced stays open
        problems += [f"datagram socket left: descriptor {number}" for number in sorted(datagram_sockets() - before[2])]
    if scope_module.active is not None:
        scope_module.active = None
        problems.append("coldspan.hot.scope.active left set")
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def undeclared(request, marker, what, seen):
    """Lines for what was counted and not declared, and for what was declared and never counted."""
    marks = list(request.node.iter_markers(marker))
    declared = {name for mark in marks for name in mark.args}
    anything = any(not mark.args for mark in marks)
    names = {name for name, _ in seen}
    lines = []
    if not anything:
        lines += [f"undeclared {what} counted: {name}\n{trace}" for name, trace in seen if name not in declared]
        lines += [f"declared {what} never counted: {name}" for name in sorted(declared - names)]
    elif not names:
        lines.append(f"{marker} declared, but no {what} was counted")
    return lines


def patches_in_place():
    """`module.attribute` or `module.Class.attribute` for all that carries our mark; our finders on sys.meta_path."""
    found = {
        f"sys.meta_path: {type(finder).__name__}"
        for finder in sys.meta_path
        if getattr(type(finder), "__module__", "").startswith("coldspan")
    }
    for name, module in list(sys.modules.items()):
        if module is None or not PATCHED.fullmatch(name):
            continue
        for attribute, value in list(vars(module).items()):
            if type(value) is FunctionType:
                if hasattr(value, MARK):
                    found.add(f"{name}.{attribute}")
            elif isinstance(value, type) and value.__module__ == name:
                for key, member in list(vars(value).items()):
                    if type(member) is FunctionType and hasattr(member, MARK):
                        found.add(f"{name}.{attribute}.{key}")
    return found


def our_threads():
    """Names of live threads that run code of the recorder or were made by it."""
    frames = sys._current_frames()
    ours = set()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident)
        while frame is not None and thread is not threading.current_thread():
            if frame.f_code.co_filename.startswith(str(RECORDER)):
                ours.add(thread.name)
            frame = frame.f_back
        if type(thread).__module__.split(".")[0] == "coldspan":
            ours.add(thread.name)
    return ours


def datagram_sockets():
    """Descriptors of open UDP sockets: the recorder makes no other kind."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir() if sys.platform == "linux" else ():
        number = int(entry.name)
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            duplicate = os.dup(number)
        except OSError:  # the descriptor of the listing itself
            continue
        with socket.socket(fileno=duplicate) as opened:
            if opened.type == socket.SOCK_DGRAM and opened.family in {socket.AF_INET, socket.AF_INET6}:
                found.add(number)
    return found


# --- suites and skips -----------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(items):
    """Mark each test with the suite whose folder it is in, and give it that suite's timeout."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if folder in TIMEOUTS:
            item.add_marker(getattr(pytest.mark, folder))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIMEOUTS[folder]))


def allowed_skips(text):
    """Patterns of tests/allowed_skips.txt: node id with `*`, two spaces or more, the reason, which must be there."""
    patterns = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            node, _, reason = line.strip().partition("  ")
            if not reason.strip():
                raise pytest.UsageError(f"tests/allowed_skips.txt: no reason given for {node}")
            patterns.append(re.compile(".*".join(re.escape(part) for part in node.split("*"))))
    return patterns


def refused_skips(skipped, patterns):
    """Node ids that were skipped, and that no pattern allows."""
    return sorted(node for node in set(skipped) if not any(pattern.fullmatch(node) for pattern in patterns))


def in_ci():
    """Whether a skipped test fails the run."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


class SkipPolicy:
    """Collects skipped tests and modules; with CI=true the run fails for each that allowed_skips.txt does not list."""

    def __init__(self) -> None:
        self.skipped = []
        self.refused = []

    def pytest_runtest_logreport(self, report):
        """A test was skipped, or failed where a failure was expected."""
        if report.skipped:
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report):
        """A whole file was skipped."""
        if report.skipped:
            self.skipped.append(report.nodeid)

    def pytest_sessionfinish(self, session):
        """Fail the run for skips that nobody allowed."""
        if in_ci():
            self.refused = refused_skips(self.skipped, allowed_skips((TESTS / "allowed_skips.txt").read_text()))
            if self.refused and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        """Say which skips failed the run."""
        if self.refused:
            terminalreporter.section("skipped, and not listed in tests/allowed_skips.txt")
            for node in self.refused:
                terminalreporter.line(node, red=True)


def pytest_terminal_summary(terminalreporter):
    """Say what a newer botocore brought that nobody has judged; it fails nothing (`settle` in test_outcomes.py)."""
    told = [
        text
        for report in terminalreporter.getreports("passed")
        for name, text in report.user_properties
        if name == "unjudged"
    ]
    if told:
        terminalreporter.section("WARNING: nothing fails, and somebody must look", yellow=True, bold=True)
        for text in told:
            terminalreporter.line(text, yellow=True)


def pytest_configure(config):
    """Put the skip policy in force."""
    config.pluginmanager.register(SkipPolicy(), "skip-policy")
