"""A handler in a nested package."""

from ways import seen


def handler(event, context):
    """Tell how it was reached."""
    return seen(__name__)
