"""HTTP messages in pieces, and the port that anybody may write to."""

import socket

import pytest

from coldspan_blackbox import listener as listener_module
from coldspan_blackbox.api import Api
from coldspan_blackbox.counts import Counts
from coldspan_blackbox.listener import BODY_BYTES, CONNECTIONS, Listener
from coldspan_blackbox.wire import HEAD_BYTES, Message, request

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nLambda-Extension-Identifier: abc\r\n\r\n{}"
CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4;x=y\r\n": 1\r\n1\r\n}\r\n0\r\n\r\n'
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]"


def fed(data, step, **options):
    """A message that was fed so many bytes at a time, and then the end of the connection."""
    message = Message(BODY_BYTES, **options)
    for first in range(0, len(data), step):
        message.feed(data[first : first + step])
    if not message.done:
        message.feed(b"")
    return message


@pytest.mark.parametrize("step", [1, 2, 7, 1_000])
def test_an_answer_is_the_same_however_it_arrives(step):
    """TCP cuts where it likes: an event that came in two pieces would be lost."""
    message = fed(ANSWER, step, until_closed=True)
    assert (message.done, message.status, message.body) == (True, 200, b"{}")
    assert message.headers[b"lambda-extension-identifier"] == b"abc"
    chunked = fed(CHUNKED, step, until_closed=True)
    assert (chunked.done, chunked.fault, chunked.body) == (True, "", b'{"a": 1}')


def test_a_body_in_the_smallest_chunks_costs_no_minutes():
    """Anybody in the sandbox could keep the loop from the platform's event: this took longer than the test may."""
    message = fed(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 700_000 + b"0\r\n\r\n", 65_536
    )
    assert (message.done, message.body) == (True, b"x" * 700_000)


def test_a_body_without_a_length_ends_with_the_connection_in_an_answer_and_is_none_in_a_request():
    """An answer would be cut off, or a request waited for until it is given up."""
    answer = fed(b"HTTP/1.1 200 OK\r\n\r\nwhole", 3, until_closed=True)
    assert (answer.done, answer.body) == (True, b"whole")
    message = Message(BODY_BYTES)
    message.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (message.done, message.body) == (True, b"")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "not_http"),
        (b"\r\n\r\n", "not_http"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "bad_length"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9999999999999\r\n\r\n", "bad_length"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", "too_large"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "bad_chunk"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n", "too_large"),
        (b"x" * (HEAD_BYTES + 1), "cut_off"),
        (b"x" * (HEAD_BYTES + 1) + b"\r\n\r\n", "head_too_large"),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", "cut_off"),
        (b"POST / HT", "cut_off"),
    ],
)
def test_what_is_no_message_is_named_and_never_done(data, fault):
    """Garbage would be taken for telemetry, or would be waited for, or would fill the memory."""
    message = fed(data, 4_096)
    assert (message.done, message.body) == (False, b"")
    assert message.fault in {fault, "head_too_large"}


def test_a_request_says_its_length_and_that_the_connection_ends():
    """The platform would wait for more, or keep a connection that a freeze breaks."""
    sent = request("POST", "/x", "h:1", {"A": "b"}, b"{}")
    assert sent == b"POST /x HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\nA: b\r\nContent-Length: 2\r\n\r\n{}"
    assert b"Content-Length" not in request("GET", "/x", "h:1", {})


def test_nobody_listening_is_an_error_and_leaves_no_socket():
    """An extension that cannot reach the platform tries again: each try would leak a descriptor."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        Api(f"127.0.0.1:{port}", "x").ask_next()


# --- the port ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def port():
    """A listener, its counts, and a function that takes in what waits: (bodies, closed descriptors)."""
    counts = Counts()
    listener = Listener(counts)
    listener.socket.setblocking(True)

    def connect():
        client = socket.create_connection(("127.0.0.1", listener.port), timeout=10)
        descriptor, given_up = listener.accept()
        listener.connections[descriptor].socket.setblocking(True)
        return client, descriptor, given_up

    yield listener, counts, connect
    listener.close_all()


def test_a_batch_is_taken_and_answered_and_the_connection_may_be_used_again(port):
    """The platform would deliver again and again, and drop the function's telemetry."""
    listener, counts, connect = port
    client, descriptor, _ = connect()
    with client:
        for _ in range(2):
            client.sendall(POST)
            assert listener.receive(descriptor) == (b"[]", False)
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    assert listener.receive(descriptor) == (None, True)
    assert counts.refusals == {}


def test_garbage_is_refused_and_counted_and_the_port_stays_open(port):
    """Whoever connects to the wrong port of the sandbox would end the extension, and with it the environment."""
    listener, counts, connect = port
    client, descriptor, _ = connect()
    with client:
        client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        assert listener.receive(descriptor) == (None, True)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    assert counts.refusals == {"telemetry_not_http": 1}
    client, descriptor, _ = connect()
    with client:
        client.sendall(POST)
        assert listener.receive(descriptor)[0] == b"[]"


def test_more_connections_than_there_is_room_for_cost_the_oldest(port):
    """Connections that are opened and left would use up the descriptors, and the platform could not connect."""
    listener, counts, connect = port
    clients = [connect() for _ in range(CONNECTIONS)]
    clients[0][0].sendall(POST[:10])
    listener.receive(clients[0][1])
    last = connect()
    assert last[2] == [clients[0][1]]
    assert len(listener.connections) == CONNECTIONS
    assert counts.refusals == {"telemetry_too_many_connections": 1}
    for client, *_ in (*clients, last):
        client.close()


def test_a_request_that_does_not_come_to_an_end_is_given_up_and_an_idle_connection_is_not(port):
    """A slow client would hold a place for ever; the platform keeps its connection open between batches."""
    listener, counts, connect = port
    slow, slow_descriptor, _ = connect()
    idle, idle_descriptor, _ = connect()
    with slow, idle:
        slow.sendall(POST[:10])
        listener.receive(slow_descriptor)
        begun_ns = listener.connections[slow_descriptor].heard_ns
        assert listener.slow(begun_ns + 1) == []
        assert listener.slow(begun_ns + listener_module.SLOW_NS + 1) == [slow_descriptor]
        assert list(listener.connections) == [idle_descriptor]
    assert counts.refusals == {"telemetry_slow": 1}
