"""Shows where a setup's instructions go: `python bench/profile.py coldspan plain`.

Three views: what each of its imports costs in instructions (its own, without the imports inside it); which C functions
do more than under the bare function, at init and warm; and a profile of warm invocations by Python function.
"""

import argparse
import os
import pstats
import signal
import subprocess
import sys
import tempfile
from collections import Counter as Tally
from pathlib import Path

# `bench` is a package: its own folder, first on the path of a script, would shadow the library's `profile`
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import clock  # noqa: E402
from bench.count import Counter, ports_of, total_of, valgrind  # noqa: E402
from bench.prepare import Workshop, build  # noqa: E402
from bench.runtime_api import Environment, Server, settle  # noqa: E402
from bench.sandbox import command, environment  # noqa: E402
from bench.setups import FUNCTIONS, SETUPS, Setup  # noqa: E402

PREFIXES = {
    "coldspan": "coldspan",
    "powertools": "aws_lambda_powertools,aws_xray_sdk",
    "xray": "aws_xray_sdk",
    "opentelemetry": "opentelemetry",
    "adot": "amazon,opentelemetry",
    "adot-lite": "amazon,opentelemetry",
    "datadog": "datadog_lambda,ddtrace",
}


def say(text: str = "") -> None:
    """Print a line."""
    print(text, flush=True)


def imports(
    server: Server, workshop: Workshop, setup: Setup, function: str, prefix: str
) -> tuple[list[tuple[str, int, int, int]], list[tuple[str, int, int, int]]]:
    """(name, depth, own instructions, with all inside it) of each import at init, and with the first invocation.

    In order; the marks' own cost is taken off.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        for pipe in ("marks", "go"):
            os.mkfifo(folder / pipe)
        running = server.environment()
        variables = environment(workshop, setup, function, ports_of(server, running)) | setup.slowed
        more = {"BENCH_PROBE": "1", "BENCH_PROBE_FILE": f"{folder}/answer"}
        more |= {"BENCH_PROBE_MARKS": str(folder), "BENCH_PROBE_PREFIX": prefix}
        marks = os.open(folder / "marks", os.O_RDWR)
        go = os.open(folder / "go", os.O_RDWR)
        server.start(running, command(workshop, setup, variables | more, valgrind(folder)))
        counter = Counter(server, running, folder)
        events: list[tuple[str, int]] = []

        def note() -> None:
            text = os.read(marks, 512).decode().strip()
            events.append((text, counter.take(settled=False)))
            os.write(go, b".")

        server.selector.register(marks, 1, note)
        server.until_next(running)
        at_init = len(events)
        server.invoke(running, 1, sampled=True)  # modules that load with the first invocation belong to the list
        server.selector.unregister(marks)
        server.stop(running)
        os.close(marks)
        os.close(go)
    calibration = events[:6]
    return nested(events[:at_init]), nested(calibration + events[at_init:])


def nested(events: list[tuple[str, int]]) -> list[tuple[str, int, int, int]]:
    """Turn marks, each with the instructions since the one before it, into a tree's rows."""
    overhead = min(since for text, since in events if text == "-(nothing)")
    rows: list[list] = []
    stack: list[int] = []
    for text, since in events[6:]:
        if stack:
            rows[stack[-1]][2] += max(0, since - overhead)
        if text[0] == "+":
            stack.append(len(rows))
            rows.append([text[1:], len(stack) - 1, 0, 0])
        else:
            done = rows[stack.pop()]
            done[3] += done[2]
            if stack:
                rows[stack[-1]][3] += done[3]
    return [tuple(row) for row in rows]


def functions_of(part: Path) -> Tally:
    """Own instructions by C function of one dump written without compressed names.

    (callgrind_annotate takes the calls that were open when a dump began for costs of their callers.)
    """
    found: Tally = Tally()
    name, skip = "", False
    for line in part.read_text().splitlines():
        if line.startswith("fn="):
            name = line[3:].split("'")[0]
        elif line.startswith("calls="):
            skip = True  # the next line is the cost of the callee
        elif line[:1] in "+-*0123456789" and line:
            if not skip and name:
                found[name] += int(line.split()[1])
            skip = False
    return found


