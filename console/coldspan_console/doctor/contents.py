"""The files of a function's code or of a layer: a folder or a .zip, looked at in the same way."""

import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILES = 50_000  # looked at; what has more is not unzipped by Lambda either
NOT_CODE = {"__pycache__", "node_modules"}


class Contents:
    """Names of files, relative and with /, and what is in them. A .zip stays open until close()."""

    def __init__(
        self, names: "frozenset[str]", read: "Callable[[str, int], bytes]", close: "Callable[[], None]" = lambda: None
    ) -> None:
        self.names = names
        self.close = close
        self._read = read

    def head(self, name: str, count: int = -1) -> bytes:
        """The first so many bytes of a file, by default all; b"" where it cannot be read."""
        try:
            return self._read(name, count)
        except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error):
            return b""


def of(path: Path) -> Contents:
    """What a folder or a .zip has. Errors: ConsoleError for a file that is no zip."""
    if path.is_dir():
        return Contents(frozenset(_walked(path)), lambda name, count: _head(path / name, count))
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ConsoleError(f"cannot be read: {error}", where=str(path)) from None

    def unzipped(name: str, count: int) -> bytes:
        with archive.open(name) as opened:
            return opened.read(count)

    names = frozenset(entry.filename for entry in archive.infolist() if not entry.is_dir())
    return Contents(names, unzipped, archive.close)


def _head(path: Path, count: int) -> bytes:
    with path.open("rb") as opened:
        return opened.read(count)


def _walked(root: Path) -> "Iterator[str]":
    """Files below a folder, without virtual environments and what is hidden: nobody deploys them on purpose."""
    seen = 0
    for place, folders, files in os.walk(root):
        here = Path(place)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in NOT_CODE and not (here / name / "pyvenv.cfg").exists()
        ]
        for name in files:
            seen += 1
            if seen > FILES:
                return
            yield (here / name).relative_to(root).as_posix()
