"""Instructions from a process's start to its first request for an event: the same at every count, to a few in 1,000."""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from coldspan_console.blame.coldstart import NEEDED
from coldspan_console.output import MISSING, ConsoleError
from coldspan_console.platform.local import LocalLambda, PlatformTimeoutError

if TYPE_CHECKING:
    from coldspan_console.blame.subject import Subject

START_S = 600.0  # valgrind takes some 50 times as long
WRAPPER = """#!/bin/sh
exec valgrind --tool=cachegrind --cache-sim=no --log-file={folder}/log --cachegrind-out-file={folder}/out "$@"
"""
SUMMARY = re.compile(r"^summary: ([\d,]+)", re.MULTILINE)


def can_count() -> bool:
    """Whether valgrind is here."""
    return shutil.which("valgrind") is not None


def count_init(subject: "Subject") -> int:
    """Count a cold start's instructions, over all threads. Errors: ConsoleError."""
    if not can_count():
        raise ConsoleError(
            "instructions are counted by valgrind, which is not here", exit_code=MISSING,
            todo="install it (apt-get install valgrind), or give the budget in ms, modules or as a ratio",
        )  # fmt: skip
    if "AWS_LAMBDA_EXEC_WRAPPER" in subject.function.environment:
        raise ConsoleError(
            "instructions are not counted under an exec wrapper", where="AWS_LAMBDA_EXEC_WRAPPER", exit_code=MISSING
        )
    with tempfile.TemporaryDirectory(prefix="coldspan-count-") as made:
        folder = Path(made) / "out"
        folder.mkdir()
        layer = Path(made) / "layer"
        layer.mkdir()
        wrapper = layer / "coldspan-count"
        wrapper.write_text(WRAPPER.format(folder=folder), encoding="utf-8")
        wrapper.chmod(0o755)
        function = subject.function
        environment = {
            **function.environment, **NEEDED, "COLDSPAN_COUNT": str(folder),  # named: so it is there below /tmp, too
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/coldspan-count",
        }  # fmt: skip
        counted = dataclasses.replace(function, more_layers=(*function.more_layers, layer), environment=environment)
        with LocalLambda(counted) as platform:
            with contextlib.suppress(PlatformTimeoutError):
                platform.wait_idle(START_S)
            process = platform.sandbox.process
            if process is None or process.poll() is not None:
                raise ConsoleError("the function does not start under valgrind", where=_last(platform.text))
            # valgrind writes its sum when the process ends, by a signal too, but for SIGKILL
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
        out = folder / "out"
        found = SUMMARY.search(out.read_text(encoding="utf-8", errors="replace")) if out.is_file() else None
    if found is None:
        raise ConsoleError("valgrind counted nothing", todo="try `valgrind --version`", exit_code=MISSING)
    return int(found[1].replace(",", ""))


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


__all__ = ["can_count", "count_init"]
