"""The report, served on loopback, with what comes while it is open."""

import contextlib
import dataclasses
import http.server
import socketserver
import threading
from typing import TYPE_CHECKING, Any

from coldspan_console.output import MISSING, ConsoleError
from coldspan_console.report.building import build, logs_of
from coldspan_console.report.data import shaped
from coldspan_console.report.page import compact, render
from coldspan_console.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from coldspan_console.store import Filter

LOOK_S = 0.5  # how often the store's counter of changes is looked at
ALIVE_LOOKS = 20  # looks between two comments that keep the connection and find out whether somebody listens
MOST = 1_000  # that are sent at once: a page that is opened anew has them all


class LiveReport:
    """A server whose page follows the store. `address` is its URL; close() ends it."""

    def __init__(self, path: "Path | str | None", wanted: "Filter", limit: int, title: str, port: int = 0) -> None:
        self._path, self._wanted, self._limit, self._title = path, wanted, limit, title
        self._closed = threading.Event()
        try:
            self._server = _Server(("127.0.0.1", port), _handler_of(self))
        except OSError as error:
            todo = "choose another by --port; 0 takes a free one"
            text = f"port {port} cannot be had: {error.strerror}"
            raise ConsoleError(text, todo=todo, exit_code=MISSING) from None
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="report", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the server and every page's connection."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def page(self) -> bytes:
        """The page as it is now."""
        with self._store() as store:
            return render(build(store, self._wanted, self._limit, self._title, live=True)).encode("utf-8")

    def events(self, send: "Callable[[bytes], None]") -> None:
        """Send what comes, as server-sent events, until the page or the server has gone."""
        with self._store() as store:
            changes, looks = store.changes(), 0
            send(b": connected\n\n")
            while not self._closed.wait(LOOK_S):
                looks += 1
                if (now := store.changes()) != changes:
                    wanted = dataclasses.replace(self._wanted, changed_after=changes)
                    found, changes = list(store.documents(wanted, limit=MOST)), now
                    if found:
                        text = compact(list(shaped(found, logs_of(store, found))))
                        send(f"data: {text}\n\n".encode())
                elif looks % ALIVE_LOOKS == 0:
                    send(b": alive\n\n")

    @contextlib.contextmanager
    def _store(self) -> "Iterator[Store]":
        with Store.open(self._path, write=False, tenant=self._wanted.tenant) as store:
            yield store


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def _handler_of(report: LiveReport) -> "type[http.server.BaseHTTPRequestHandler]":
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if (self.headers.get("Host") or "").partition(":")[0] not in {"127.0.0.1", "localhost"}:
                self.send_error(403)  # a page of another host that has been given our address
                return
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if self.path.split("?")[0] == "/":
                    self._send(report.page())
                elif self.path == "/events":
                    self._follow()
                else:
                    self.send_error(404)

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def _follow(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()

            def send(data: bytes) -> None:
                self.wfile.write(data)
                self.wfile.flush()

            report.events(send)

        def log_message(self, *_: Any) -> None:
            """Nothing: the terminal is the command's."""

    return Handler
