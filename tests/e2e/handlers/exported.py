"""Calls of as many tools as the event asks for, and then, if asked to, the end that kills.py has for it."""

import kills

import coldspan


def handler(event, context):
    """Answer with what was asked for."""
    for number in range(event.get("tools", 1)):
        with coldspan.call(f"tool-{number}", "get"):
            pass
    if "do" in event:
        return kills.handler(event, context)
    return {"tools": event.get("tools", 1), "number": event.get("number")}
