"""What a killed process is said to have died of, and when: evidence in, outcome, time and signs out."""

import json

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coldspan.core.emf import EmfEncoder
from coldspan.core.journal import Dead, DeadInvocation, read
from coldspan.core.killed import Evidence, post_mortem
from coldspan.core.record import AWS, HTTP, USER, Invocation
from coldspan.core.xray import XRayEncoder
from support import records
from support.emf_validator import validate_emf
from support.journals import Recording
from support.records import HEADER, MS, NOW_MS
from support.xray_validator import validate_segment

START_NS, EPOCH_NS = 7_000_000_000, NOW_MS * MS
MB = 1 << 20
STACKS = [{"thread": "MainThread", "frames": ["app.py:7 handler"]}]
MINE = 5  # the serial of the invocation


def dead_process(
    *, alive_ms=400, rss_mb=0, memory_mb=128, stacks_of=None, deadline_ms=3_000, error_type="", wall_ms=0, start_ms=0
):
    """A process that died in an invocation of 3 s, last seen alive `alive_ms` after its beginning.

    `stacks_of`: the serial of the invocation that stacks were taken for, 0 for faulthandler's. `error_type` is that of
    a call that had ended. `wall_ms` is how far the wall clock was ahead of the platform's.
    """
    dead = Dead()
    dead.pid, dead.memory_mb, dead.boot_id, dead.function = 17, memory_mb, "boot", "orders"
    dead.last_alive_ns = START_NS + alive_ms * MS
    dead.rss_bytes = rss_mb * MB
    if stacks_of is not None:
        dead.stacks, dead.stacks_of = STACKS, stacks_of
    dead.invocations = [DeadInvocation(running(deadline_ms=deadline_ms, wall_ms=wall_ms), "sqs", 0)]
    if error_type:
        call = records.call(dead.invocations[0].invocation, at_ms=start_ms, ms=10, cause="error")
        call.error_type = error_type
    return dead


def running(serial=MINE, request_id="r1", deadline_ms=3_000, wall_ms=0):
    """An invocation that had not ended."""
    made = Invocation("invocation", request_id, 0x1234567890ABCDEF, START_NS, EPOCH_NS + wall_ms * MS)
    made.serial, made.trace_text, made.flush = serial, HEADER, "journal"
    made.deadline_ms = NOW_MS + deadline_ms if deadline_ms else 0
    return made


def judge(dead, now_ms, **evidence):
    """(outcome, error type, ms from the beginning to the death, signs) of the last invocation."""
    told = post_mortem(dead, Evidence(START_NS + now_ms * MS, **evidence))
    invocation, _, facts = told[-1]
    died_ms = (invocation.end_ns - invocation.start_ns) / MS
    return invocation.outcome, invocation.error_type, round(died_ms), facts.get("evidence")


TIMEOUT, CRASH, OUT_OF_MEMORY = "timeout", "crash", "out_of_memory"
OWN_WORDS = {TIMEOUT: "Sandbox.Timedout", CRASH: "Runtime.ExitError", OUT_OF_MEMORY: "Runtime.OutOfMemory"}

