"""One destination's pipeline, turned by hand with a clock that moves when told to."""

import threading

import pytest

from coldspan_blackbox.exporting import pipeline as pipeline_module
from coldspan_blackbox.exporting.backlog import Backlog, Limits
from coldspan_blackbox.exporting.exporter import Result, Sent
from coldspan_blackbox.exporting.pipeline import Pipeline
from coldspan_blackbox.exporting.record import Record
from coldspan_blackbox.exporting.retrying import CLOSED, HALF_OPEN, OPEN, Breaker, backoff_s
from support.receivers import eventually

SENT, RETRY, REFUSED = Result(Sent.SENT), Result(Sent.RETRY, "http_503"), Result(Sent.REFUSED, "http_400")
SMALL = Limits(queue_records=8, queue_bytes=8_000, batch_records=3, batch_bytes=3_000, export_timeout_s=5.0)


def record(number=0, size=100):
    return Record({"number": number}, (), is_invocation=False, size_bytes=size)


class Clock:
    """Seconds that stand still."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self):
        return self.now


class Destination:
    """Answers what it is told to, in order, and SENT afterwards; `takes_s` passes in each attempt."""

    name = "fake"

    def __init__(self, clock, *answers) -> None:
        self.clock = clock
        self.answers = list(answers)
        self.batches = []
        self.timeouts = []
        self.takes_s = 0.0
        self.closed = threading.Event()

    def export(self, records, timeout_s):
        self.batches.append([each.document["number"] for each in records])
        self.timeouts.append(timeout_s)
        self.clock.now += min(self.takes_s, timeout_s)
        answer = self.answers.pop(0) if self.answers else SENT
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        self.closed.set()


@pytest.fixture
def clock():
    return Clock()


def made(clock, *answers, limits=SMALL, chance=0.5):
    destination = Destination(clock, *answers)
    return Pipeline(destination, limits, clock, lambda: chance), destination


def turns(pipeline, most=50):
    """Turn until there is nothing to do; the seconds until there is more."""
    for _ in range(most):
        wait_s = pipeline.turn()
        if wait_s is None or wait_s > 0:
            return wait_s
    pytest.fail("it never comes to rest")


def waiting(pipeline):
    return pipeline.figures()[3]


def accounted(pipeline):
    return pipeline.sent + sum(pipeline.dropped.values()) + waiting(pipeline)


# --- sending --------------------------------------------------------------------------------------------------------


def test_what_is_no_batch_waits_for_a_flush(clock):
    """Each record would cost a request of its own."""
    pipeline, destination = made(clock)
    pipeline.offer(record(1))
    assert turns(pipeline) is None
    assert destination.batches == []
    pipeline.flush(clock.now + 1)
    assert turns(pipeline) is None
    assert destination.batches == [[1]]
    assert (pipeline.sent, waiting(pipeline)) == (1, 0)


def test_a_whole_batch_is_sent_without_a_flush(clock):
    """A busy function's records would wait until the queue is full."""
    pipeline, destination = made(clock)
    for number in range(7):
        pipeline.offer(record(number))
    turns(pipeline)
    assert destination.batches == [[0, 1, 2], [3, 4, 5]]
    assert waiting(pipeline) == 1


def test_a_batch_keeps_to_its_bytes(clock):
    """A destination refuses what is larger than its limit."""
    pipeline, destination = made(clock)
    for number, size in enumerate((1_000, 1_500, 1_000, 4_000)):
        pipeline.offer(record(number, size))
    pipeline.flush(clock.now + 1)
    turns(pipeline)
    assert destination.batches == [[0, 1], [2], [3]]


def test_an_attempt_has_the_time_of_the_flush_and_at_least_a_second(clock):
    """A hung destination would outlast its flush by far, or a slow one never be reached by short ones."""
    pipeline, destination = made(clock)
    for within_s in (2.5, 0.2, 60.0):
        pipeline.offer(record())
        pipeline.flush(clock.now + within_s)
        turns(pipeline)
    assert destination.timeouts == [2.5, 1.0, 5.0]


def test_without_a_flush_an_attempt_has_the_timeout_of_its_own(clock):
    """A hung destination would keep its thread for ever."""
    pipeline, destination = made(clock)
    for number in range(3):
        pipeline.offer(record(number))
    turns(pipeline)
    assert destination.timeouts == [5.0]


# --- failing --------------------------------------------------------------------------------------------------------


def test_a_failed_batch_is_sent_again_after_the_back_off(clock):
    """A destination that was away for a moment would cost a batch."""
    pipeline, destination = made(clock, RETRY)
    pipeline.offer(record(1))
    pipeline.flush(clock.now + 10)
    assert turns(pipeline) == pytest.approx(0.25)  # half of the first 0.5 s
    clock.now += 0.3
    turns(pipeline)
    assert destination.batches == [[1], [1]]
    assert (pipeline.sent, pipeline.dropped) == (1, {})


def test_retry_after_is_kept_to(clock):
    """A destination that is throttling would be asked before the time it named."""
    pipeline, _ = made(clock, Result(Sent.RETRY, "http_429", retry_after_s=7.0))
    pipeline.offer(record())
    pipeline.flush(clock.now + 60)
    assert turns(pipeline) == pytest.approx(7.0)


