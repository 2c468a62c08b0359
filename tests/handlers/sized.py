"""Returns as much as it is asked for."""


def handler(event, context):
    """A text of `bytes` characters."""
    return "x" * event["bytes"]
