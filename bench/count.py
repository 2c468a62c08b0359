"""Instructions, counted by callgrind: the whole process, cut into windows at each `next`."""

import contextlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.prepare import Workshop
from bench.runtime_api import EndedError, Environment, Server, settle
from bench.sandbox import command, environment
from bench.setups import Setup

METHOD = "2"  # counts that were kept are counted anew when this changes


class Counter:
    """Reads and resets callgrind's counter of a process that waits in a system call."""

    def __init__(self, server: Server, running: Environment, folder: Path) -> None:
        self.server, self.running, self.folder = server, running, folder
        self.parts = 0

    def take(self, *, settled: bool = True) -> int:
        """Instructions since the last time, over all threads."""
        if settled:
            settle(self.server, self.running)
        self.parts += 1
        subprocess.run(["vgdb", f"--pid={self.running.pid}", "dump"], capture_output=True, check=True, timeout=120)
        part = self.folder / f"out.{self.parts}"
        total = total_of(part)
        part.unlink()
        return total


def total_of(part: Path) -> int:
    """The sum that callgrind writes into the last lines of a dump."""
    return int(re.search(r"^(?:totals|summary): (\d+)", part.read_text(), re.MULTILINE)[1])


def valgrind(folder: Path) -> list[str]:
    """The command in front of the interpreter."""
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", f"--log-file={folder}/log"]


def count(server: Server, workshop: Workshop, setup: Setup, function: str, warm_up: int, warm: int) -> dict:
    """Count one function under one setup.

    Gives: `init` (process start to the first `next`; `wrapper` is the share of the wrapper's own programs), `first`
    (from there to the second `next`), and per warm invocation `warm_unsampled` and `warm_sampled`, of which `hot_*` up
    to the response; `sent`: the datagrams and requests that arrived meanwhile, which show that the setup did its work.
    """
    server.requests.clear()
    server.datagrams = 0
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        running = server.environment()
        variables = environment(workshop, setup, function, ports_of(server, running)) | setup.slowed
        server.start(running, command(workshop, setup, variables, valgrind(folder)))
        counter = Counter(server, running, folder)
        try:
            server.until_next(running)
            found: dict = {"init": counter.take()}
            server.invoke(running, 1, sampled=True)
            found["first"] = counter.take()
            for number in range(warm_up):
                server.invoke(running, 2 + number, sampled=bool(number % 2))
            counter.take()
            for kind in ("unsampled", "sampled"):
                found[f"warm_{kind}"] = windows(server, running, counter, warm, kind)
                found[f"hot_{kind}"] = hot_window(server, running, counter, kind)
        finally:
            server.stop(running)
        found["sent"] = {"datagrams": server.datagrams, "requests": dict(server.requests)}
        found["wrapper"] = count_stages(workshop, setup, variables, folder)
        found["init"] += found["wrapper"]
    return found


def ports_of(server: Server, running: Environment) -> dict[str, int]:
    """The ports that a function is told."""
    return {"runtime": running.port, "sink": server.sink, "xray": server.xray}


def windows(server: Server, running: Environment, counter: Counter, warm: int, kind: str) -> float:
    """The mean over `warm` invocations, drain included."""
    for number in range(warm):
        server.invoke(running, 1000 + number, sampled=kind == "sampled")
    return counter.take() / warm


def hot_window(server: Server, running: Environment, counter: Counter, kind: str) -> int:
    """The smallest of three counts from the event to the arrival of the response."""
    counts: list[int] = []

    def note() -> None:
        counts.append(counter.take(settled=False))

    running.on_response = note
    for number in range(3):
        server.invoke(running, 2000 + number, sampled=kind == "sampled")
        counter.take()
    running.on_response = None
    return min(counts)


def count_stages(workshop: Workshop, setup: Setup, variables: dict[str, str], folder: Path) -> int:
    """Instructions of the programs that the wrapper runs before the runtime: the shell, and a launcher in Python.

    Each ends in execve, which loses callgrind's counter; so each is counted alone, up to the call of execve.
    """
    if not setup.wrapper:
        return 0
    shell = count_until_execve(workshop, setup, variables, folder)
    lite = setup.environment.get("AWS_LAMBDA_LITE_MODE") == "true"
    return shell + (0 if lite else count_launcher(workshop, setup, variables, folder))


def count_until_execve(workshop: Workshop, setup: Setup, variables: dict[str, str], folder: Path) -> int:
    """The shell script of the wrapper."""
    under = [*valgrind(folder), "--dump-before=execve", "--trace-children=no"]
    line = command(workshop, setup, variables, under, stage=True)
    subprocess.run(line, capture_output=True, check=False, timeout=300)
    return first_dump(folder)


def count_launcher(workshop: Workshop, setup: Setup, variables: dict[str, str], folder: Path) -> int:
    """opentelemetry-instrument, which sets variables and starts the interpreter a second time.

    The script finds `python3` on PATH: there a stand-in puts valgrind before the real one.
    """
    binaries = folder / "bin"
    binaries.mkdir()
    under = [*valgrind(folder), "--dump-before=execv*"]
    stand_in = binaries / "python3"
    stand_in.write_text(f'#!/bin/sh\nexec {" ".join(under)} {workshop.interpreter} "$@"\n')
    stand_in.chmod(0o755)
    changed = variables | {"PATH": f"{binaries}:{variables['PATH']}"}
    line = command(workshop, setup, changed, [], stage=True)
    subprocess.run(line, capture_output=True, check=False, timeout=300)
    shutil.rmtree(binaries)
    return first_dump(folder)


def first_dump(folder: Path) -> int:
    """The first dump that callgrind left here; the others are removed. Errors: EndedError when there is none."""
    dumps = sorted(folder.glob("out.*"), key=lambda part: int(part.suffix[1:]))
    if not dumps:
        raise EndedError("the wrapper started no other program")
    total = total_of(dumps[0])
    for part in folder.glob("out*"):
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
    return total
