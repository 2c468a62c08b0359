"""An OTLP/HTTP server that keeps what it gets and answers what it is told to."""

import contextlib
import gzip
import http.server
import threading
import zlib

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}
DECODERS = {"gzip": gzip.decompress, "deflate": zlib.decompress, "": bytes}
HANG, DRIBBLE, CLOSE = "hang", "dribble", "close"


class Request:
    """One request: its path, headers (lower case) and body as it came; `message` is the body as protobuf."""

    def __init__(self, path, headers, body, port) -> None:
        self.path, self.headers, self.body, self.port = path, headers, body, port

    @property
    def message(self):
        return KINDS[self.path].FromString(DECODERS[self.headers.get("content-encoding", "")](self.body))


class Collector:
    """`answers` are taken one by one: a status, (status, headers, body), HANG, DRIBBLE or CLOSE; afterwards 200.

    `context` is the server's side of TLS, if there is to be any.
    """

    def __init__(self, context=None) -> None:
        self.context = context

    def __enter__(self):
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {key.lower(): value for key, value in self.headers.items()}
                collector.requests.append(Request(self.path, headers, body, self.client_address[1]))
                answer = collector.answers.pop(0) if collector.answers else 200
                with contextlib.suppress(OSError):
                    self._answer(answer)

            def _answer(self, answer):
                if answer == HANG:
                    collector.over.wait(60)
                    self.close_connection = True
                    return
                if answer == DRIBBLE:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    while not collector.over.wait(0.02):
                        self.wfile.write(b"X-Slow: 1\r\n")
                    return
                if answer == CLOSE:
                    self.close_connection = True
                    return
                status, more, body = answer if isinstance(answer, tuple) else (answer, {}, b"")
                self.send_response(status)
                for key, value in more.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # a client that went away
                pass

        self.answers, self.requests = [], []
        self.over = threading.Event()
        self._server = Server(("127.0.0.1", 0), Handler)
        scheme = "http"
        if self.context is not None:
            self._server.socket = self.context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def messages(self, path):
        """The messages that came on a path."""
        return [request.message for request in self.requests if request.path == path]

    def spans(self):
        """All spans."""
        return [
            span
            for message in self.messages("/v1/traces")
            for group in message.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]

    def metrics(self):
        """Name -> metric, of the last request that had it."""
        return {
            metric.name: metric
            for message in self.messages("/v1/metrics")
            for group in message.resource_metrics
            for scope in group.scope_metrics
            for metric in scope.metrics
        }


def attributes(holder):
    """The attributes of a span, resource, ... as a dict."""
    return {each.key: plain(each.value) for each in holder.attributes}


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
