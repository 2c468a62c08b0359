"""Sends datagrams: to the X-Ray daemon, and, as drain/blackbox.py, to the black box."""

from os import fstat, getpid

from coldspan.core.buffer import raised_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from os import stat_result


def parse_address(text: str) -> "tuple[str, int] | None":
    """(host, port) of AWS_XRAY_DAEMON_ADDRESS: `ip:port` or `tcp:ip:port udp:ip:port`. None when there is none."""
    for part in text.split():
        if part.startswith("tcp:"):
            continue
        host, colon, port = part.removeprefix("udp:").rpartition(":")
        if colon and host and port.isdigit() and int(port) < 65_536:
            return host.strip("[]"), int(port)
    return None


def _identity(socket: "socket", status_of: "Callable[[int], stat_result]" = fstat) -> "tuple[int, int]":
    """Device and inode. By an argument: at the interpreter's end, when a Daemon may go, a module has lost its names."""
    status = status_of(socket.fileno())
    return status.st_dev, status.st_ino


class Daemon:
    """An unconnected, non-blocking socket, opened when first used and again in a new process or after a restore.

    `address` is (host, port), or a name of a Unix socket; `name` begins the reasons of what is lost.
    """

    __slots__ = ("address", "file", "name", "pid", "socket")

    def __init__(self, address: "tuple[str, int] | str", name: str = "xray") -> None:
        self.address = address
        self.name = name
        self.socket: "socket | None" = None
        self.pid = 0
        self.file = (0, 0)  # device and inode of the socket

    def send(self, datagram: bytes) -> str:
        """Send one datagram. Gives "" or the reason why it was lost."""
        try:
            socket = self.socket
            if socket is None or self.pid != getpid() or not self._is_ours(socket):
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
        self.file = _identity(opened)
        return opened

    def _is_ours(self, socket: "socket", identity: "Callable[[socket], tuple[int, int]]" = _identity) -> bool:
        """Whether the descriptor is still ours.

        A function may close what it has not opened: to a connection of its own with that number, the system would send
        the datagram as part of its stream.
        """
        try:
            return identity(socket) == self.file
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket; the next send opens another."""
        socket, self.socket = self.socket, None
        if socket is not None:
            if self._is_ours(socket):
                socket.close()
            else:
                socket.detach()

    __del__ = close  # else the interpreter complains of it at its end, when asked to by -X dev
