"""Sends datagrams: to the X-Ray daemon, and, as drain/blackbox.py, to the black box."""

from os import getpid

from coldspan.core.buffer import raised_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket


def parse_address(text: str) -> "tuple[str, int] | None":
    """(host, port) of AWS_XRAY_DAEMON_ADDRESS: `ip:port` or `tcp:ip:port udp:ip:port`. None when there is none."""
    for part in text.split():
        if part.startswith("tcp:"):
            continue
        host, colon, port = part.removeprefix("udp:").rpartition(":")
        if colon and host and port.isdigit() and int(port) < 65_536:
            return host.strip("[]"), int(port)
    return None


class Daemon:
    """An unconnected, non-blocking socket, opened when first used and again in a new process or after a restore.

    `address` is (host, port), or a name of a Unix socket; `name` begins the reasons of what is lost.
    """

    __slots__ = ("address", "name", "pid", "socket")

    def __init__(self, address: "tuple[str, int] | str", name: str = "xray") -> None:
        self.address = address
        self.name = name
        self.socket: "socket | None" = None
        self.pid = 0

    def send(self, datagram: bytes) -> str:
        """Send one datagram. Gives "" or the reason why it was lost."""
        try:
            socket = self.socket
            if socket is None or self.pid != getpid():
                socket = self._open()
            socket.sendto(datagram, self.address)
        except BlockingIOError:
            return self.name + "_socket_full"
        except OSError as error:
            if raised_by_signal(error):
                raise
            return self.name + "_send_failed"
        return ""

    def _open(self) -> "socket":
        import _socket

        self.close()
        family = _socket.AF_UNIX
        if type(self.address) is tuple:
            family = _socket.AF_INET6 if ":" in self.address[0] else _socket.AF_INET
        opened = self.socket = _socket.socket(family, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        opened.setblocking(False)
        self.pid = getpid()
        return opened

    def close(self) -> None:
        """Close the socket; the next send opens another."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    __del__ = close  # else the interpreter complains of it at its end, when asked to by -X dev