def dumps(server: Server, workshop: Workshop, setup: Setup, function: str, folder: Path, warm: int) -> dict[str, Tally]:
    """Own instructions by C function at init, and per warm invocation (unsampled)."""
    running = server.environment()
    variables = environment(workshop, setup, function, ports_of(server, running)) | setup.slowed
    under = [*valgrind(folder), "--compress-strings=no"]  # else a dump's names stand in an earlier one
    server.start(running, command(workshop, setup, variables, under))
    server.until_next(running)
    found = {"init": dumped(server, running, folder, 1)}
    for number in range(10):
        server.invoke(running, 1 + number, sampled=False)
    dumped(server, running, folder, 2)
    for number in range(warm):
        server.invoke(running, 100 + number, sampled=False)
    whole = dumped(server, running, folder, 3)
    found["warm"] = Tally({name: count // warm for name, count in whole.items()})
    server.stop(running)
    return found


def dumped(server: Server, running: Environment, folder: Path, part: int) -> Tally:
    """Make the next dump of callgrind and read it."""
    settle(server, running)
    subprocess.run(["vgdb", f"--pid={running.pid}", "dump"], capture_output=True, check=True)
    path = folder / f"out.{part}"
    found = functions_of(path)
    found["(all)"] = total_of(path)
    path.unlink()
    return found


def python_profile(server: Server, workshop: Workshop, setup: Setup, function: str, warm: int) -> None:
    """Print a profile of warm invocations."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        answer = Path(name) / "profile"
        running = clock.start(server, workshop, setup, function, {"BENCH_PROBE": "1", "BENCH_PROBE_FILE": str(answer)})
        for number in range(50):
            server.invoke(running, 1 + number, sampled=True)
        os.kill(running.pid, signal.SIGUSR1)
        for number in range(warm):
            server.invoke(running, 100 + number, sampled=True)
        os.kill(running.pid, signal.SIGUSR1)
        server.invoke(running, 10_000, sampled=True)
        settle(server, running)
        server.stop(running)
        stats = pstats.Stats(str(answer)).sort_stats("tottime")
        say(f"\n{warm} warm invocations, sampled; the profile itself makes small functions look dearer than they are")
        stats.print_stats("/opt/python|layer-", 40)


def main() -> int:
    """Print the three views."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("name", choices=list(SETUPS))
    parser.add_argument("function", nargs="?", default="plain", choices=FUNCTIONS)
    parser.add_argument("--prefix", help="modules whose imports are counted, by the start of their names")
    parser.add_argument("--views", default="imports,c,python")
    parser.add_argument("--python", default=sys.executable)
    asked = parser.parse_args()
    workshop = Workshop(asked.python)
    _, reasons = build(workshop, ["bare", asked.name])
    if reasons:
        say(str(reasons))
        return 1
    server, setup = Server(), SETUPS[asked.name]
    if "imports" in asked.views:
        say("thousands of instructions: own, with all inside it, module")
        prefix = asked.prefix or PREFIXES.get(asked.name, asked.function)
        rows = imports(server, workshop, setup, asked.function, prefix)
        for moment, listed in zip(("init", "the first invocation"), rows, strict=True):
            for name, depth, own, whole in listed:
                say(f"{own / 1000:10.0f} {whole / 1000:10.0f}  {'  ' * depth}{name}")
            say(
                f"{sum(row[2] for row in listed) / 1000:10.0f}             imports at {moment}, {len(listed)} modules\n"
            )
    if "c" in asked.views:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            bare = dumps(server, workshop, SETUPS["bare"], asked.function, Path(folder), 20)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            under = dumps(server, workshop, setup, asked.function, Path(folder), 20)
        for moment in ("init", "warm"):
            more = Tally({name: count - bare[moment][name] for name, count in under[moment].items()})
            say(f"\nthousands of instructions added at {moment}, by C function")
            for name, count in more.most_common(30):
                say(f"{count / 1000:10.1f}  {name}")
            if moment == "init" and "imports" in asked.views:
                modules = len(clock.modules(server, workshop, SETUPS["bare"], asked.function)["init"])
                rest = more["(all)"] - sum(row[2] for row in rows[0])
                share = f"{rest / modules:.0f} instructions for each of {modules} modules"
                say(f"{rest / 1000:10.1f}  of it not in the imports above: {share}")
    if "python" in asked.views:
        python_profile(server, workshop, setup, asked.function, 300)
    return 0


if __name__ == "__main__":
    sys.exit(main())
