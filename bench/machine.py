"""What the measurements ran on."""

import os
import platform
import subprocess
import time
from pathlib import Path

from bench.prepare import ROOT, Workshop


def describe(workshop: Workshop) -> dict[str, object]:
    """Processor, system, tools, load, and the revision that was measured."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "python": said_by([workshop.python, "-V"]).removeprefix("Python "),
        "valgrind": said_by(["valgrind", "--version"]).removeprefix("valgrind-"),
        "revision": said_by(["git", "describe", "--always", "--dirty"]),
        "load_average_at_start": round(os.getloadavg()[0], 2),
    }


def processor() -> str:
    """The processor's name, as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def said_by(command: list[str]) -> str:
    """First line of a command's output; empty where there is no such command."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else ""
