"""Real receivers, from an environment of their own (make test-destinations); what is not there is skipped, and said."""

import http.client
import http.server
import threading
from urllib.parse import urlsplit

import pytest

from support.otlp_receivers import started


@pytest.fixture
def receiver(tmp_path):
    """Give a function that starts receivers; they are ended with the test."""
    with started(tmp_path) as start:
        yield start


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
