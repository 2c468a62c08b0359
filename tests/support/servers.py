"""Servers that the functions under test call."""

import contextlib
import json
import socket
import threading

ERROR = json.dumps(
    {
        "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
        "message": "The conditional request failed",
    }
).encode()
JSON = b"application/x-amz-json-1.0"


def message(status, body, kind=JSON, length=None):
    """One HTTP/1.1 answer; `length` other than the body's makes it a truncated one."""
    head = [
        b"HTTP/1.1 %d Status" % status,
        b"Content-Type: " + kind,
        b"Content-Length: %d" % (len(body) if length is None else length),
        b"x-amzn-RequestId: 0123456789ABCDEF",
        b"Connection: close",
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


ANSWERS = {
    "/400": message(400, ERROR),
    "/404": message(404, b"not here", b"text/plain"),
    "/500": message(500, b'{"__type":"InternalServerError","message":"oops"}'),
    "/junk": message(200, b"<html>not json</html>", b"text/html"),
    "/truncated": message(200, b"half of", length=1_000),
    "/reset": None,
}


class Stub:
    """A server on loopback that answers by path, always the same; `dead` is the URL of a port where nobody listens."""

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._unheard = socket.socket()
        self._unheard.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets it
        self.dead = f"http://127.0.0.1:{self._unheard.getsockname()[1]}"
        self.paths = []
        self._thread = threading.Thread(target=self._serve, name="stub")
        self._thread.start()
        return self

    def __exit__(self, *_):
        # on Linux shutdown wakes a thread that waits in accept
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self._unheard.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                self._answer(connection)

    def _answer(self, connection):
        # closed here: the check after each test may hold this frame, and the connection would close before its stream
        with connection.makefile("rb") as stream:
            path = stream.readline().split(b" ")[1].decode()
            length = 0
            while (line := stream.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            stream.read(length)
        self.paths.append(path)
        first = "/" + path.split("/")[1]
        answer = ANSWERS.get(first, message(200, b'{"TableNames": []}'))
        if answer is not None:
            connection.sendall(answer)
