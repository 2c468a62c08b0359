"""The check after every test, and the skip policy: what they are there to find, they find."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent


@pytest.fixture
def outcome(tmp_path):
    """A function that runs one test's text under our conftest.py, and gives (exit code, what pytest printed)."""

    def run(text, *, ci="", allowed=""):
        suite = tmp_path / "tests" / "unit"
        suite.mkdir(parents=True)
        shutil.copy(TESTS / "conftest.py", suite.parent)
        (suite.parent / "allowed_skips.txt").write_text(allowed)
        (suite / "test_it.py").write_text(text)
        configuration = (ROOT / "pyproject.toml").read_text()
        paths = f'pythonpath = ["{ROOT}/layer/recorder/python"]'
        (tmp_path / "pyproject.toml").write_text(re.sub(r"pythonpath = \[.*\]", paths, configuration))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            cwd=tmp_path,
            env={**os.environ, "CI": ci},
            capture_output=True,
            text=True,
            check=False,
            timeout=25,
        )
        return done.returncode, done.stdout

    return run


STEP = """
import pytest
def step():
    raise ValueError("broken")
{mark}
def test_it(scope):
    scope.buffer.shielded(step)()
    scope.buffer.errors.clear()
"""


def test_an_error_that_was_shielded_fails_the_test_although_the_drain_cleared_it_promise_2(outcome):
    """A recorder that is broken and shielded would pass every test."""
    code, printed = outcome(STEP.format(mark=""))
    assert code == 1
    assert "undeclared step counted: step" in printed
    assert "ValueError: broken" in printed


def test_an_error_that_the_test_declares_does_not_fail_it(outcome):
    """The tests of faults could not be written."""
    assert outcome(STEP.format(mark="@pytest.mark.expects_errors('step')"))[0] == 0


def test_an_error_that_is_declared_and_does_not_happen_fails_the_test(outcome):
    """A declaration would outlive its reason, and hide the next fault."""
    code, printed = outcome("import pytest\n@pytest.mark.expects_errors('step')\ndef test_it(scope): pass\n")
    assert code == 1
    assert "declared step never counted: step" in printed


def test_a_drop_that_was_not_declared_fails_the_test_promise_4(outcome):
    """Lost records would be found by the customer."""
    code, printed = outcome("def test_it(scope): scope.buffer.drop('calls_limit')\n")
    assert code == 1
    assert "undeclared drop counted: calls_limit" in printed


def test_a_patch_that_is_left_fails_the_test_promise_7(outcome):
    """One test's hook would record in the next."""
    code, printed = outcome("""
import http.client
from coldspan.hot.patch import replace
def test_it():
    replace(http.client.HTTPConnection, "request", lambda original: lambda *args: original(*args), [])
""")
    assert code == 1
    assert "patch left: http.client.HTTPConnection.request" in printed


def test_a_datagram_socket_that_is_left_fails_the_test_promise_2(outcome):
    """A sender that is made anew for each invocation would run out of descriptors in production."""
    code, printed = outcome("""
import _socket
kept = []
def test_it():
    kept.append(_socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM))
""")
    assert code == 1
    assert "datagram socket left" in printed


def test_a_thread_that_runs_our_code_after_the_test_fails_it_promise_2(outcome):
    """A thread of ours would be frozen, and thawed, in the middle of somebody's invocation."""
    code, printed = outcome("""
import threading
gate = threading.Event()
inside = threading.Event()
def step():
    inside.set()
    gate.wait(20)
def test_it(scope):
    threading.Thread(target=scope.buffer.shielded(step), name="ours", daemon=True).start()
    assert inside.wait(10)
""")
    assert code == 1
    assert "thread left: ours" in printed


SKIPPED = "import pytest\ndef test_it(): pytest.skip('no engine')\n"


@pytest.mark.parametrize(
    ("ci", "allowed", "code"),
    [
        ("", "", 0),
        ("true", "", 1),
        ("true", "tests/unit/test_it.py::*  no container engine on this machine\n", 0),
        ("true", "tests/unit/test_other.py::*  no container engine on this machine\n", 1),
        ("true", "tests/unit/test_it.py::test_it\n", 4),
    ],
    ids=["not in CI", "not listed", "listed", "another is listed", "listed without a reason"],
)
def test_a_skipped_test_fails_the_run_in_ci_unless_it_is_listed_with_its_reason(outcome, ci, allowed, code):
    """A suite that no longer runs would look like one that passes."""
    assert outcome(SKIPPED, ci=ci, allowed=allowed)[0] == code


def test_a_whole_file_that_is_skipped_fails_the_run_in_ci(outcome):
    """A missing package would take its tests away in silence."""
    code, printed = outcome("import pytest\npytest.importorskip('nonexistent')\n", ci="true")
    assert code != 0
    assert "not listed in tests/allowed_skips.txt" in printed


def test_what_a_newer_botocore_brought_is_named_in_the_summary_and_fails_nothing(outcome):
    """What nobody has judged would go unseen in a run that passes."""
    text = "botocore 9.9.9: 1 members\\nlambda.Invoke.NewError"
    code, printed = outcome(f"def test_it(record_property): record_property('unjudged', '{text}')\n", ci="true")
    assert code == 0
    assert "WARNING: nothing fails, and somebody must look" in printed
    assert "botocore 9.9.9: 1 members\nlambda.Invoke.NewError\n" in printed


def test_fake_clock_stands_still_until_it_is_moved(fake_clock):
    """Durations in tests would depend on the machine."""
    assert fake_clock.monotonic() == fake_clock.monotonic()
    before = fake_clock.monotonic(), fake_clock.wall()
    fake_clock.advance(ms=2)
    assert (fake_clock.monotonic() - before[0], fake_clock.wall() - before[1]) == (2_000_000, 2_000_000)
    fake_clock.jump_wall(s=-1)
    assert (fake_clock.monotonic() - before[0], fake_clock.wall() - before[1]) == (2_000_000, -998_000_000)
    fake_clock.tick_ns = 5
    assert fake_clock.monotonic() + 5 == fake_clock.monotonic()
