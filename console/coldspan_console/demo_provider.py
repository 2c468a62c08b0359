"""A stand-in for the payment provider and the exchange rates of the sample functions, on loopback.

It does what the card, or the currency, says:

    tok_visa      200, at once                    tok_error     500
    tok_slow      200, after SLOW_SECONDS         tok_limited   429 with Retry-After
    tok_declined  402                             tok_reset     the connection is reset
    tok_timeout   no answer until the client      tok_cut       200, and half of the body
                  has gone
    XXX           404                             XTS           no answer, as tok_timeout
    XBA           503                             XDR           200, after SLOW_SECONDS

POST /charges and /refunds take {"card": ..., "amount_cents": ...}; GET /rates/{currency} gives {"rate": ...}.
`python -m coldspan_console.demo_provider [PORT [HOST]]` prints its address and serves until it is stopped; a function
in a container reaches it only with HOST 0.0.0.0.
"""

import json
import select
import socket
import struct
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_SECONDS = 1.2  # above COLDSPAN_SLOW_MS (1 s), below the samples' own timeout (2 s)
SILENT_SECONDS = 30  # how long a silent answer waits for its client to go away

BEHAVIOURS = {
    "tok_slow": "slow",
    "tok_declined": "declined",
    "tok_timeout": "silent",
    "tok_error": "broken",
    "tok_limited": "limited",
    "tok_reset": "reset",
    "tok_cut": "cut",
    "XXX": "unknown",
    "XTS": "silent",
    "XBA": "unavailable",
    "XDR": "slow",
}
REFUSALS = {
    "declined": (HTTPStatus.PAYMENT_REQUIRED, {"error": "card_declined"}),
    "broken": (HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "internal"}),
    "limited": (HTTPStatus.TOO_MANY_REQUESTS, {"error": "rate_limited"}),
    "unknown": (HTTPStatus.NOT_FOUND, {"error": "unknown currency"}),
    "unavailable": (HTTPStatus.SERVICE_UNAVAILABLE, {"error": "unavailable"}),
}
RATES = {"CHF": 0.9312, "GBP": 0.8731, "JPY": 181.04, "SEK": 10.972, "USD": 1.1594, "XDR": 0.8467}


class Provider(BaseHTTPRequestHandler):
    """One request. HTTP/1.0, so that every connection ends with its answer."""

    server: "ProviderServer"

    def do_GET(self) -> None:
        """GET /rates/{currency}."""
        currency = self.path.rpartition("/")[2]
        known = self.path.startswith("/rates/") and (currency in RATES or currency in BEHAVIOURS)
        self.behave(BEHAVIOURS.get(currency, "") if known else "unknown", {"rate": RATES.get(currency, 1.0)})

    def do_POST(self) -> None:
        """POST /charges or /refunds."""
        try:
            asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            kind = {"/charges": "ch", "/refunds": "re"}[self.path]
            card = asked["card"]
        except (KeyError, TypeError, ValueError):
            self.answer(HTTPStatus.BAD_REQUEST, {"error": "invalid_request"})
            return
        self.behave(BEHAVIOURS.get(card, ""), {"id": f"{kind}_{next(self.server.numbers):06d}"})

    def behave(self, behaviour, body) -> None:
        """Answer with `body` as the behaviour says."""
        if behaviour in REFUSALS:
            self.answer(*REFUSALS[behaviour])
        elif behaviour == "silent":
            select.select([self.connection], [], [], SILENT_SECONDS)  # readable: the client has closed it
            self.close_connection = True
        elif behaviour == "reset":
            # Lingering for 0 s makes close() send RST instead of FIN; rfile holds the socket open.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.connection.close()
            self.close_connection = True
        else:
            if behaviour == "slow":
                self.server.stopping.wait(self.server.slow_seconds)
            self.answer(HTTPStatus.OK, body, cut=behaviour == "cut")

    def answer(self, status, body, *, cut=False) -> None:
        """Send `body` as JSON; with `cut`, half of what Content-Length announces."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)

    def log_message(self, *_) -> None:
        """Say nothing: standard error belongs to whoever started us."""


class ProviderServer(ThreadingHTTPServer):
    """`with ProviderServer() as provider:` listens on 127.0.0.1, any free port unless one is given, in a thread."""

    daemon_threads = True

    def __init__(self, port=0, host="127.0.0.1", slow_seconds=SLOW_SECONDS) -> None:
        self.slow_seconds = slow_seconds
        self.stopping = threading.Event()
        self.numbers = iter(range(1, 1_000_000))
        super().__init__((host, port), Provider)

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://{self.server_address[0]}:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """A client that has gone is what some of the behaviours are for; anything else is told as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="demo-provider", daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopping.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


if __name__ == "__main__":
    server = ProviderServer(int(next(iter(sys.argv[1:]), "0")), *sys.argv[2:3])
    print(server.url, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