def test_a_flush_ends_when_nothing_more_can_be_sent_in_its_time(clock):
    """Every invocation would be held up for the whole flush because of a destination that is down."""
    pipeline, _ = made(clock, Result(Sent.RETRY, "http_429", retry_after_s=7.0))
    pipeline.offer(record())
    pipeline.flush(clock.now + 2)
    turns(pipeline)
    assert not pipeline.is_flushing()
    assert waiting(pipeline) == 1


def test_a_batch_is_given_up_after_its_attempts(clock):
    """A batch that makes a destination fail would keep all others from it for ever."""
    pipeline, destination = made(clock, *[RETRY] * 8)
    pipeline.offer(record(1))
    pipeline.flush(clock.now + 100_000)
    for _ in range(8):
        clock.now += turns(pipeline) or 0
    assert pipeline.dropped == {"retries_exhausted": 1}
    pipeline.offer(record(2))
    clock.now += 1_000
    pipeline.flush(clock.now + 1)
    turns(pipeline)
    assert destination.batches[-1] == [2]


def test_a_refused_batch_is_dropped_with_the_destinations_reason(clock):
    """A refused batch would be sent again and again, or vanish uncounted."""
    pipeline, destination = made(clock, REFUSED)
    pipeline.offer(record())
    pipeline.flush(clock.now + 1)
    turns(pipeline)
    assert (pipeline.dropped, len(destination.batches)) == ({"http_400": 1}, 1)


def test_what_a_destination_took_only_in_part_is_counted_in_part(clock):
    """Records the destination rejected inside a 200 would count as sent."""
    pipeline, _ = made(clock, Result(Sent.SENT, "partial_success", refused_count=1))
    for number in range(3):
        pipeline.offer(record(number))
    turns(pipeline)
    assert (pipeline.sent, pipeline.dropped) == (2, {"partial_success": 1})


def test_a_batch_too_large_is_halved_until_it_fits(clock):
    """One limit lower than ours would cost every batch."""
    large = Result(Sent.REFUSED, "too_large")
    pipeline, destination = made(clock, large, large)
    for number in range(3):
        pipeline.offer(record(number))
    pipeline.flush(clock.now + 1)
    turns(pipeline)
    assert destination.batches == [[0, 1, 2], [0], [1, 2]]
    assert (pipeline.sent, pipeline.dropped) == (2, {"too_large": 1})


def test_an_exporter_that_raises_loses_its_batch_and_goes_on(clock):
    """A fault in one exporter would end its thread, and all that follows would wait for ever."""
    pipeline, _ = made(clock, RuntimeError("a fault of ours"))
    for number in range(4):
        pipeline.offer(record(number))
    pipeline.flush(clock.now + 1)
    turns(pipeline)
    assert (pipeline.sent, pipeline.dropped) == (1, {"exporter_error": 3})


def test_a_destination_that_is_down_is_asked_only_now_and_then(clock):
    """Each flush would wait for a time-out, billed."""
    pipeline, destination = made(clock, *[RETRY] * 100)
    destination.takes_s = 5.0
    for number in range(8):
        pipeline.offer(record(number))
    for _ in range(200):
        pipeline.flush(clock.now + 5)
        turns(pipeline)
        clock.now += 1.0
    assert len(destination.batches) < 15
    assert pipeline.breaker.state(clock.now) in {OPEN, HALF_OPEN}
    destination.answers.clear()
    destination.takes_s = 0.0
    clock.now += 300
    pipeline.flush(clock.now + 5)
    turns(pipeline)
    assert pipeline.breaker.state(clock.now) == CLOSED
    assert waiting(pipeline) == 0


def test_what_a_queue_has_no_room_for_is_counted_by_what_held_it_up(clock):
    """It could not be told whether the queue is too small or the destination down."""
    pipeline, _ = made(clock, *[RETRY] * 3)
    for number in range(9):
        pipeline.offer(record(number))
    assert pipeline.dropped == {"queue_full": 1}
    pipeline.flush(clock.now + 100)
    for _ in range(3):
        clock.now += turns(pipeline)
        pipeline.flush(clock.now + 100)
    clock.now -= 1
    for number in range(9, 20):
        pipeline.offer(record(number))
    assert set(pipeline.dropped) == {"queue_full", "circuit_open"}
    assert accounted(pipeline) == pipeline.received == 20


def test_what_is_left_at_the_end_is_counted(clock):
    """What could not be sent before the environment ended would be missing from the counts."""
    pipeline, _ = made(clock, RETRY)
    for number in range(5):
        pipeline.offer(record(number))
    turns(pipeline)
    pipeline.close()
    assert pipeline.dropped == {"deadline": 5}
    assert waiting(pipeline) == 0


def test_the_older_half_is_dropped_when_memory_is_short(clock):
    """The process would be killed with all that waits."""
    pipeline, destination = made(clock)
    for number in range(2):
        pipeline.offer(record(number))
    pipeline.shed()
    pipeline.flush(clock.now + 1)
    turns(pipeline)
    assert (destination.batches, pipeline.dropped) == ([[1]], {"memory_limit": 1})


