"""Thousands of invocations on the real emulator: each is told once, however it ends and whatever the destination does.

Some are killed, some slow, and the destination comes and goes. The truth is the emulator's own log, never our counters.
COLDSPAN_SOAK says how many (`make soak`: 20,000), COLDSPAN_SEED repeats a run, COLDSPAN_SOAK_RESULT names a file for
the figures. The destination is a stand-in (support/collector.py), because it has to refuse, hang and go on command.
"""

import collections
import json
import os
import random
import re
import secrets
import time
from pathlib import Path

import pytest

from coldspan_console.platform.function import Function
from coldspan_console.platform.processes import tree
from coldspan_console.platform.sandbox import unshare_command
from support.collector import CLOSE, Collector, attributes
from support.emulating import Running, body_of, emulator_missing

HANDLERS = Path(__file__).parent / "handlers"
STARTED = re.compile(rb"START RequestId: ([0-9a-f-]{36}) Version: ")
ENDS = {
    "sleep": "timeout", "spin": "timeout", "leave": "crash", "fault": "crash", "killed": "crash", "throw": "error",
}  # fmt: skip
KILLED = 0.02  # share of the invocations
REFUSED = 0.003  # share of the invocations before which the destination begins to refuse some requests
STILL = 0.25  # share of the invocations at the end, of which none is killed: what is held must not grow
REFUSALS = (503, 429, CLOSE)
LIBRARIES = 2_000  # invocations after which the exporters have loaded all that they load
GROWTH = {"fds": 0, "threads": 0, "rss": 3 << 20}

pytestmark = [
    pytest.mark.skipif(emulator_missing() is not None, reason=f"no emulator: {emulator_missing()}"),
    pytest.mark.skipif(unshare_command() is None, reason="without mount namespaces the emulator starts no extension"),
    pytest.mark.timeout(3_000),
]


class Soaked(Running):
    """A function that is invoked thousands of times; what was started, by the emulator's log."""

    def __init__(self, emulator):
        super().__init__(emulator)
        self.looked_at, self.found = 0, []
        self.refused = set()  # after a reset the emulator at times starts nothing for an invocation, and answers 502

    def started(self):
        """Request ids, in order, of all that the emulator says it has started."""
        lines = self.emulator.lines[self.looked_at :]
        self.looked_at += len(lines)
        found = [STARTED.search(line.text) for line in lines]
        self.found.extend(match[1].decode() for match in found if match)
        return self.found

    def holds(self):
        """(descriptors, resident bytes) of the extension's processes."""
        descriptors = resident = 0
        for pid in tree([self.emulator._process.pid]):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"coldspan-blackbox" in command and b"unshare" not in command:
                descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
                resident += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return {"fds": descriptors, "rss": resident}

    def lost(self):
        """How many records could not be written, by what was counted: nobody read the log for too long."""
        counted = 0
        for document in self.documents():
            counted += document.get("refused", {}).get("line_unwritten", 0)
            counted += sum(count for name, count in document.get("dropped", {}).items() if name.startswith("lines_"))
        return counted

    def exported(self):
        """(spans of invocations that were counted as dropped or may have been, by reason)."""
        sums = collections.Counter()
        for document in self.documents():
            sums.update(document.get("export_dropped", {}))
            sums.update({name: count for name, count in document.get("dropped", {}).items() if "export" in name})
        return sums


def plan(chance, number, count):
    """The event of one invocation."""
    calls = chance.randrange(1, 12)
    event = {"n": number, "calls": calls, "slow": [], "slow_ms": 0}
    if chance.random() < 0.02:
        event |= {"slow": [chance.randrange(calls)], "slow_ms": chance.randrange(20, 200)}
    if number < count * (1 - STILL) and chance.random() < KILLED:
        event |= {"end": chance.choice(list(ENDS)), "after_ms": chance.randrange(1, 60)}
    return event


