"""Looks around in its process."""

import sys
import threading
import types


def handler(event, context):
    """Threads, finders, and everything of the runtime and the libraries at hand that is not as it was written."""
    changed = []
    for module in [name for name in list(sys.modules) if name.split(".")[0] in {"awslambdaric", "threading", "http"}]:
        for name, value in list(vars(sys.modules[module]).items()):
            changed += _foreign(f"{module}.{name}", value)
            if isinstance(value, type):
                for key, member in list(vars(value).items()):
                    changed += _foreign(f"{module}.{name}.{key}", member)
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "finders": [getattr(finder, "__module__", "") for finder in map(_kind, sys.meta_path)],
        "hooks": len(sys.path_hooks),
        "changed": sorted(set(changed)),
        "stdout": type(sys.stdout).__module__,
        "excepthook": sys.excepthook is sys.__excepthook__,
        "trace": [sys.gettrace() is None, sys.getprofile() is None],
        "recursion": sys.getrecursionlimit(),
        "modules": sorted(name for name in sys.modules if name.split(".")[0] == "coldspan"),
    }


def _kind(finder):
    return finder if isinstance(finder, type) else type(finder)


def _foreign(path, value):
    if isinstance(value, types.FunctionType) and "coldspan" in value.__code__.co_filename:
        return [path]
    return []