# --- on its thread --------------------------------------------------------------------------------------------------


class Gate:
    """A destination that hangs until it is let go."""

    name = "gate"

    def __init__(self) -> None:
        self.entered, self.opened, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.count = 0

    def export(self, records, timeout_s):
        self.entered.set()
        assert self.opened.wait(20)
        self.count += len(records)
        return SENT

    def close(self):
        self.closed.set()


def test_a_hung_destination_does_not_hold_up_another():
    """A dead destination would cost the records of a healthy one, or the invocation itself."""
    hung, healthy = Gate(), Gate()
    healthy.opened.set()
    pipelines = [Pipeline(hung, Limits()), Pipeline(healthy, Limits())]
    for pipeline in pipelines:
        pipeline.start()
    until_s = pipelines[0].clock() + 20
    for pipeline in pipelines:
        pipeline.offer(record(1))
        pipeline.flush(until_s)
    assert hung.entered.wait(20)
    eventually(lambda: not pipelines[1].is_flushing())
    assert (healthy.count, hung.count) == (1, 0)
    pipelines[0].offer(record(2))  # and nobody waits to hand something over
    hung.opened.set()
    eventually(lambda: not pipelines[0].is_flushing())
    assert hung.count == 2
    for pipeline in pipelines:
        pipeline.close()
        pipeline.join(20)
    assert hung.closed.is_set()
    assert healthy.closed.is_set()


def test_a_flush_wakes_a_pipeline_that_is_backing_off():
    """A flush would wait for its whole time, although the destination is not to be asked before its end."""
    asked = threading.Event()

    class Throttled(Gate):
        def export(self, records, timeout_s):
            asked.set()
            return Result(Sent.RETRY, "http_429", retry_after_s=250.0)

    pipeline = Pipeline(Throttled(), Limits())
    pipeline.start()
    pipeline.offer(record())
    pipeline.flush(pipeline.clock() + 20)
    assert asked.wait(20)
    for _ in range(3):
        pipeline.flush(pipeline.clock() + 20)
        eventually(lambda: not pipeline.is_flushing())
    pipeline.close()
    pipeline.join(20)
    assert pipeline.dropped == {"deadline": 1}


def test_a_fault_of_ours_does_not_end_the_thread(monkeypatch):
    """One MemoryError would leave a destination without anybody who sends, and all that follows would wait for ever."""
    monkeypatch.setattr(pipeline_module, "PAUSE_S", 0.0)
    gate = Gate()
    gate.opened.set()
    pipeline = Pipeline(gate, Limits())
    turn, faults = pipeline.turn, [MemoryError()] * 3

    def faulty():
        if faults:
            raise faults.pop()
        return turn()

    pipeline.turn = faulty
    pipeline.start()
    pipeline.offer(record())
    pipeline.flush(pipeline.clock() + 20)
    eventually(lambda: not pipeline.is_flushing())
    assert (gate.count, faults) == (1, [])
    pipeline.close()
    pipeline.join(20)


# --- the decisions --------------------------------------------------------------------------------------------------


def test_the_back_off_grows_and_is_spread():
    """Environments that lost the same destination would all come back at once."""
    assert [backoff_s(count, 1.0) for count in (1, 2, 3, 8, 100)] == [0.5, 1.0, 2.0, 60.0, 60.0]
    assert backoff_s(5, 0.0) == 0.0
    assert backoff_s(1, 0.5, 30.0) == 30.0
    assert backoff_s(1, 0.5, 1e9) == 300.0
    assert backoff_s(1, 0.5, float("nan")) == 0.25
    assert backoff_s(1, 0.5, -5.0) == 0.25


def test_the_breaker_opens_after_three_failures_and_lets_one_through():
    """A destination that is down would be asked all the time, or never again."""
    breaker = Breaker()
    for _ in range(2):
        breaker.failed(0, 1.0)
        assert breaker.state(0) == CLOSED
    breaker.failed(0, 1.0)
    assert [breaker.state(now) for now in (0, 9.9, 10)] == [OPEN, OPEN, HALF_OPEN]
    breaker.failed(10, 1.0)
    assert [breaker.state(now) for now in (29.9, 30)] == [OPEN, HALF_OPEN]
    for _ in range(10):
        breaker.failed(30, 1.0)
    assert breaker.state(30 + 300) == HALF_OPEN
    breaker.succeeded()
    assert breaker.state(0) == CLOSED
    breaker.failed(0, 1.0)
    assert breaker.state(0) == CLOSED


def test_a_backlog_drops_the_oldest_and_what_is_too_large_for_it():
    """Memory would grow without bound, or the newest be lost while a destination is down for long."""
    backlog = Backlog(SMALL)
    assert backlog.add(record(0, 8_001)) == 1
    assert [backlog.add(record(number, 3_000)) for number in range(4)] == [0, 0, 1, 1]
    assert [each.document["number"] for each in backlog.take()] == [2]
    assert (len(backlog), backlog.size_bytes) == (1, 3_000)
    assert pipeline_module.TOO_LARGE == "too_large"