# title: (the process, now in ms, the evidence) -> (outcome, when it died in ms, signs)
BY_TIME = {
    "replaced in the middle of its time": ({}, 1_000, {}, CRASH, 400, ["replaced_before_deadline"]),
    "replaced just before its deadline": (
        {"alive_ms": 2_900}, 2_999, {}, CRASH, 2_900, ["replaced_before_deadline"],
    ),
    "replaced at its deadline": ({"alive_ms": 2_900}, 3_000, {}, TIMEOUT, 3_000, ["alive_at_deadline"]),
    "died just now in the middle of its time": (
        {}, 1_000, {"at_once": True}, CRASH, 1_000, ["died_before_deadline"],
    ),
    "found long after, last seen long before its deadline": (
        {}, 90_000, {}, CRASH, 400, ["last_seen_before_deadline"],
    ),
    "last heartbeat two looks before the deadline": (
        {"alive_ms": 2_250}, 90_000, {}, TIMEOUT, 3_000, ["alive_at_deadline"],
    ),
    "last heartbeat more than two looks before the deadline": (
        {"alive_ms": 2_249}, 90_000, {}, CRASH, 2_249, ["last_seen_before_deadline"],
    ),
    "seen a little after the deadline: the kill takes time": (
        {"alive_ms": 3_300}, 90_000, {}, TIMEOUT, 3_300, ["alive_at_deadline"],
    ),
    "lived on past the deadline, as where no timeout kills": (
        {"alive_ms": 60_000}, 90_000, {}, CRASH, 60_000, ["lived_past_deadline"],
    ),
    "stacks taken, then lived on past the deadline": (
        {"alive_ms": 60_000, "stacks_of": MINE}, 90_000, {}, CRASH, 60_000, ["lived_past_deadline"],
    ),
    "no heartbeat, the stacks that the watcher took shortly before": (
        {"stacks_of": MINE}, 5_000, {}, TIMEOUT, 3_000, ["stacks_taken_at_deadline"],
    ),
    "heartbeat and stacks": (
        {"alive_ms": 2_900, "stacks_of": MINE}, 5_000, {}, TIMEOUT, 3_000,
        ["stacks_taken_at_deadline", "alive_at_deadline"],
    ),
    "no heartbeat, because C code held the GIL: faulthandler's stacks": (
        {"stacks_of": 0}, 5_000, {}, TIMEOUT, 3_000, ["stacks_by_faulthandler"],
    ),
    "stacks that were another invocation's": (
        {"stacks_of": MINE - 1}, 5_000, {}, CRASH, 400, ["last_seen_before_deadline"],
    ),
    "stacks, but replaced before the deadline": (
        {"alive_ms": 2_900, "stacks_of": MINE}, 2_950, {}, CRASH, 2_900, ["replaced_before_deadline"],
    ),
    "a process from which nothing was ever heard": (
        {"alive_ms": -90_000}, 5_000, {}, CRASH, 0, ["last_seen_before_deadline"],
    ),
    "a heartbeat of the future": ({"alive_ms": 9**9}, 2_000, {}, CRASH, 2_000, ["replaced_before_deadline"]),
    "no deadline, as on Managed Instances": (
        {"alive_ms": 2_900, "deadline_ms": 0}, 5_000, {}, CRASH, 2_900, ["no_deadline"],
    ),
    "a deadline in 115 days, as the emulator's Managed Instances have": (
        {"deadline_ms": 9_936_000_000}, 5_000, {}, CRASH, 400, ["no_deadline"],
    ),
    "no deadline, stacks all the same": (
        {"deadline_ms": 0, "stacks_of": MINE}, 5_000, {}, CRASH, 400, ["no_deadline"],
    ),
    "a wall clock an hour ahead: the deadline lies before the beginning": (
        {"alive_ms": 2_900, "wall_ms": 3_600_000}, 5_000, {}, CRASH, 2_900, ["no_deadline"],
    ),
    "a wall clock a little behind: the deadline seems a little later": (
        {"alive_ms": 2_900, "wall_ms": -100}, 90_000, {}, TIMEOUT, 3_100, ["alive_at_deadline"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", BY_TIME)
def test_without_a_word_of_the_platforms_the_time_decides(title):
    """A crash would be told as a timeout, or a timeout as a crash."""
    process, now_ms, evidence, outcome, died_ms, signs = BY_TIME[title]
    assert judge(dead_process(**process), now_ms, **evidence) == (outcome, OWN_WORDS[outcome], died_ms, signs)


BY_WORD = {
    "Sandbox.Timedout": TIMEOUT,
    "Runtime.Timeout": TIMEOUT,
    "SANDBOX.TIMEDOUT": TIMEOUT,
    "Runtime.ExitError": CRASH,
    "Runtime.Unknown": CRASH,
    "Sandbox.Failure": CRASH,
    "Extension.Crash": CRASH,
    "Something.New": CRASH,
    "Runtime.OutOfMemory": OUT_OF_MEMORY,
    "Sandbox.OutOfMemory": OUT_OF_MEMORY,
    "Function.ResponseSizeTooLarge": "too_large",
}


@pytest.mark.parametrize("word", BY_WORD)
@pytest.mark.parametrize("alive_ms", [400, 2_900])
def test_the_platforms_word_decides_and_is_kept(word, alive_ms):
    """What Lambda itself says of an invocation would be contradicted by our guess."""
    outcome, error_type, died_ms, signs = judge(dead_process(alive_ms=alive_ms), 90_000, error_type=word)
    assert (outcome, error_type, signs) == (BY_WORD[word], word, ["platform"])
    assert died_ms == (3_000 if outcome == TIMEOUT else alive_ms)


@pytest.mark.parametrize(
    ("reason", "alive_ms", "outcome", "signs"),
    [
        ("timeout", 400, TIMEOUT, ["shutdown_timeout"]),
        ("TIMEOUT", 400, TIMEOUT, ["shutdown_timeout"]),
        ("failure", 2_900, CRASH, ["shutdown_failure"]),
        ("spindown", 2_900, TIMEOUT, ["alive_at_deadline"]),
        ("spindown", 400, CRASH, ["last_seen_before_deadline"]),
        ("SandboxTerminated", 400, CRASH, ["last_seen_before_deadline"]),
        ("", 2_900, TIMEOUT, ["alive_at_deadline"]),
    ],
)
def test_a_shutdowns_reason_decides_where_it_says_anything(reason, alive_ms, outcome, signs):
    """The environment's end is about this invocation only when it is a failure's."""
    found = judge(dead_process(alive_ms=alive_ms), 90_000, reason=reason)
    assert (found[0], found[3]) == (outcome, signs)


@pytest.mark.parametrize(
    ("reason", "stacks_of", "outcome", "signs"),
    [
        ("spindown", MINE, TIMEOUT, ["stacks_taken_at_deadline", "alive_at_deadline"]),
        ("spindown", None, CRASH, ["died_before_deadline"]),
        ("failure", MINE, CRASH, ["shutdown_failure"]),
        ("", MINE, CRASH, ["died_before_deadline"]),
    ],
)
def test_a_spindown_at_work_with_the_deadline_in_sight_is_a_timeout(reason, stacks_of, outcome, signs):
    """`sam local invoke` ends the container by its own clock, some milliseconds before the emulator's deadline."""
    found = judge(dead_process(alive_ms=2_920, stacks_of=stacks_of), 2_950, at_once=True, reason=reason)
    assert (found[0], found[2], found[3]) == (outcome, 2_950, signs)


def test_a_word_and_a_reason_that_disagree_leave_the_word():
    """The platform's word is about the invocation, the reason about the environment."""
    found = judge(dead_process(), 5_000, reason="timeout", error_type="Runtime.ExitError")
    assert found == (CRASH, "Runtime.ExitError", 400, ["platform", "shutdown_timeout"])


BY_MEMORY = {
    "the last sample near the limit": ({"rss_mb": 122}, {}, OUT_OF_MEMORY, ["rss_near_limit"]),
    "the last sample below it": ({"rss_mb": 121}, {}, CRASH, []),
    "127 of 128 MB": ({}, {"max_memory_mb": 127}, OUT_OF_MEMORY, ["max_memory_near_limit"]),
    "128 of 128 MB": ({}, {"max_memory_mb": 128}, OUT_OF_MEMORY, ["max_memory_near_limit"]),
    "100 of 128 MB": ({}, {"max_memory_mb": 100}, CRASH, []),
    "10,239 of 10,240 MB": (
        {"memory_mb": 10_240}, {"max_memory_mb": 10_239}, OUT_OF_MEMORY, ["max_memory_near_limit"],
    ),
    "9,000 of 10,240 MB": ({"memory_mb": 10_240}, {"max_memory_mb": 9_000}, CRASH, []),
    "signal 9 with memory near the limit": (
        {}, {"signal": 9, "max_memory_mb": 127}, OUT_OF_MEMORY, ["max_memory_near_limit", "signal_9"],
    ),
    "signal 9 with memory to spare": ({"rss_mb": 50}, {"signal": 9, "max_memory_mb": 50}, CRASH, []),
    "signal 9 and nothing known of memory": ({}, {"signal": 9}, CRASH, []),
    "signal 11 with memory near the limit: no lack of memory ends so": (
        {"rss_mb": 127}, {"signal": 11}, CRASH, ["rss_near_limit"],
    ),
    "signal 6 with memory near the limit: an allocator gave up": (
        {"rss_mb": 127}, {"signal": 6}, OUT_OF_MEMORY, ["rss_near_limit"],
    ),
    "a call that raised MemoryError": ({"error_type": "MemoryError"}, {}, OUT_OF_MEMORY, ["memory_error"]),
    "a call that failed otherwise": ({"error_type": "KeyError"}, {}, CRASH, []),
    "a memory size that is not known": ({"rss_mb": 5_000, "memory_mb": 0}, {"max_memory_mb": 5_000}, CRASH, []),
    "every sign": (
        {"rss_mb": 127, "error_type": "MemoryError"}, {"signal": 9, "max_memory_mb": 128}, OUT_OF_MEMORY,
        ["memory_error", "max_memory_near_limit", "rss_near_limit", "signal_9"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", BY_MEMORY)
def test_a_lack_of_memory_is_told_by_every_known_sign(title):
    """Whoever looks for the cause of a crash would look in the wrong place."""
    process, evidence, outcome, signs = BY_MEMORY[title]
    found = judge(dead_process(**process), 90_000, **evidence)
    assert (found[0], found[1]) == (outcome, OWN_WORDS[outcome])
    assert found[3] == ["last_seen_before_deadline", *signs]
    by_word = judge(dead_process(**process), 90_000, error_type="Runtime.ExitError", **evidence)
    assert by_word == (outcome, "Runtime.ExitError", found[2], ["platform", *signs])


def test_a_process_that_lived_until_its_deadline_was_stopped_there_however_full_it_was():
    """A slow function that needs its memory is not one that ran out of it."""
    found = judge(dead_process(alive_ms=2_900, rss_mb=127), 5_000)
    assert found == (TIMEOUT, "Sandbox.Timedout", 3_000, ["alive_at_deadline", "rss_near_limit"])
    found = judge(dead_process(rss_mb=127), 5_000, error_type="Sandbox.Timedout", max_memory_mb=128)
    assert found[0] == TIMEOUT


@pytest.mark.parametrize(
    "evidence",
    [
        {"error_type": "Runtime.OutOfMemory"},
        {"reason": "timeout"},
        {"max_memory_mb": 128, "signal": 9},
        {"at_once": True, "error_type": "Sandbox.Timedout"},
    ],
    ids=repr,
)
def test_what_is_known_of_another_invocation_is_not_taken_for_this_one(evidence):
    """An earlier process's crash would be told with the cause of the one that died now."""
    alone = judge(dead_process(), 5_000)
    assert judge(dead_process(), 5_000, request_id="another", **evidence) == alone
    assert judge(dead_process(), 5_000, request_id="r1", **evidence) != alone
    assert judge(dead_process(), 5_000, request_id="r1", **evidence) == judge(dead_process(), 5_000, **evidence)


@pytest.mark.parametrize(
    ("evidence", "died_ms"),
    [
        ({"at_once": True}, 1_000),
        ({"at_once": True, "error_type": "Runtime.OutOfMemory"}, 1_000),
        ({"error_type": "Runtime.OutOfMemory"}, 400),
        ({"at_once": True, "reason": "timeout"}, 1_000),
        ({"reason": "timeout"}, 1_000),
    ],
)
def test_the_time_of_death_is_never_later_than_now(evidence, died_ms):
    """A clock of the platform's that is a little ahead would date the kill into the future."""
    assert judge(dead_process(), 1_000, **evidence)[2] == died_ms


def test_calls_are_signs_of_life():
    """Without a heartbeat an invocation would seem to have died before its last call."""
    dead = dead_process(alive_ms=0)
    records.call(dead.invocations[0].invocation, at_ms=2_400, ms=50)
    assert judge(dead, 5_000) == (TIMEOUT, "Sandbox.Timedout", 3_000, ["alive_at_deadline"])
    dead = dead_process(alive_ms=0)
    call = records.call(dead.invocations[0].invocation, at_ms=900)
    call.end_ns = 0
    dead.invocations[0].invocation.calls.remove(call)
    dead.invocations[0].invocation.open[call.span_id] = call
    assert judge(dead, 5_000)[:3] == (CRASH, "Runtime.ExitError", 900)


# --- what had ended by itself ---------------------------------------------------------------------------------------


def ended(outcome="ok", error_type="", serial=MINE, request_id="r1"):
    """A process that was killed after its invocation had ended and before its record was sent."""
    dead = dead_process(rss_mb=127)
    invocation = dead.invocations[0].invocation
    invocation.outcome, invocation.error_type = outcome, error_type
    invocation.end_ns = START_NS + 25 * MS
    invocation.response_bytes = 17
    return dead


@pytest.mark.parametrize(
    ("outcome", "error_type"), [("ok", ""), ("error", "KeyError"), ("pending", ""), ("too_large", "Function.X")]
)
def test_an_invocation_that_had_ended_is_told_as_it_ended(outcome, error_type):
    """A success would be told as a crash because its process was stopped later."""
    evidence = {"reason": "timeout", "error_type": "Sandbox.Timedout", "signal": 9, "max_memory_mb": 128}
    found = judge(ended(outcome, error_type), 90_000, **evidence)
    assert found == (outcome, error_type, 25, None)
    ((invocation, _, facts),) = post_mortem(ended(outcome, error_type), Evidence(0))
    assert (facts["recovered"], invocation.response_bytes) == (True, 17)


def test_a_memory_error_that_ended_the_invocation_and_its_process_is_a_lack_of_memory():
    """It is the journal's own sign of one."""
    assert judge(ended("error", "MemoryError"), 90_000)[:2] == (OUT_OF_MEMORY, "MemoryError")


def test_a_memory_error_that_the_process_outlived_stays_an_error():
    """A request that asked for too much is the handler's error: the next one was served."""
    dead = ended("error", "MemoryError")
    dead.invocations.append(DeadInvocation(running(MINE + 1, "r2"), "", 0))
    first, second = post_mortem(dead, Evidence(START_NS + 90_000 * MS))
    assert (first[0].outcome, first[2]["recovered"]) == ("error", True)
    assert second[0].outcome == OUT_OF_MEMORY  # by the last sample
    assert "recovered" not in second[2]


def test_every_invocation_of_a_dead_process_is_told_each_by_its_own(scope):
    """One that waits and one that ran are two records."""
    dead = ended("ok")
    dead.invocations.append(DeadInvocation(running(MINE + 1, "r2"), "", 0))
    dead.stacks, dead.stacks_of = STACKS, MINE + 1
    told = post_mortem(dead, Evidence(START_NS + 90_000 * MS))
    assert [(one.request_id, one.outcome, "stacks" in facts) for one, _, facts in told] == [
        ("r1", "ok", False), ("r2", "timeout", True),
    ]  # fmt: skip


def test_a_process_that_had_nothing_to_tell_is_told_by_nothing():
    """Every idle environment's end would be a record."""
    dead = dead_process()
    dead.invocations = []
    assert post_mortem(dead, Evidence(0)) == []


# --- the records ----------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(scope, tmp_path, fake_clock):
    """The journal of an invocation killed 900 ms after its beginning, read back: a Dead, and the Recording."""
    recording = Recording(scope, tmp_path)
    fake_clock.wall_ns = EPOCH_NS
    begun = recording.begin("r1", start="cold", deadline_ms=EPOCH_NS // MS + 900)
    recording.journal.describe(begun, "sqs")
    fake_clock.advance(ms=100)
    outer = scope.begin(USER, "checkout", "pay")
    fake_clock.advance(ms=100)
    failed = scope.begin(AWS, "dynamodb", "PutItem")
    fake_clock.advance(ms=50)
    failed.http_status, failed.cause, failed.error_type = 400, "error", "ConditionalCheckFailedException"
    scope.end(failed)
    partial = scope.begin(AWS, "sqs", "SendMessageBatch")
    partial.http_status, partial.items, partial.items_failed, partial.retries = 200, 10, 2, 1
    fake_clock.advance(ms=50)
    scope.end(partial)
    fake_clock.advance(ms=100)
    scope.begin(HTTP, "api.example.com", "GET")
    fake_clock.advance(ms=490)
    recording.journal.alive(fake_clock.monotonic_ns)
    recording.journal.sample_rss(90 * MB)
    assert outer.parent is begun
    dead = recording.read()
    recording.close()
    fake_clock.advance(s=60)
    return dead, Evidence(fake_clock.monotonic_ns)


def test_the_record_of_a_killed_invocation_says_what_was_in_flight_and_since_when(killed):
    """What it was stuck on is what nobody else tells."""
    ((invocation, results, facts),) = post_mortem(*killed)
    assert (invocation.outcome, invocation.start, invocation.trigger, invocation.flush) == (
        "timeout", "cold", "sqs", "journal",
    )  # fmt: skip
    assert [(one.tool, one.status, one.duration_ms) for one in results] == [
        ("checkout", "in_flight", 800.0),
        ("dynamodb", "rejected", 50.0),
        ("sqs", "partial", 50.0),
        ("api.example.com", "in_flight", 500.0),
    ]
    assert [one.timestamp - NOW_MS for one in results] == [100, 200, 250, 400]
    assert [one.request_id for one in results] == ["r1"] * 4
    assert {one.parent_id for one in results[1:]} == {results[0].span_id}
    assert results[0].parent_id == "%016x" % invocation.span_id
    assert (results[1].message, results[2].message) == ("ConditionalCheckFailedException", "2 of 10 items failed")
    assert (results[2].attempts, results[2].items, results[2].items_failed) == (2, 10, 2)
    assert (invocation.calls_open, invocation.calls) == (2, [])
    assert facts == {"pid": 17, "evidence": ["alive_at_deadline"], "rss_mb": 90.0}


def test_the_lines_are_legal_dated_at_the_kill_and_count_as_errors(killed):
    """CloudWatch would drop them silently, or show the timeout in the minute of its report."""
    ((invocation, results, facts),) = post_mortem(*killed)
    encoder = EmfEncoder("coldspan", "orders")
    lines = encoder.invocation_lines(invocation, results, facts | {"told_by": "next_init"})
    assert encoder.drops == {}
    stored = [fact for line in lines for fact in validate_emf(line, NOW_MS)]
    assert {fact.timestamp_ms for fact in stored} == {NOW_MS + 900}
    values = {fact.name: fact.values for fact in stored if fact.dimensions == (("function_name", "orders"),)}
    assert {name: values[name] for name in ("Duration", "Error", "Timeout", "ColdStart", "Calls", "CallFailures")} == {
        "Duration": (900.0,), "Error": (1,), "Timeout": (1,), "ColdStart": (1,), "Calls": (4,), "CallFailures": (1,),
    }  # fmt: skip
    assert values["CallTime"][0] == pytest.approx(800, abs=1)
    tools = {dict(fact.dimensions)["tool"]: fact.values for fact in stored if fact.name == "CallDuration"}
    assert tools == {"checkout": (800.0,), "dynamodb": (50.0,), "sqs": (50.0,), "api.example.com": (500.0,)}
    document = json.loads(lines[0])
    assert (document["outcome"], document["error_type"], document["calls_open"]) == ("timeout", "Sandbox.Timedout", 2)
    assert document["evidence"] == ["alive_at_deadline"]


def test_what_nobody_measured_is_not_told_as_zero(killed):
    """A handler that ran into its timeout did not run for 0 ms."""
    ((invocation, results, facts),) = post_mortem(*killed)
    (line, *_) = EmfEncoder("coldspan", "orders").invocation_lines(invocation, results, facts)
    assert {"handler_ms", "cpu_ms"} & set(json.loads(line)) == set()
    (datagram, *_) = XRayEncoder("orders").datagrams(invocation, results, facts)
    assert "handler_ms" not in validate_segment(datagram)["metadata"]["coldspan"]


@pytest.mark.parametrize("outcome", [TIMEOUT, CRASH, OUT_OF_MEMORY, "too_large"])
def test_only_a_timeout_counts_as_one_and_all_count_as_errors(outcome):
    """An alarm on timeouts would ring for crashes."""
    word = next(word for word, meaning in BY_WORD.items() if meaning == outcome)
    ((invocation, results, facts),) = post_mortem(dead_process(), Evidence(START_NS + 5_000 * MS, error_type=word))
    (line,) = EmfEncoder("coldspan", "orders").invocation_lines(invocation, results, facts)
    values = {fact.name: fact.values for fact in validate_emf(line)}
    assert (values["Error"], values["Timeout"]) == ((1,), (int(outcome == TIMEOUT),))


def test_the_segment_has_the_calls_nested_and_the_fault(killed):
    """The trace would end where the invocation began."""
    ((invocation, results, facts),) = post_mortem(*killed)
    (datagram,) = XRayEncoder("orders").datagrams(invocation, results, facts)
    document = validate_segment(datagram)
    assert (document["fault"], document["cause"]["exceptions"][0]["type"]) == (True, "Sandbox.Timedout")
    assert document["end_time"] - document["start_time"] == pytest.approx(0.9)
    (outer,) = document["subsegments"]
    assert (outer["name"], outer["in_progress"]) == ("checkout", True)
    inner = {node["name"]: node for node in outer["subsegments"]}
    assert set(inner) == {"dynamodb", "sqs", "api.example.com"}
    assert inner["api.example.com"]["in_progress"] is True
    assert inner["dynamodb"]["end_time"] - inner["dynamodb"]["start_time"] == pytest.approx(0.05)


def test_calls_that_the_journal_had_no_room_for_are_told_as_a_number(scope, tmp_path, fake_clock):
    """Those that are left would be taken for all."""
    fake_clock.tick_ns = 1_000
    recording = Recording(scope, tmp_path)
    recording.begin()
    for _ in range(500):
        recording.call()
    dead = recording.read()
    recording.close()
    ((_, results, facts),) = post_mortem(dead, Evidence(fake_clock.monotonic_ns))
    assert facts["calls_overwritten"] + len(results) == 500


THOROUGH = hypothesis_settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.fixture
def file(scope, tmp_path, fake_clock):
    """The bytes of a journal with three invocations, one of them still running."""
    fake_clock.tick_ns = 1_000_000
    recording = Recording(scope, tmp_path)
    for number in range(3):
        begun = recording.begin(f"r{number}")
        recording.journal.describe(begun, "sqs")
        for kind in (AWS, HTTP, USER):
            recording.call("tool", "op", kind, http_status=503, cause="error", error_type="Broken", items=3)
        scope.begin(HTTP, "open", "GET")
        if number < 2:
            recording.end(begun, "error", error_type="KeyError", response_bytes=3)
    recording.journal.take_stacks(3, b"# MainThread\napp.py:7 handler\n")
    recording.journal.alive(fake_clock.monotonic_ns)
    data = recording.data
    recording.close()
    return data


WORDS = ["", "Runtime.OutOfMemory", "Sandbox.Timedout", "Runtime.ExitError", "\ud800", "x" * 10_000]


@THOROUGH
@given(
    edits=st.lists(
        st.tuples(
            st.one_of(st.integers(512, 12_000), st.integers(1_024, 9_216).map(lambda at: at & ~7)),
            st.one_of(
                st.binary(min_size=1, max_size=24),
                st.sampled_from([b"\xff" * 8, bytes(8), b"\0" * 7 + b"\x80", b"\1\0\0\0\0\0\0\0"]),
            ),
        ),
        max_size=10,
    ),
    now_ns=st.integers(0, 1 << 64),
    word=st.sampled_from(WORDS),
    reason=st.sampled_from(["", "timeout", "failure", "spindown", "?"]),
    numbers=st.tuples(st.integers(0, 64), st.integers(0, 1 << 40)),
    at_once=st.booleans(),
)
def test_whatever_a_journal_says_the_lines_and_segments_are_legal(file, edits, now_ns, word, reason, numbers, at_once):
    """One damaged journal would make a line that CloudWatch or X-Ray drops, or raise in the first drain."""
    damaged = bytearray(file)
    for at, data in edits:
        damaged[at : at + len(data)] = data.lower()  # a trace id in capitals is kept as it came
    dead = read(bytes(damaged))
    assert dead is not None
    evidence = Evidence(
        now_ns, at_once=at_once, reason=reason, error_type=word, signal=numbers[0], max_memory_mb=numbers[1]
    )
    emf, xray = EmfEncoder("coldspan", "orders"), XRayEncoder("orders")
    for invocation, results, facts in post_mortem(dead, evidence):
        assert invocation.outcome
        for line in emf.invocation_lines(invocation, results, facts):
            validate_emf(line)
        for datagram in xray.datagrams(invocation, results, facts):
            validate_segment(datagram)
