"""A handler that tells what it was given."""

import os


def handler(event, context):
    """Give the event, and some of the variables."""
    return {"event": event, "stage": os.environ.get("STAGE")}
