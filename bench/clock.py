"""Time and memory: cold starts one after another, warm invocations interleaved over every setup in one run."""

import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from bench.count import ports_of
from bench.prepare import Workshop
from bench.runtime_api import Environment, Server, Timing, settle
from bench.sandbox import command, environment
from bench.setups import Setup

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def start(
    server: Server, workshop: Workshop, setup: Setup, function: str, more: dict[str, str] | None = None
) -> Environment:
    """Start a function on the last core, away from this loop; it is waiting for its first event when this returns."""
    running = server.environment()
    variables = environment(workshop, setup, function, ports_of(server, running)) | (more or {})
    running.sent_ns = time.perf_counter_ns()
    server.start(running, command(workshop, setup, variables, []), cpu=max(os.sched_getaffinity(0)))
    server.until_next(running, 120)
    return running


def memory_of(pid: int) -> dict[str, int]:
    """Bytes resident, proportional and anonymous. Source: /proc/PID/smaps_rollup."""
    wanted = {"Rss": "rss", "Pss": "pss", "Anonymous": "anonymous"}
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in wanted:
            found[wanted[name]] = int(value.split()[0]) * 1024
    return found


def cold_starts(
    server: Server, workshop: Workshop, setups: Iterable[Setup], function: str, times: int, warm: int
) -> dict[str, dict[str, float]]:
    """Start each function `times` times, in turn; medians.

    Gives per setup: `init_ms` (the shell and the mounts in front of it included, the same for all), `first_ms` (the
    first invocation as its caller sees it), and bytes of memory at the first `next` and after `warm` invocations.
    """
    rows: dict[str, list[dict[str, float]]] = {setup.name: [] for setup in setups}
    for _ in range(times):
        for setup in setups:
            running = start(server, workshop, setup, function)
            row = {"init_ms": (running.next_ns - running.sent_ns) / 1e6}
            settle(server, running)
            row |= {f"{name}_init_bytes": value for name, value in memory_of(running.pid).items()}
            row["first_ms"] = server.invoke(running, 1, sampled=True).caller_ns / 1e6
            for number in range(warm):
                server.invoke(running, 2 + number, sampled=bool(number % 2))
            settle(server, running)
            row |= {f"{name}_warm_bytes": value for name, value in memory_of(running.pid).items()}
            server.stop(running)
            rows[setup.name].append(row)
    return {
        name: {key: statistics.median(row[key] for row in found) for key in found[0]}
        for name, found in rows.items()
        if found
    }


def warm_invocations(
    server: Server, workshop: Workshop, setups: list[Setup], function: str, rounds: int, *, sampled: bool
) -> dict[str, dict[str, float]]:
    """Run every setup side by side: each round invokes all of them in a random order, bare twice (the noise floor).

    Between its invocations a function is stopped by SIGSTOP, as Lambda freezes it, so that its threads run only in its
    own turn. Gives per setup, in µs: median and p99 as the caller sees it and in total; the median of the round-wise
    difference from bare; processor time per invocation, from the kernel's accounts; bytes of log.
    """
    bare = next(setup for setup in setups if setup.name == "bare")
    lanes = [(setup.name, start(server, workshop, setup, function)) for setup in setups]
    lanes.append(("bare again", start(server, workshop, bare, function)))
    order = random.Random(0)  # noqa: S311  the order must be the same in every run
    times: dict[str, list[Timing]] = {name: [] for name, _ in lanes}
    warm_up = 100
    used: dict[str, int] = {}
    for round_ in range(warm_up + rounds):
        if round_ == warm_up:
            used = {name: cpu_ns(running.pid) for name, running in lanes}
        for name, running in order.sample(lanes, len(lanes)):
            os.kill(running.pid, signal.SIGCONT)
            server.pump(0.0005)
            timing = server.invoke(running, 1 + round_, sampled=sampled)
            server.pump(0.0005)  # as long after the next `next` as a freeze takes
            os.kill(running.pid, signal.SIGSTOP)
            if round_ >= warm_up:
                times[name].append(timing)
    used = {name: cpu_ns(running.pid) - used[name] for name, running in lanes}
    for _, running in lanes:
        server.stop(running)
    return {name: summary(found, times["bare"], used[name]) for name, found in times.items()}


def summary(found: list[Timing], bare: list[Timing], used_ns: int) -> dict[str, float]:
    """Medians and tails in µs; `added_*` against the bare invocation of the same round."""
    row = {}
    for kind in ("caller_ns", "total_ns"):
        values = sorted(getattr(timing, kind) for timing in found)
        added = [getattr(one, kind) - getattr(other, kind) for one, other in zip(found, bare, strict=True)]
        label = kind.removesuffix("_ns")
        row[f"{label}_median_us"] = statistics.median(values) / 1000
        row[f"{label}_p10_us"] = values[len(values) // 10] / 1000
        row[f"{label}_p99_us"] = values[int(len(values) * 0.99)] / 1000
        row[f"{label}_added_us"] = statistics.median(added) / 1000
    row["cpu_us"] = used_ns / len(found) / 1000
    row["log_bytes"] = statistics.median(timing.log_bytes for timing in found)
    return row


def cpu_ns(pid: int) -> int:
    """Processor time of all threads, ended ones too; in steps of a tick (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_NS


def modules(server: Server, workshop: Workshop, setup: Setup, function: str) -> dict[str, list[str]]:
    """Names of the modules loaded at the first `next` and after the first invocation, in a run of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        answer = Path(folder) / "modules"
        more = {"BENCH_PROBE": "1", "BENCH_PROBE_FILE": str(answer)}
        running = start(server, workshop, setup, function, more)
        found = {}
        for number, moment in enumerate(("init", "first")):
            settle(server, running)
            os.kill(running.pid, signal.SIGUSR2)  # heard at once, or before 3.12 when `next` returns: no difference
            server.invoke(running, 1 + number, sampled=True)
            found[moment] = answer.read_text().split()
            answer.unlink()
        server.stop(running)
    return found
