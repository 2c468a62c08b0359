"""A handler that imports from its layers."""

import made
import words


def handler(event, context):
    """Give what the layers say."""
    return [words.WORD, made.WORD]
