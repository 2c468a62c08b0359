"""Tells its environment."""
# ruff: noqa: PTH109, PTH115, PTH208 - what customers write

import os
import sys


def files():
    """What each descriptor is: a pipe, a socket, a file's path."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}").partition(":[")[0])
        except OSError:  # the descriptor of the listing itself
            continue
    return sorted(found)


def handler(event, context):
    """Variables, search path, arguments, main module and folder."""
    main = sys.modules["__main__"]
    return {
        **os.environ,
        "sys.path": sys.path,
        "sys.argv": sys.argv,
        "sys.orig_argv": sys.orig_argv[1:],
        "sys.flags": list(sys.flags),
        "main": [main.__file__, main.__name__, main.__doc__, sorted(vars(main))],
        "cwd": os.getcwd(),
        "files": files(),
    }
