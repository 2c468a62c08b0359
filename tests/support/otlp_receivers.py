"""Real OTLP receivers, from an environment of their own: processes to be killed, stopped and started again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from support.destinations import free_port

HOME = Path(os.environ.get("COLDSPAN_DESTINATIONS", Path(__file__).parents[2] / ".venv-destinations"))


def installed(pattern):
    """A file of the receivers' environment; the test is skipped where it is not there."""
    found = next(iter(sorted(HOME.glob(pattern))), None)
    if found is None:
        pytest.skip(f"{HOME.name} has no {pattern}: run make test-destinations")
    return found


def await_port(port, process, within_s=30.0):
    """Wait until somebody listens; the process must not end before."""
    waited = threading.Event()
    for _ in range(int(within_s / 0.05)):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, f"{process.args[0]} ended with {process.returncode}"
        waited.wait(0.05)
    pytest.fail(f"{process.args[0]} does not listen on {port}")


class Receiver:
    """A receiver's process on a port that stays the same when it is killed and started again."""

    def __init__(self, command, port, log, **options) -> None:
        self.command, self.port, self.log, self.options = [str(part) for part in command], port, log, options
        self.process = None
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Start it, and wait until it listens."""
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, **self.options
            )
        await_port(self.port, self.process)

    def kill(self):
        """End it as the kernel would."""
        self.process.kill()
        self.process.wait(20)

    def hang(self):
        """Let it take connections and answer nothing: the kernel accepts for it."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """Let it answer again."""
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        """End it."""
        if self.process.poll() is None:
            self.go_on()
            self.kill()


@contextlib.contextmanager
def started(folder):
    """Give a function that starts receivers, with their logs in the folder; they are ended with the block."""
    made = []

    def start(command, port, **options):
        made.append(Receiver(command, port, folder / f"receiver-{len(made)}.log", **options))
        return made[-1]

    try:
        yield start
    finally:
        for each in made:
            each.close()


class Oteltap:
    """oteltap prints each span and each metric as a line of JSON. It takes nothing that is compressed."""

    compression = "none"

    def __init__(self, receiver) -> None:
        python = installed("bin/python")
        installed("lib/*/site-packages/oteltap/__main__.py")
        port = free_port()
        self.receiver = receiver([python, "-u", "-m", "oteltap", "--port", port], port)

    def names(self):
        """The names of all spans and metrics that have arrived since the start."""
        found = []
        for line in self.receiver.log.read_text().splitlines():
            if line.startswith("{"):
                told = json.loads(line)
                found.append((told.get("name") or told.get("span", told.get("metric", {})).get("name"), line))
        return [name for name, _ in found]


class Rotel:
    """rotel hands on what it has taken; the collector behind it shows what that was."""

    compression = "gzip"

    def __init__(self, receiver, behind) -> None:
        agent = installed("lib/*/site-packages/rotel/rotel-agent")
        libraries = subprocess.run(
            [installed("bin/python"), "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        environ = {**os.environ, "LD_LIBRARY_PATH": libraries}  # it is linked with the libpython of its environment
        tried = subprocess.run([agent, "version"], env=environ, capture_output=True, text=True, check=False)
        if tried.returncode:
            pytest.skip(f"rotel does not start with this Python: {tried.stderr.strip()}")
        port = free_port()
        command = [agent, "start", "--otlp-http-endpoint", f"127.0.0.1:{port}"]
        command += ["--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}", "--batch-timeout", "50ms"]
        command += ["--exporter", "otlp", "--otlp-exporter-protocol", "http", "--otlp-exporter-endpoint", behind.url]
        self.receiver = receiver(command, port, env=environ)
        self.behind = behind

    def names(self):
        """The names of all spans and metrics that have been handed on."""
        metrics = [
            metric.name
            for message in self.behind.messages("/v1/metrics")
            for group in message.resource_metrics
            for scope in group.scope_metrics
            for metric in scope.metrics
        ]
        return [span.name for span in self.behind.spans()] + metrics
