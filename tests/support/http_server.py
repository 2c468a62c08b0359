"""A scripted HTTP(S) server on the loopback: each path says what is written to the socket, down to the byte.

with HttpServer() as server:
    server.script["/half"] = truncated(100, b"only this")
    requests.get(server.url("/half"))
"""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field


@dataclass
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: dict
    body: bytes


@dataclass
class Exchange:
    """One request on a connection, to be answered by a script: a function that takes the Exchange.

    A script gives True when the connection stays open for another request.
    """

    server: "HttpServer"
    socket: socket.socket
    request: Request
    number: int  # how many requests this path has had, this one included

    def send(self, data):
        """Write bytes."""
        self.socket.sendall(data)


@dataclass
class HttpServer:
    """Serves on 127.0.0.1; also reached as `localhost`. `seen` lists the requests, `connections` counts them."""

    tls: bool = False
    script: dict = field(default_factory=dict)
    seen: list = field(default_factory=list)
    connections: int = 0
    release: threading.Event = field(default_factory=threading.Event)  # scripts that hang wait for it

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.context = server_context() if self.tls else None
        self.threads = []
        self.sockets = []
        self.counts = {}
        self.lock = threading.Lock()
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        self.release.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for opened in list(self.sockets):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive(), "a script of the server hangs"

    def url(self, path="/", host="127.0.0.1"):
        """The URL of a path."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, connection)

    def _serve(self, connection):
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
                stack.callback(connection.close)
            self.sockets.append(connection)
            with connection.makefile("rb") as stream:
                while (request := read_request(stream)) is not None:
                    path = request.target.partition("?")[0]
                    with self.lock:
                        self.seen.append(request)
                        number = self.counts[path] = self.counts.get(path, 0) + 1
                    if not self.script[path](Exchange(self, connection, request, number)):
                        return


def read_request(stream):
    """Read one request; None at the end of the connection."""
    line = stream.readline().decode("latin-1").split()
    if not line:
        return None
    headers = {}
    while (header := stream.readline().strip()) != b"":
        name, _, value = header.decode("latin-1").partition(":")
        headers.setdefault(name.lower(), value.strip())
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(stream.readline(), 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
    else:
        body = stream.read(int(headers.get("content-length", 0)))
    return Request(line[0], line[1], headers, body)


def head(status, **headers):
    """The status line and headers; `content_length=3` is `content-length: 3`."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(status=200, body=b"ok", **headers):
    """A whole answer with its length; the connection stays open."""

    def script(exchange):
        without_body = exchange.request.method == "HEAD" or status in {204, 304}
        length = {} if status in {204, 304} else {"content_length": len(body)}
        exchange.send(head(status, **length, **headers) + (b"" if without_body else body))
        return True

    return script


def chunked(*chunks, end=True):
    """A chunked answer; without `end` the connection is closed before the last chunk."""

    def script(exchange):
        exchange.send(head(200, transfer_encoding="chunked"))
        for chunk in chunks:
            exchange.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if end:
            exchange.send(b"0\r\n\r\n")
        return end

    return script


def truncated(length, body):
    """Promise `length` bytes, send `body`, close."""

    def script(exchange):
        exchange.send(head(200, content_length=length) + body)

    return script


def until_close(body):
    """A body whose end is the end of the connection."""

    def script(exchange):
        exchange.send(head(200, connection="close") + body)

    return script


def redirect(location, status=302):
    """Send the client elsewhere."""
    return answer(status, b"elsewhere", location=location)


def reset(exchange):
    """Answer with a TCP reset."""
    exchange.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(exchange):
    """Say nothing until the server is told to go on."""
    exchange.server.release.wait(30)


def stalled(length, body):
    """Promise `length` bytes, send `body`, then nothing until the server is told to go on."""

    def script(exchange):
        exchange.send(head(200, content_length=length) + body)
        exchange.server.release.wait(30)

    return script


def in_turn(*scripts):
    """A script for each request of a path; the last one for all that follow."""

    def script(exchange):
        return scripts[min(exchange.number, len(scripts)) - 1](exchange)

    return script


@contextlib.contextmanager
def full_backlog():
    """Give a port on which connecting neither succeeds nor fails: its queue of connections is full (Linux)."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def refused_port():
    """Give a port on which connecting is refused, and keep others from taking it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


_certificate = None


def certificate():
    """PEM of a certificate for localhost signed by itself, with its key; made once."""
    global _certificate
    if _certificate is None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = dt.datetime.now(dt.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        encoding = serialization.Encoding.PEM
        secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        _certificate = made.public_bytes(encoding).decode(), secret.decode()
    return _certificate


def server_context():
    """The server's side of TLS."""
    import tempfile

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write("".join(certificate()))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def trusting_context():
    """A client's side that trusts the certificate."""
    return ssl.create_default_context(cadata=certificate()[0])
