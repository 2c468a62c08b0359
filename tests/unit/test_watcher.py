"""The watcher on a fake clock: what it sees in a tick, when it wakes next, and what it undoes."""

import signal
import sys
from _thread import allocate_lock

import pytest

from coldspan.core import stacks
from coldspan.core.record import Invocation
from coldspan.hot import faulthandler as hook
from coldspan.hot import watcher as watcher_module
from coldspan.hot.watcher import Watcher

MS = 1_000_000


class Journal:
    def __init__(self):
        self.beats = []
        self.rss = 0
        self.stacks = []
        self.fd = 99
        self.resets = 0
        self.unlinked = self.lost = False

    def alive(self, now_ns):
        self.beats.append(now_ns)

    def sample_rss(self, rss_bytes):
        self.rss = rss_bytes

    def take_stacks(self, serial, text):
        self.stacks.append(text)

    def fault_fd(self):
        return self.fd

    def fault_reset(self):
        self.resets += 1

    def is_unlinked(self):
        return self.unlinked


class World:
    """A watcher without its thread, on the fake clock; faulthandler's timer is a list of what was asked of it."""

    def __init__(self, scope, clock):
        self.scope = scope
        self.clock = clock
        self.live = []
        self.journal = Journal()
        self.told = []
        self.loads = 0
        self.timer = []
        self.watcher = self.new()

    def new(self, journal=True):
        return Watcher(
            self.scope,
            lambda: list(self.live),
            self.journal if journal else None,
            self.load,
            self.thread,
            allocate_lock,
        )

    def load(self):
        self.loads += 1
        return lambda invocation, text: self.told.append((invocation.request_id, text))

    def thread(self, run, args):
        self.run = run
        return 0

    def invocation(self, whole_ms, request_id="r1"):
        invocation = Invocation(
            "invocation", request_id, self.scope.new_id(), self.clock.monotonic(), self.clock.wall()
        )
        invocation.deadline_ms = int(self.clock.wall_ns // MS + whole_ms) if whole_ms else 0
        self.live.append(invocation)
        return invocation

    def end(self, invocation):
        """What the seam does when an invocation has ended."""
        invocation.closed = True
        self.live.remove(invocation)
        if self.watcher.holds_for == invocation.span_id:
            self.watcher.ended()

    def tick(self, ms=0):
        self.clock.advance(ms=ms)
        self.watcher.wait_ns = self.watcher.period_ns
        self.watcher.steps[1]()
        return self.watcher.wait_ns / MS


@pytest.fixture
def world(scope, fake_clock, monkeypatch):
    made = World(scope, fake_clock)
    monkeypatch.setattr(hook, "timer", hook.Timer())
    monkeypatch.setattr(watcher_module, "timer", hook.timer)
    hook.timer.arm_it = lambda after_s, repeat, fd: made.timer.append((round(after_s * 1000), fd))
    hook.timer.cancel_it = lambda: made.timer.append("cancel")
    return made


@pytest.mark.parametrize(
    ("whole_ms", "period_ms"), [(3_000, 375), (30_000, 500), (900_000, 500), (800, 100), (50, 20), (0, 500)]
)
def test_the_period_follows_the_first_invocations_time(world, whole_ms, period_ms):
    """An invocation must be seen well before its deadline; more often would cost more."""
    world.watcher.start(world.invocation(whole_ms), first=True)
    assert world.watcher.period_ns / MS == period_ms


def test_a_later_invocation_with_less_time_makes_it_look_more_often(world):
    """A second deadline may be nearer than the first."""
    world.watcher.start(world.invocation(30_000), first=True)
    world.end(world.live[0])
    world.invocation(400)
    assert world.tick(50) == 50


def test_every_tick_beats_and_samples(world):
    """The journal of a killed process tells when it last ran, and how large it was."""
    world.tick(500)
    world.tick(500)
    assert [beat - world.journal.beats[0] for beat in world.journal.beats] == [0, 500 * MS]
    assert world.journal.rss > 1_000_000


def test_stacks_are_taken_once_shortly_before_the_deadline(world):
    """Not earlier, not twice: a healthy invocation is left alone."""
    invocation = world.invocation(3_000)
    waits = [world.tick(375) for _ in range(5)]
    assert waits == [375] * 4 + [275]  # two looks before the moment: see below
    assert [world.tick(275), world.tick(375)] == [375, 375]
    assert world.loads == 1
    assert not invocation.deadline_near
    assert world.tick(375) == 375
    assert world.clock.monotonic_ns - invocation.start_ns == 2_900 * MS
    assert invocation.deadline_near
    [text] = world.journal.stacks
    assert stacks.parse(text)[0]["thread"] == "MainThread"
    assert world.told == [("r1", text)]
    world.tick(50)
    assert len(world.journal.stacks) == len(world.told) == 1


@pytest.mark.parametrize(
    ("whole_ms", "setting_ms", "margin_ms"), [(30_000, 100, 100), (500, 100, 50), (30_000, 5_000, 3_000), (60, 100, 6)]
)
def test_the_moment_is_the_setting_but_at_most_a_tenth_of_the_time(world, whole_ms, setting_ms, margin_ms):
    """A function with a short timeout must not be looked at while it is healthy."""
    world.watcher.setting_ms = setting_ms
    invocation = world.invocation(whole_ms)
    world.tick(whole_ms - margin_ms - 1)
    assert not invocation.deadline_near
    world.tick(1)
    assert invocation.deadline_near


def test_what_is_sent_at_the_moment_is_loaded_before_it(world):
    """Loading takes longer at a small function's speed than there is time then."""
    world.invocation(4_000)
    world.tick(1_900)
    assert world.loads == 0
    assert world.tick(0) == 100  # wakes at half of the time
    world.tick(100)
    assert world.loads == 1


def test_a_setting_of_0_takes_no_stacks_and_still_beats(world):
    """Off is off."""
    world.watcher.setting_ms = 0
    invocation = world.invocation(1_000)
    for _ in range(20):
        world.tick(100)
    assert not invocation.deadline_near
    assert world.timer == world.told == world.journal.stacks == []
    assert len(world.journal.beats) == 20


@pytest.mark.parametrize("deadline_ms", [0, 1, 10**16])
def test_a_deadline_that_cannot_be_true_is_none(world, deadline_ms):
    """The emulator's Managed Instances have 115 days."""
    invocation = world.invocation(1_000)
    invocation.deadline_ms = deadline_ms
    for _ in range(10):
        world.tick(500)
    assert not invocation.deadline_near
    assert world.timer == []


@pytest.mark.parametrize("jump_s", [-86_400, -1, 1, 86_400])
def test_a_wall_clock_that_jumps_moves_no_deadline(world, jump_s):
    """As after a thaw, or when time is set."""
    invocation = world.invocation(3_000)
    world.tick(375)
    world.clock.jump_wall(s=jump_s)
    world.tick(2_500)
    assert not invocation.deadline_near
    world.tick(30)
    assert invocation.deadline_near


def test_a_freeze_between_invocations_tells_nothing_of_the_first(world):
    """Its deadline passed while nothing ran, and it had ended long before."""
    first = world.invocation(3_000)
    world.watcher.start(first, first=True)
    world.clock.advance(ms=20)
    world.end(first)
    world.clock.advance(s=3_600)
    second = world.invocation(3_000, "r2")
    world.tick(10)
    assert not first.deadline_near
    assert not second.deadline_near
    assert world.told == []
    world.tick(2_890)
    assert [request_id for request_id, _ in world.told] == ["r2"]


def test_an_invocation_past_its_deadline_is_left_alone(world):
    """Nobody has killed it: it is in a debugger, or was frozen half-way."""
    invocation = world.invocation(3_000)
    world.tick(10)
    world.tick(10_000)
    assert not invocation.deadline_near
    assert world.timer == []


def test_of_several_the_one_with_the_nearest_deadline_is_looked_at_first(world):
    """Managed Instances run several at once."""
    far, near = world.invocation(5_000, "far"), world.invocation(2_000, "near")
    world.tick(1_900)
    assert (far.deadline_near, near.deadline_near) == (False, True)
    world.end(near)
    world.tick(3_000)
    assert [request_id for request_id, _ in world.told] == ["near", "far"]


def test_one_that_ends_while_stacks_are_taken_is_not_told(world, monkeypatch):
    """The response has left: there is nothing to fear."""
    invocation = world.invocation(3_000)

    def take(own):
        world.end(invocation)
        return b"# late\n"

    monkeypatch.setattr("coldspan.hot.stacks.take", take)
    world.tick(2_950)
    assert world.told == []
    assert world.journal.stacks[-1] == b""
    assert world.watcher.holds_for == 0


def test_one_that_ends_after_all_leaves_no_stacks_behind(world):
    """A later kill would be told with them."""
    invocation = world.invocation(3_000)
    world.tick(2_950)
    assert world.watcher.holds_for == invocation.span_id
    world.end(invocation)
    assert world.journal.stacks[-1] == b""
    assert world.journal.resets == 1
    assert world.watcher.holds_for == 0


# -- faulthandler ----------------------------------------------------------------------------------------------------


def test_the_first_invocation_is_armed_for_at_once_and_no_other(world):
    """It may go into C code at once; arming costs a thread, which a short invocation must not pay."""
    first = world.invocation(3_000)
    world.watcher.start(first, first=True)
    assert world.timer == [(2_950, 99)]
    world.tick(375)
    world.tick(375)
    assert world.timer == [(2_950, 99)]
    world.end(first)
    assert world.timer == [(2_950, 99), "cancel"]
    second = world.invocation(3_000, "r2")
    world.tick(100)
    world.end(second)
    third = world.invocation(3_000, "r3")
    world.tick(300)
    assert len(world.timer) == 2
    world.tick(375)
    assert world.timer[2:] == [(2_950 - 675, 99)]
    world.tick(375)
    assert len(world.timer) == 3
    assert world.watcher.holds_for == third.span_id


def test_the_end_of_an_invocation_with_nothing_armed_costs_one_comparison(world):
    """Every invocation passes there."""
    invocation = world.invocation(3_000)
    world.tick(10)
    assert world.watcher.holds_for == 0
    world.end(invocation)
    assert world.timer == []
    assert world.journal.resets == 0


def test_what_is_armed_is_cancelled_when_the_stacks_are_taken(world):
    """The watcher's are better: they have names and tasks."""
    world.watcher.start(world.invocation(3_000), first=True)
    world.tick(2_900)
    assert world.timer == [(2_950, 99), "cancel"]


def test_a_watcher_that_has_the_interpreter_shortly_before_stands_in_for_faulthandler_promise_2(world):
    """A dump beside running Python kills one process in ten: it must not come because busy threads delay the stacks."""
    world.watcher.start(world.invocation(3_000), first=True)
    for _ in range(4):
        world.tick(500)
    assert world.timer == [(2_950, 99)]
    world.tick(150)
    assert world.timer == [(2_950, 99), "cancel"]
    world.tick(375)
    assert world.timer == [(2_950, 99), "cancel"]


def test_the_timer_is_cancelled_before_the_stacks_are_taken_promise_2(world, monkeypatch):
    """Taking them may last longer than there is until the dump."""
    seen = []
    monkeypatch.setattr("coldspan.hot.stacks.take", lambda own: seen.append(list(world.timer)) or b"")
    world.watcher.start(world.invocation(3_000), first=True)
    world.tick(2_900)
    assert seen == [[(2_950, 99), "cancel"]]


def test_what_is_not_urgent_is_left_out_where_it_would_take_too_long(world, monkeypatch):
    """Each call of the system costs 5 ms for every busy thread of the handler, and the deadline does not wait."""
    looks = []

    def is_unlinked():
        looks.append(world.clock.monotonic_ns)
        world.clock.advance(ms=200)
        return False

    world.journal.is_unlinked = is_unlinked
    world.invocation(3_000)
    assert world.tick(375) == 175
    assert world.tick(175) == 375
    assert len(looks) == 1
    assert len(world.journal.beats) == 2
    world.tick(375)
    assert len(looks) == 2  # it may have been a freeze


@pytest.mark.expects_drops("journal_deleted")
def test_nothing_stays_armed_for_a_file_that_is_lost_promise_2(world):
    """The descriptor's number may be that of a file of the customer's by then."""
    world.watcher.start(world.invocation(10_000), first=True)
    world.journal.unlinked = True
    world.tick(500)
    assert world.timer == [(9_950, 99), "cancel"]


def test_a_customers_timer_is_never_touched(world):
    """Theirs goes first; ours comes back when they have cancelled."""
    world.invocation(10_000)
    world.tick(500)
    hook.timer.theirs = True
    world.tick(500)
    world.tick(500)
    assert world.timer == []
    hook.timer.theirs = False
    world.tick(500)
    assert world.timer == [(9_950 - 2_000, 99)]
    hook.timer.theirs, hook.timer.armed = True, False  # theirs has taken the place of ours
    world.end(world.live[0])
    assert "cancel" not in world.timer


def test_a_timer_of_ours_that_the_customer_cancelled_is_armed_again(world):
    """Their cancel ends whatever is armed."""
    world.invocation(10_000)
    world.tick(500)
    world.tick(500)
    hook.timer.armed = False
    world.tick(500)
    assert [entry[0] for entry in world.timer] == [8_950, 8_450]


@pytest.mark.parametrize("without", ["journal", "region"])
def test_without_a_place_to_write_nothing_is_armed(world, without):
    """A full disk, or the journal switched off."""
    if without == "journal":
        world.watcher = world.new(journal=False)
    world.journal.fd = -1
    invocation = world.invocation(3_000)
    world.watcher.start(invocation, first=True)
    world.tick(1_000)
    world.tick(1_900)
    assert world.timer == []
    assert invocation.deadline_near
    assert len(world.told) == 1
    world.end(invocation)


@pytest.mark.expects_drops("journal_deleted")
def test_a_journal_that_was_deleted_is_counted_once_and_left_alone(world):
    """Customers clean /tmp."""
    world.journal.unlinked = True
    world.invocation(3_000)
    for _ in range(4):
        world.tick(100)
    assert len(world.journal.beats) == 1
    assert world.scope.buffer.drops == {"journal_deleted": 1}
    assert world.journal.lost  # the seam opens another


# -- what fails ------------------------------------------------------------------------------------------------------


@pytest.mark.expects_errors("_stacks", "_tick", "_arm")
def test_faults_of_ours_are_counted_and_the_next_tick_comes_promise_2(world, monkeypatch):
    """A watcher that dies, or prints, would be worse than none."""

    def take(own):
        raise OSError

    monkeypatch.setattr("coldspan.hot.stacks.take", take)
    world.journal.fault_fd = None
    world.invocation(3_000)
    world.tick(375)
    world.tick(375)
    world.tick(2_200)
    assert [text for _, text in world.told] == [b""]
    world.watcher.live = lambda: None
    world.tick(10)
    assert world.scope.buffer.errors == {"_arm": 1, "_stacks": 1, "_tick": 1}


@pytest.mark.expects_errors("_tick", "_stacks")
def test_what_cannot_be_loaded_for_stacks_does_not_silence_the_last_words(world, monkeypatch):
    """What the invocation had open would not be told either."""
    monkeypatch.delattr("coldspan.hot.stacks", raising=False)
    monkeypatch.setitem(sys.modules, "coldspan.hot.stacks", None)
    world.invocation(3_000)
    world.tick(1_600)
    assert world.loads == 1
    world.tick(1_350)
    assert [request_id for request_id, _ in world.told] == ["r1"]


@pytest.mark.expects_drops("watcher_not_started")
def test_a_thread_that_cannot_be_started_is_counted_promise_2(world):
    """A limit of threads or of memory."""

    def start_thread(run, args):
        raise RuntimeError("can't start new thread")

    world.watcher.start_thread = start_thread
    world.watcher.start(world.invocation(3_000), first=True)
    assert world.timer == [(2_950, 99), "cancel"]  # nobody could stand in for it
    world.watcher.stop()


def test_a_time_limit_of_the_customers_that_strikes_in_their_fork_is_not_taken_for_a_missing_folder_promise_2(
    monkeypatch,
):
    """TimeoutError is an OSError: the customer's alarm would be lost in our code, and their loop go on for ever."""

    def on_alarm(number, frame):
        raise TimeoutError("time is up")

    def struck(path):
        signal.raise_signal(signal.SIGALRM)
        return []

    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(watcher_module.os, "listdir", struck)
            with pytest.raises(TimeoutError, match="time is up"):
                watcher_module._tasks()
    finally:
        signal.signal(signal.SIGALRM, before)
