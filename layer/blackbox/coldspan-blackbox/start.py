"""Puts the layer's own folder on the search path, and starts the extension or, with --export, its exporters."""

import posix
import sys

home = __file__.rpartition("/")[0] or "."
sys.path.insert(0, home)
try:
    posix.stat(home + "/coldspan")  # made by the build
except OSError:
    sys.path.insert(1, home + "/../../recorder/python")  # in the source tree

if sys.argv[1:2] == ["--export"]:
    import os

    sys.path.append(home + "/vendor")
    from coldspan_blackbox.exporting.child import run

    os._exit(run(int(sys.argv[2]), os.environ))

from coldspan_blackbox.extension import main  # noqa: E402  # found by what stands above

main(sys.argv[1:])
