"""How often in a row this environment has failed. /tmp outlives a reset, so the count is a file beside the journals."""

import posix

NAME = "restarts"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
LOOP = 3  # failures in a row that make a crash loop


class Restarts:
    """The count of one environment. One life of the extension fails at most once."""

    __slots__ = ("_folder", "_path", "failed_now", "in_a_row")

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = folder + "/" + NAME
        self.failed_now = False
        self.in_a_row = self._read()

    def fail(self) -> int:
        """Count a failure; how many there were in a row."""
        if not self.failed_now:
            self.failed_now = True
            self.in_a_row += 1
            self._write()
        return self.in_a_row

    def succeed(self) -> None:
        """An invocation ended well: what comes next is no loop."""
        if self.in_a_row and not self.failed_now:
            self.in_a_row = 0
            try:
                posix.unlink(self._path)
            except OSError:
                pass

    def _read(self) -> int:
        boot_id, _, count = _contents(self._path).strip().partition(b" ")
        is_ours = bool(boot_id) and boot_id == _contents(BOOT_ID).strip()
        return int(count) if is_ours and count.isdigit() and len(count) < 7 else 0

    def _write(self) -> None:
        """A whole file or none: it is written beside and renamed."""
        beside = "%s.%d" % (self._path, posix.getpid())
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC | posix.O_NOFOLLOW
        try:
            posix.mkdir(self._folder, 0o700)
        except OSError:
            pass
        try:
            descriptor = posix.open(beside, flags, 0o600)
            try:
                posix.write(descriptor, b"%b %d\n" % (_contents(BOOT_ID).strip(), self.in_a_row))
            finally:
                posix.close(descriptor)
            posix.rename(beside, self._path)
        except OSError:
            pass  # without /tmp nothing is known of earlier lives


def _contents(path: str) -> bytes:
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.read(descriptor, 128)
    except OSError:
        return b""
    finally:
        posix.close(descriptor)
