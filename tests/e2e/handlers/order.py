"""Who stands outside whom: WAY says where @coldspan.instrument is, or that it is not there.

"first"    coldspan starts before the neighbour's patches
"outside"  @coldspan.instrument around the neighbour's decorators
"inside"   @coldspan.instrument directly at the handler
""         no line of coldspan: the layer alone, or nothing
"""

import os
import sys

WAY = os.environ.get("WAY", "").split()
if os.environ.get("COLDSPAN_BESIDE"):  # as `pip install coldspan -t .` leaves it, for the runs without a layer
    sys.path.append(os.path.join(os.environ["LAMBDA_TASK_ROOT"], os.environ["COLDSPAN_BESIDE"]))  # noqa: PTH118

if "first" in WAY:
    import coldspan

    coldspan.instrument(print)


def instrumented(handler, theirs):
    """The handler with the neighbour's decoration and ours, in the order that was asked for."""
    if "inside" in WAY:
        from coldspan import instrument

        handler = instrument(handler)
    handler = theirs(handler)
    if "outside" in WAY:
        from coldspan import instrument

        handler = instrument(handler)
    return handler
