"""The socket for datagrams, where the function closes descriptors that it has not opened."""

import os
import socket

from coldspan.drain.daemon import Daemon


def test_a_connection_of_the_customers_with_the_sockets_number_gets_nothing_of_ours_promise_2():
    """To a connected stream the system sends a datagram as if it were the customer's own bytes."""
    nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    nobody.bind(("127.0.0.1", 0))
    daemon = Daemon(nobody.getsockname())
    with nobody, socket.create_server(("127.0.0.1", 0)) as server:
        assert daemon.send(b"first") == ""
        number = daemon.socket.fileno()
        os.close(number)  # as a second close of a file of theirs does, or os.closerange
        with socket.create_connection(server.getsockname()) as theirs, server.accept()[0] as peer:
            if theirs.fileno() != number:
                os.dup2(theirs.fileno(), number)
            assert daemon.send(b"second") == ""
            daemon.close()
            os.fstat(number)
            theirs.sendall(b"theirs")
            assert peer.recv(100) == b"theirs"
            if theirs.fileno() != number:
                os.close(number)
        assert [nobody.recv(100) for _ in range(2)] == [b"first", b"second"]


def test_a_socket_that_was_closed_is_opened_again():
    """The datagram would be lost, and every later one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        daemon = Daemon(nobody.getsockname())
        for text in (b"first", b"second"):
            assert daemon.send(text) == ""
            os.close(daemon.socket.fileno())
        assert [nobody.recv(100) for _ in range(2)] == [b"first", b"second"]
        daemon.close()
