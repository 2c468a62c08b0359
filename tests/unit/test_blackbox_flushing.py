"""When what was recorded is sent on, as a table of cases."""

import subprocess
import sys
from pathlib import Path

import pytest

from coldspan_blackbox.exporting import flushing
from coldspan_blackbox.exporting.flushing import AT_END, CONTINUOUS, PERIODIC, Flush, Pace, decide, mode_of

NOTHING = Flush(AT_END, now=False, hold=False)


def every(gap_ms, count=10, first_ms=1_000_000):
    """Starts that are `gap_ms` apart."""
    return [first_ms + number * gap_ms for number in range(count)]


MODES = {
    "the first invocation of an environment": ([1_000_000], [5], AT_END),
    "none yet": ([], [], AT_END),
    "too few to learn from": (every(100, 4), [5] * 4, AT_END),
    "one in five minutes": (every(300_000), [50] * 10, AT_END),
    "one a minute, each a second long": (every(60_000), [1_000] * 10, AT_END),
    "one in ten seconds": (every(10_000), [50] * 10, PERIODIC),
    "ten a second, short": (every(100), [5] * 10, PERIODIC),
    "ten a second, back to back and still short": (every(100), [95] * 10, PERIODIC),
    "back to back, two seconds each": (every(2_010), [2_000] * 10, CONTINUOUS),
    "awake half of the time, in long pieces": (every(4_000), [2_000] * 10, CONTINUOUS),
    "awake a fifth of the time, in long pieces": (every(10_000), [2_000] * 10, PERIODIC),
    "back to back, twenty seconds each": (every(20_100), [20_000] * 10, CONTINUOUS),
    "frequent until now, and then a pause of an hour": ([*every(100), 5_000_000], [5] * 11, AT_END),
    "sparse until now, and then a burst shorter than what is remembered": (
        [*every(300_000, 8), *every(100, 4, 1_000_000 + 8 * 300_000)],
        [5] * 12,
        AT_END,
    ),
    "sparse, and then a burst": ([*every(300_000, 5), *every(100, 8, 1_000_000 + 5 * 300_000)], [5] * 13, PERIODIC),
    "a clock that went back once": ([*every(100, 6), *every(100, 6, 10)], [5] * 12, PERIODIC),
    "lengths not known": (every(100), [], PERIODIC),
}


@pytest.mark.parametrize(("starts", "lengths", "mode"), MODES.values(), ids=MODES)
def test_the_mode_follows_from_the_spacing_of_invocations(starts, lengths, mode):
    """A function called once an hour would send its records an hour late, or a busy one pay for each flush."""
    assert mode_of(starts, lengths) == mode


SPARSE, OFTEN, BUSY = (every(300_000), [50] * 10), (every(100), [5] * 10), (every(2_010), [2_000] * 10)
DECISIONS = {
    # pace, ms since the last flush, records waiting, at the end, forced -> what is done
    "sparse, at the end": (SPARSE, 300_000, 3, True, "", Flush(AT_END, now=True, hold=True)),
    "sparse, at the end, just flushed": (SPARSE, 5, 3, True, "", Flush(AT_END, now=True, hold=True)),
    "sparse, nothing waits": (SPARSE, 300_000, 0, True, "", NOTHING),
    "sparse, in the middle of a short one": (SPARSE, 500, 3, False, "", NOTHING),
    "sparse, in the middle of a long one": (SPARSE, 10_000, 3, False, "", Flush(AT_END, now=True, hold=False)),
    "often, at the end, not yet due": (OFTEN, 9_999, 3, True, "", Flush(PERIODIC, now=False, hold=False)),
    "often, at the end, due": (OFTEN, 10_000, 3, True, "", Flush(PERIODIC, now=True, hold=True)),
    "often, at a beginning, due": (OFTEN, 10_000, 3, False, "", Flush(PERIODIC, now=True, hold=False)),
    "often, the clock went back": (OFTEN, -5, 3, True, "", Flush(PERIODIC, now=True, hold=True)),
    "busy, at the end, due": (BUSY, 10_000, 3, True, "", Flush(CONTINUOUS, now=True, hold=False)),
    "busy, in the middle, due": (BUSY, 10_000, 3, False, "", Flush(CONTINUOUS, now=True, hold=False)),
    "busy, in the middle, not yet due": (BUSY, 9_000, 3, False, "", Flush(CONTINUOUS, now=False, hold=False)),
    "often, and the end is wanted": (OFTEN, 10, 3, True, "end", Flush(AT_END, now=True, hold=True)),
    "sparse, and periodic is wanted": (SPARSE, 10, 3, True, "periodic", Flush(PERIODIC, now=False, hold=False)),
    "a word that is no mode": (SPARSE, 10, 3, True, "sometimes", Flush(AT_END, now=True, hold=True)),
}


@pytest.mark.parametrize(
    ("pace", "since", "waiting", "at_end", "forced", "expected"), DECISIONS.values(), ids=DECISIONS
)
def test_the_decision(pace, since, waiting, at_end, forced, expected):
    """A flush would come too late, too often, or hold up the next event for nothing."""
    starts, lengths = pace
    now = starts[-1] + 60
    assert decide(starts, lengths, now, now - since, waiting, at_end, forced) == expected


def test_a_pace_remembers_only_the_last_invocations():
    """An environment that lives for hours would keep each of its starts."""
    pace = Pace()
    pace.ended(5)  # an end without a beginning: the first INVOKE was missed
    for number in range(1_000):
        pace.began(number * 100)
        pace.ended(number * 100 + 7)
    assert len(pace.starts_ms) == len(pace.lengths_ms) == flushing.REMEMBERED
    assert pace.starts_ms[-1] == 99_900
    assert set(pace.lengths_ms) == {7}


def test_the_module_imports_nothing():
    """The extension's registered process imports it, and its start is counted in instructions."""
    code = "import sys; before = set(sys.modules); import flushing; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-c", code],
        cwd=Path(flushing.__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.strip() == "['flushing']"
