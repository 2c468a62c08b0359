"""Ends, or does not end, as its event says."""

import os
import threading


def handler(event, context):
    """Hang for ever, end the process, or answer."""
    if event.get("hang"):
        threading.Event().wait()
    if "exit" in event:
        os._exit(event["exit"])
    return event
