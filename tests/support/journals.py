"""A journal in a file of the test's, written by the real scope, and read back."""

from pathlib import Path

from coldspan.core.journal import read
from coldspan.core.record import Invocation
from coldspan.hot.journal import Journal
from support.runtime_loop import ARN, TRACE

BOOT_ID = "0c4e1f6a-7d7d-4a51-9c8d-2f0c6f1f9b11"
SIZE = 65_536


class Recording:
    """A Scope with a journal: `begin`, `call` and `end` do what the seam and the hooks do; `read` reads the file."""

    def __init__(self, scope, folder, size=SIZE, function="orders", boot_id=BOOT_ID, name="17-0000cafe"):
        self.scope = scope
        self.path = Path(folder) / f"{name}.journal"
        head = (boot_id, "17", function, "512", "123456789")
        self.journal = scope.journal = Journal(str(self.path), size, head, scope.buffer.shielded)

    def invocation(self, request_id="r1", **changes):
        """An invocation that has come, and is not in the journal yet."""
        made = Invocation("invocation", request_id, self.scope.new_id(), self.scope.clock(), self.scope.wall())
        made.function_arn, made.trace_text = ARN, TRACE
        made.deadline_ms = self.scope.wall() // 1_000_000 + 30_000
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    def begin(self, request_id="r1", **changes):
        """An invocation begins and is the running one."""
        invocation = self.invocation(request_id, **changes)
        self.scope.current.set(invocation)
        self.journal.begin(invocation)
        return invocation

    def call(self, tool="pricing", operation="quote", kind="user", **changes):
        """A call begins and ends; `changes` are what its hook has written by then."""
        call = self.scope.begin(kind, tool, operation)
        for name, value in changes.items():
            setattr(call, name, value)
        self.scope.end(call)
        return call

    def end(self, invocation, outcome="ok", **changes):
        """The invocation ends; its record waits."""
        invocation.outcome, invocation.end_ns = outcome, self.scope.clock()
        for name, value in changes.items():
            setattr(invocation, name, value)
        invocation.closed = True
        self.journal.end(invocation)
        self.scope.current.set(None)

    @property
    def data(self):
        """The file as it is."""
        return self.path.read_bytes()

    def read(self):
        """The Dead that the next process would find."""
        return read(self.data)

    def close(self):
        """Let go of the journal; the file stays."""
        self.scope.current.set(None)
        self.scope.journal = None
        self.journal.drop()


def facts(call):
    """What a journal keeps of a call, to compare two by."""
    told = {
        name: getattr(call, name)
        for name in (
            "kind", "tool", "operation", "span_id", "end_ns", "http_status", "retries", "throttles", "items",
            "items_failed", "cause", "error_type",
        )
    }  # fmt: skip
    if not call.end_ns:  # of an open call only its beginning is kept
        told = {name: told[name] for name in ("kind", "tool", "operation", "span_id", "end_ns")}
    return {**told, "parent": call.parent.span_id, "owner": call.owner.request_id}
