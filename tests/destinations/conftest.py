"""Real receivers, from an environment of their own (make test-destinations); what is not there is skipped, and said."""

import contextlib
import http.client
import http.server
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

HOME = Path(os.environ.get("COLDSPAN_DESTINATIONS", Path(__file__).parents[2] / ".venv-destinations"))


def installed(pattern):
    """A file of the receivers' environment; the test is skipped where it is not there."""
    found = next(iter(sorted(HOME.glob(pattern))), None)
    if found is None:
        pytest.skip(f"{HOME.name} has no {pattern}: run make test-destinations")
    return found


def free_port():
    """A port of loopback that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        return made.getsockname()[1]


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


@pytest.fixture
def receiver(tmp_path):
    """Give a function that starts receivers; they are ended with the test."""
    made = []

    def start(command, port, **options):
        made.append(Receiver(command, port, tmp_path / f"receiver-{len(made)}.log", **options))
        return made[-1]

    yield start
    for each in made:
        each.close()


class Gatekeeper:
    """An HTTP server in front of a receiver: hands on what comes, or refuses it with `status`."""

    def __init__(self, url) -> None:
        self.target = urlsplit(url).netloc
        self.status = 0
        self.seen = []
        gatekeeper = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = gatekeeper.status, b""
                if not status:
                    connection = http.client.HTTPConnection(gatekeeper.target, timeout=20)
                    connection.request("POST", self.path, body, dict(self.headers))
                    response = connection.getresponse()
                    status, answer = response.status, response.read()
                    connection.close()
                gatekeeper.seen.append(status)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def gatekeeper():
    """Give a function that puts a Gatekeeper in front of a URL."""
    made = []

    def start(url):
        made.append(Gatekeeper(url))
        return made[-1]

    yield start
    for each in made:
        each.close()
