"""Writes down who imports what first: a finder that finds nothing, and looks at the frames of who asks.

It runs in one cold start that is not timed, from a layer of its own. A line of the file it writes is a JSON list: the
module, the file and the line of the import, whether that is at the top of a module, and the file of the module. When
the function's module fails, a line is an object with its `traceback`, which the runtime leaves out of an ImportError.
"""
# ruff: noqa: INP001, PTH, PLC0415 - a layer's own module, as lean as the recorder

import importlib
import os
import sys
from json import dumps

HIDDEN = ("<frozen ", "importlib/__init__.py", "coldspan/", "coldspan_blame_probe.py")


class Asked:
    """On sys.meta_path: is asked for every module that is not loaded yet."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.seen: "set[str]" = set()

    def find_spec(self, name: str, path: "object" = None, target: "object" = None) -> None:
        """Write down the first import of a module; leave it to the others to find."""
        if name in self.seen:
            return
        self.seen.add(name)
        frame = sys._getframe(1)
        while frame is not None and any(part in frame.f_code.co_filename for part in HIDDEN):
            frame = frame.f_back
        origin = None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    places = spec.submodule_search_locations
                    origin = spec.origin if spec.has_location else None
                    origin = origin or (str(next(iter(places), "")) if places else spec.origin)
                    break
        file, line, top = ("", 0, False)
        if frame is not None:
            file, line, top = frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name == "<module>"
        text = dumps([name, file, line, top, origin]) + "\n"
        os.write(self.descriptor, text.encode("utf-8", "replace"))


def told(descriptor: int, original: "object") -> "object":
    """importlib.import_module, by which the runtime imports the function; a failure is written down and goes on."""

    def import_module(name: str, package: "object" = None) -> "object":
        try:
            return original(name, package)
        except BaseException as error:
            from traceback import format_exception

            lines = "".join(format_exception(error)).splitlines()
            os.write(descriptor, (dumps({"traceback": lines}) + "\n").encode("utf-8", "replace"))
            raise

    return import_module


def start() -> None:
    """Begin, where a file is named; a fault ends nothing but the looking."""
    named = os.environ.get("COLDSPAN_BLAME_FILE")
    if named:
        try:
            descriptor = os.open(named, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            return
        sys.meta_path.insert(0, Asked(descriptor))
        importlib.import_module = told(descriptor, importlib.import_module)