@pytest.mark.parametrize("layers", ["recorder", "both"])
def test_every_invocation_is_told_once(layer, black_box, layers, capsys):
    """Sent, or counted as dropped; nothing grows; and the destination that is not there delays nothing."""
    count = int(os.environ.get("COLDSPAN_SOAK", "400"))
    seed = int(os.environ.get("COLDSPAN_SEED") or secrets.randbits(32))
    chance = random.Random(seed)  # noqa: S311 - a repeatable run
    with capsys.disabled():
        print(f"\nsoak of {count} invocations, {layers}: COLDSPAN_SEED={seed}")
    began, ends, held = time.monotonic(), {}, []
    with Collector() as collector:
        environment = {"COLDSPAN_FLUSH_MS": "10000"}
        if layers == "both":
            environment |= {"COLDSPAN_EXPORT": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        function = Function(
            task=HANDLERS, handler="soak.handler", memory_mb=512, environment=environment, layer=layer,
            more_layers=(black_box,) if layers == "both" else (),
        )  # fmt: skip
        running = Soaked.start(function, 1)
        try:
            for number in range(count):
                event = plan(chance, number, count)
                if chance.random() < REFUSED:
                    collector.answers += [chance.choice(REFUSALS) for _ in range(chance.randrange(1, 6))]
                before = len(running.started())
                answered = running.ask(**event)
                # Its log is read behind it; what it refuses after a reset, at times, it has not started.
                running.emulator.wait_for(lambda _, before=before: len(running.started()) > before, 2)
                for request_id in running.started()[before:]:
                    ends[request_id] = event.get("end")
                    if answered.status == 502 and "end" not in event:
                        running.refused.add(request_id)
                if answered.status == 200 and number >= count * (1 - STILL):
                    held.append({**body_of(answered), "extension": running.holds()})
            for _ in range(2):
                running.ask(n=count, calls=1, slow=[])  # the next start tells of the last kill
            code = running.emulator.shutdown()
        finally:
            running.close()
        spans = arrived(collector)
    check(running, ends, held, spans, layers)
    report(running, ends, held, spans, layers, count, seed, time.monotonic() - began, code, capsys)


def arrived(collector):
    """How often each invocation's own span has arrived at the destination."""
    found = collections.Counter()
    for request in list(collector.requests):
        if request.path != "/v1/traces":
            continue
        for resource in request.message.resource_spans:
            for scope in resource.scope_spans:
                found.update(
                    told["faas.invocation_id"] for told in map(attributes, scope.spans) if "faas.invocation_id" in told
                )
    return found


def check(running, ends, held, spans, layers):
    """Hold what was told against what the emulator's log says it has started."""
    started = running.started()
    records = collections.defaultdict(list)
    for record in running.records():
        if "outcome" in record:
            records[record["request_id"]].append(record)
    assert len(set(started)) == len(started)
    missing = {each: ends.get(each, "?") for each in started if each not in records and each not in running.refused}
    twice = {each: ends.get(each, "?") for each in started if len(records[each]) > 1}
    assert twice == {}
    assert len(missing) <= running.lost(), missing
    wrong = {
        each: (end, records[each][0]["outcome"], records[each][0].get("evidence"))
        for each, end in ends.items()
        if end is not None and records[each][0]["outcome"] != ENDS[end]
    }
    assert wrong == {}
    assert [record["errors"] for found in records.values() for record in found if "errors" in record] == []
    assert [found for found in running.documents() if "BlackBoxFaults" in found] == []
    first, last = held[len(held) // 2], held[-1]
    assert {name: last[name] - first[name] for name in GROWTH if last[name] - first[name] > GROWTH[name]} == {}
    if layers == "both":
        lost = [each for each in started if not spans[each]]
        assert len(lost) <= sum(running.exported().values()), lost
        if len(held) > LIBRARIES:
            grown = {name: last["extension"][name] - first["extension"][name] for name in ("fds", "rss")}
            assert grown["fds"] <= 0, grown
            assert grown["rss"] < 12 << 20, grown


def report(running, ends, held, spans, layers, count, seed, took_s, code, capsys):
    """Print the figures, and keep them where they are asked for."""
    told = collections.Counter(end or "answered" for end in ends.values())
    first, last = held[len(held) // 2], held[-1]
    figures = {
        "layers": layers, "seed": seed, "asked": count, "started": len(running.started()), "ends": dict(told),
        "records": len({record["request_id"] for record in running.records() if "outcome" in record}),
        "exported": sum(1 for each in running.started() if spans[each]),
        "export_dropped": dict(running.exported()),
        "refused": len(running.refused), "lost": running.lost(),
        "grown": {name: last[name] - first[name] for name in GROWTH},
        "extension_grown": {name: last["extension"][name] - first["extension"][name] for name in ("fds", "rss")},
        "exit_code": code, "seconds": round(took_s),
    }  # fmt: skip
    with capsys.disabled():
        print(json.dumps(figures, indent=1))
    if os.environ.get("COLDSPAN_SOAK_RESULT"):
        with Path(os.environ["COLDSPAN_SOAK_RESULT"]).open("a", encoding="utf-8") as result:
            result.write(json.dumps(figures) + "\n")
