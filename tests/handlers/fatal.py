"""Every way in which a handler may end the runtime's process, or have it ended."""
# ruff: noqa: PLW0108 - what customers write

import asyncio
import os
import sys


class Mute(Exception):
    def __str__(self):
        raise ValueError("no text for you")


class Own(BaseException):
    pass


def interrupt():
    raise KeyboardInterrupt


def cancelled():
    raise asyncio.CancelledError("stop")


def generator_exit():
    raise GeneratorExit


def own():
    raise Own("not an Exception")


def base_group():
    raise BaseExceptionGroup("several", [KeyboardInterrupt(), SystemExit(2)])


def mute():
    raise Mute


def exit_while_handling():
    try:
        {}["missing"]
    except KeyError:
        sys.exit(5)


CASES = {
    "exit": lambda: sys.exit(),
    "exit 0": lambda: sys.exit(0),
    "exit 3": lambda: sys.exit(3),
    "exit text": lambda: sys.exit("a reason"),
    "exit while handling": exit_while_handling,
    "os exit": lambda: os._exit(7),
    "abort": os.abort,
    "interrupt": interrupt,
    "cancelled": cancelled,
    "generator exit": generator_exit,
    "own": own,
    "base group": base_group,
    "mute": mute,
    "surrogate": lambda: "\ud800",
    "surrogate error": lambda: (_ for _ in ()).throw(ValueError("\ud800")),
}


def handler(event, context):
    """End as the event says."""
    return CASES[event["case"]]()
