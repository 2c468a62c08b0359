"""A function whose package lacks a library."""

import no_such_library


def handler(event, context):
    """Never reached."""
    return no_such_library
