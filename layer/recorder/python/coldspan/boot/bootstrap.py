"""The script the exec wrapper starts: loads coldspan, then becomes the runtime's own bootstrap.py.

Its file name is the runtime's, because awslambdaric leaves leading frames of files so called out of the traces it posts.
Everything that looks at __main__, sys.argv or sys.path afterwards sees what it would have seen without us.
"""

import os
import sys

script = os.environ.pop("_COLDSPAN_RUNTIME", "/var/runtime/bootstrap.py")
home = sys.path[0]
if not sys.flags.safe_path:
    sys.path[0] = os.path.dirname(script)
sys.argv[0] = sys.orig_argv[-1] = script
try:
    # The runtime's own copy of awslambdaric, as bootstrap.py imports it. Of the layer only `coldspan` becomes importable.
    import awslambdaric.__main__

    layer = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.insert(0, layer)
    try:
        import coldspan
    finally:
        sys.path.remove(layer)
    import coldspan.boot.start

    coldspan.boot.start.start()
except BaseException:
    pass
