"""A front before moto's server: what moto does not keep, and what an account would refuse, is put into its answers."""

import http.client
import http.server
import json
import re
import threading
import urllib.parse

HOPS = {"connection", "transfer-encoding", "content-length", "date", "server"}
DENIED = "User: arn:aws:iam::123456789012:user/me is not authorized to perform: {} on resource: *"
XML = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{}</Message></Error></ErrorResponse>"


class Front:
    """Passes requests on to moto.

    `change(pattern, function)`: the JSON answers to requests whose name is like the pattern go through the function.
    `give(pattern, status, body)`: those requests are answered so. `deny(action)`: as IAM refuses one.
    A request's name is its operation where it says one, else its method and path. `files`: bytes by path.
    """

    def __init__(self, moto_url):
        self.moto = urllib.parse.urlsplit(moto_url).netloc
        self.files = {}
        self.clear()

    def clear(self):
        """Pass everything on again."""
        self.changes, self.answers, self.asked = [], [], []
        self.files.clear()

    def change(self, pattern, function):
        """Let a function change what moto answers."""
        self.changes.append((re.compile(pattern), function))

    def give(self, pattern, status, body, headers=()):
        """Answer so, and do not ask moto."""
        self.answers.append((re.compile(pattern), status, body, dict(headers)))

    def deny(self, action, pattern=None):
        """Refuse an action of a JSON service, as IAM does; those of IAM itself in XML."""
        service, operation = action.split(":")
        text = DENIED.format(action)
        if service == "iam":
            self.give(pattern or operation + "$", 403, XML.format(text).encode())
        else:
            body = json.dumps({"__type": "AccessDeniedException", "message": text, "Message": text}).encode()
            self.give(pattern or operation + "$", 403, body, {"x-amzn-ErrorType": "AccessDeniedException"})

    def __enter__(self):
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                """Say nothing."""

            def do_GET(self):
                """Answer it."""
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, answer = front.answer(self.command, self.path, dict(self.headers), body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer)
                self.close_connection = True

            do_POST = do_PUT = do_DELETE = do_GET

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, method, path, headers, body):
        """(status, headers, body) of a request."""
        if path in self.files:
            return 200, {"Content-Type": "application/zip"}, self.files[path]
        name = self.name(method, path, headers, body)
        self.asked.append(name)
        for pattern, status, given, more in self.answers:
            if pattern.search(name):
                return status, more, given
        connection = http.client.HTTPConnection(self.moto, timeout=20)
        try:
            connection.request(method, path, body, {**headers, "Connection": "close"})
            reply = connection.getresponse()
            answer = reply.read()
        finally:
            connection.close()
        kept = {key: value for key, value in reply.headers.items() if key.lower() not in HOPS}
        for pattern, function in self.changes:
            if pattern.search(name) and reply.status < 300:
                answer = json.dumps(function(json.loads(answer))).encode()
        return reply.status, kept, answer

    @staticmethod
    def name(method, path, headers, body):
        """The operation that is asked for."""
        target = {key.lower(): value for key, value in headers.items()}.get("x-amz-target", "")
        if target:
            return target.rpartition(".")[2]
        action = urllib.parse.parse_qs(body.decode("latin-1")).get("Action") if b"Action=" in body else None
        return action[0] if action else f"{method} {urllib.parse.unquote(path)}"
