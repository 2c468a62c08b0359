"""What the black box costs to start: `.venv/bin/python bench/extension.py [--python PATH]`, after `make layer`.

Instructions, counted by callgrind, of the built extension from the start of its interpreter until the platform has its
registration, and until it waits for its first event; over those of `python -I -S -c pass`, from start to end. The
launcher's shell is not in them.
"""

import argparse
import http.server
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

# `bench` is a package: its own folder, first on the path of a script, would shadow the library's `profile`
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.count import total_of, valgrind  # noqa: E402

START = Path(__file__).resolve().parents[1] / "build" / "blackbox" / "coldspan-blackbox" / "start.py"
FLAGS = ("-I", "-S", "-B")  # as extensions/coldspan-blackbox has them
REGISTERED, WAITS = "registered", "waits for its first event"


class Platform(http.server.ThreadingHTTPServer):
    """The Extensions API as far as it is needed: registers, has no telemetry, and never has an event."""

    def __init__(self, reached) -> None:
        self.reached, self.over = reached, threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        """Register."""
        self.server.reached(REGISTERED)
        self.answer(200, b'{"functionName":"orders"}', **{"Lambda-Extension-Identifier": "0"})

    def do_PUT(self) -> None:
        """Subscribe, as in the emulator: there is no telemetry."""
        self.answer(202, b"{}")

    def do_GET(self) -> None:
        """Wait for an event."""
        self.server.reached(WAITS)
        self.server.over.wait(60)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def count(python: str, folder: Path) -> dict[str, int]:
    """Instructions of the extension's process up to each of its moments."""
    found: dict[str, int] = {}
    waits = threading.Event()

    def reached(moment: str) -> None:
        before = sum(found.values())
        subprocess.run(["vgdb", f"--pid={running.pid}", "dump"], capture_output=True, check=True, timeout=120)
        found[moment] = before + total_of(folder / f"out.{len(found) + 1}")
        if moment == WAITS:
            waits.set()

    platform = Platform(reached)
    threading.Thread(target=platform.serve_forever, daemon=True).start()
    variables = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:%d" % platform.server_port, "COLDSPAN_JOURNAL_DIR": str(folder)}
    command = [*valgrind(folder), python, *FLAGS, str(START), "coldspan-blackbox"]
    running = subprocess.Popen(command, env={"PYTHONHASHSEED": "0", **variables}, stdin=subprocess.DEVNULL)
    try:
        if not waits.wait(120):
            sys.exit(f"the extension did not ask for an event; see {folder}")
    finally:
        running.kill()
        running.wait()
        platform.over.set()
        platform.shutdown()
    return found


def base(python: str, folder: Path) -> int:
    """Instructions of an interpreter that does nothing."""
    command = [*valgrind(folder), python, *FLAGS, "-c", "pass"]
    subprocess.run(command, env={"PYTHONHASHSEED": "0"}, check=True, timeout=120, stdin=subprocess.DEVNULL)
    return total_of(folder / "out")


def main() -> None:
    """Count, and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--python", default=sys.executable, help="the interpreter that runs the extension")
    python = options.parse_args().python
    if not START.exists():
        sys.exit("no build/blackbox: make layer")
    with tempfile.TemporaryDirectory(prefix="bench-") as first, tempfile.TemporaryDirectory(prefix="bench-") as second:
        bare = base(python, Path(first))
        print(f"python -I -S -c pass      {bare / 1e6:8.1f} M instructions")
        for moment, total in count(python, Path(second)).items():
            print(f"{moment:26}{total / 1e6:8.1f} M, {(total - bare) / 1e6:+.1f} M")


if __name__ == "__main__":
    main()
