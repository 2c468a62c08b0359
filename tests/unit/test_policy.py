"""Decisions as tables of numbers."""

import pytest

from coldspan.core import policy


@pytest.mark.parametrize(
    ("left_ms", "last_ms", "expected"),
    [
        (None, 0, True),
        (None, 500, True),
        (21, 0, True),
        (20, 0, False),
        (-5, 0, False),
        (99, 50, False),
        (101, 50, True),
    ],
)
def test_a_drain_starts_only_with_time_to_spare_promise_3(left_ms, last_ms, expected):
    """20 ms, or twice the last drain, whichever is more."""
    assert policy.may_start(left_ms, last_ms) is expected


@pytest.mark.parametrize(
    ("failed", "start", "duration_ms", "share", "draw", "expected"),
    [
        (False, "warm", 10, 1.0, 0.999, True),
        (False, "warm", 10, 0.0, 0.0, False),
        (False, "warm", 10, 0.1, 0.05, True),
        (False, "warm", 10, 0.1, 0.5, False),
        (True, "warm", 10, 0.0, 0.5, True),
        (False, "cold", 10, 0.0, 0.5, True),
        (False, "restored", 10, 0.0, 0.5, True),
        (False, "warm", 1000, 0.0, 0.5, True),
    ],
)
def test_calls_are_told_in_full_when_it_matters(failed, start, duration_ms, share, draw, expected):
    """Failed, slow and first invocations always; of the others a share."""
    assert policy.in_detail(failed, start, duration_ms, 1000, share, draw) is expected


@pytest.mark.parametrize(
    ("deadline_ms", "epoch_ms", "elapsed_ms", "expected"),
    [
        (3_000, 0, 1_000, 2_000),
        (3_000, 0, 4_000, -1_000),
        (0, 1_795_397_120_187, 10, None),  # no deadline
        (1_000, 9_000, 10, None),  # past before it began: the wall clock is wrong
        (3_000_000_000, 0, 10, None),  # what the emulator says for Managed Instances
    ],
)
def test_what_is_left_counts_by_the_clock_that_does_not_jump(deadline_ms, epoch_ms, elapsed_ms, expected):
    """The wall clock is read once, at the beginning."""
    assert policy.left_ms(deadline_ms, epoch_ms * 1_000_000, elapsed_ms * 1_000_000) == expected
