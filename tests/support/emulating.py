"""A function on the real emulator, and what it told."""

import json
import threading
import time

from coldspan_console.platform.emulator import Emulator, EmulatorMissingError, find_emulator
from coldspan_console.platform.output import documents


def emulator_missing():
    """Why there is no emulator here, or None."""
    try:
        find_emulator()
    except EmulatorMissingError as error:
        return str(error)
    return None


class Running:
    """An emulator with a function, and what it said."""

    def __init__(self, emulator):
        self.emulator = emulator
        self.told = 0

    @classmethod
    def start(cls, function, timeout_s):
        """Start one; close() it."""
        emulator = Emulator(function, timeout_s=timeout_s)
        emulator.start()
        return cls(emulator)

    def close(self):
        """End it."""
        self.emulator.close()

    def ask(self, trace=None, **event):
        """Invoke with an event. A Managed Instance refuses while its workers start: then again."""
        until = time.monotonic() + 20
        while True:
            answered = self.emulator.invoke(json.dumps(event).encode(), trace=trace)
            if answered.status != 400:
                return answered
            assert time.monotonic() < until, self.emulator.text
            threading.Event().wait(0.05)

    def invoke(self, trace=None, **event):
        """Invoke with an event; (status, body as JSON or text, records told since the last time)."""
        answered = self.ask(trace, **event)
        return answered.status, body_of(answered), self.new_records()

    def documents(self):
        """All EMF documents so far."""
        return documents([line.text for line in self.emulator.lines])

    def records(self):
        """All records of invocations so far."""
        return [found for found in self.documents() if "Duration" in found]

    def new_records(self, count=1):
        """The records that have come since the last time; waits for so many."""
        assert self.emulator.wait_for(lambda _: len(self.records()) >= self.told + count, 10), self.emulator.text
        new = self.records()[self.told :]
        self.told += len(new)
        return new

    def losses(self):
        """What records tell of errors of ours and of drops."""
        return [
            (record["request_id"], record.get("errors"), record.get("dropped"))
            for record in self.records()
            if record.get("errors") or record.get("dropped")
        ]


def body_of(answered):
    """The body as JSON, or as text where it is none."""
    try:
        return json.loads(answered.body)
    except ValueError:
        return answered.body.decode()
