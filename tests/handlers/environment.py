"""Tells its environment."""
# ruff: noqa: PTH109, PTH208 - what customers write

import os
import sys


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
        "files": sorted(os.listdir("/proc/self/fd"), key=int),
    }
