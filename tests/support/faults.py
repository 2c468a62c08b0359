"""The customer's function of the fault tests, bare and under the recorder, with one step of ours made to fail."""

import functools
import http.client
import signal
import traceback
from pathlib import Path

import boto3
import botocore.client
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from coldspan.hot import botocore as botocore_hook
from coldspan.hot import http_client as http_hook
from coldspan.hot import scope as scope_module
from support.runtime_loop import Recorder, Runtime, request


class TimeLimit(TimeoutError):
    """What a time-limit decorator raises: an OSError, so that more than one kind of `except` could swallow it."""


class Raw:
    """The body of an AWS answer."""

    def __init__(self, body):
        self.body = body

    def stream(self, amt=1024, decode_content=None):
        yield self.body


class Aws:
    """A DynamoDB client whose answers come from `status` and `body` instead of the network."""

    def __init__(self):
        self.client = boto3.client(
            "dynamodb",
            region_name="eu-west-1",
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            config=Config(retries={"max_attempts": 2, "mode": "standard"}),
        )
        self.client.meta.events.register("before-send.dynamodb", self.answer)
        self.answers = []

    def answer(self, request, **_):
        status, body = self.answers.pop(0) if self.answers else (200, b'{"TableNames": []}')
        return AWSResponse(request.url, status, {"content-type": "application/x-amz-json-1.0"}, Raw(body))


class Answer(dict):
    """What the handler returns: an object that can be told apart, and that encodes as JSON."""


class Function:
    """The customer's function: `work` is what it does. It counts its runs and keeps what it gave and saw."""

    def __init__(self, work):
        self.work = work
        self.runs = 0
        self.given = []
        self.seen = []

    def handler(self, event, context):
        """Do the work; note what it gives and what comes out of it."""
        self.runs += 1
        try:
            answer = Answer(done=self.work())
        except BaseException as error:
            self.seen.append(error)
            raise
        self.given.append(answer)
        return answer


def texts(errors):
    """The tracebacks of exceptions as text, without the test's own frames around the handler."""
    return ["".join(traceback.format_exception(error)) for error in errors]


class Fault:
    """A step of ours made to fail while `armed`; `hits` counts how often it did."""

    def __init__(self, kind, clock, slow_ms=20):
        self.kind = kind
        self.clock = clock
        self.slow_ms = slow_ms
        self.armed = True
        self.hits = 0

    def strike(self):
        """Fail once, as the kind says."""
        self.hits += 1
        if self.kind == "raises":
            raise LookupError("a fault of the recorder's own")
        if self.kind == "memory":
            raise MemoryError
        if self.kind == "recursion":
            self.recurse()
        if self.kind == "hangs":
            self.clock.advance(ms=self.slow_ms)
        if self.kind == "signal":
            signal.raise_signal(signal.SIGALRM)

    def recurse(self):
        """Run out of stack."""
        self.recurse()

    def around(self, original):
        """The step, which fails before it does anything; or, given junk for its result, after."""

        @functools.wraps(original)
        def step(*args, **kwargs):
            if not self.armed:
                return original(*args, **kwargs)
            if self.kind == "junk":
                self.hits += 1
                original(*args, **kwargs)
                return object()
            self.strike()
            return original(*args, **kwargs)

        return step


class Trial:
    """One function, run bare and then under a recorder with a fault in it."""

    def __init__(self, scope, clock, patch):
        self.scope = scope
        self.clock = clock
        self.patch = patch
        self.runtime = Runtime(patch)
        self.recorder = None
        self.number = 0

    def keep_journal(self):
        """Let the recorder keep a journal, in the folder that the settings name."""
        self.scope.settings.journal_bytes = 65_536
        Path(self.scope.settings.journal_dir).mkdir(mode=0o700)

    def record(self, **fields):
        """Switch the recorder on, with all hooks."""
        scope_module.active = self.scope
        self.recorder = Recorder(self.scope, **fields)
        self.recorder.hook(http.client, http_hook.install)
        self.recorder.hook(botocore.client, botocore_hook.install)
        return self.recorder

    def break_step(self, owner, name, kind, **fields):
        """Make a step fail; to be called before `record`, which binds the steps."""
        fault = Fault(kind, self.clock, **fields)
        self.patch.setattr(owner, name, fault.around(getattr(owner, name)))
        return fault

    def invoke(self, handler, **fields):
        """One invocation of a handler, wrapped when the recorder is on."""
        self.number += 1
        deadline = self.clock.wall_ns // 10**6 + fields.pop("left_ms", 30_000)
        if self.recorder is not None:
            handler = self.recorder.wrap(handler)
        self.runtime.invoke(handler, request(f"r{self.number}", deadline_ms=deadline, **fields))

    def stop(self):
        """Take the recorder away."""
        if self.recorder is not None:
            self.recorder.stop()
        journal, self.scope.journal = self.scope.journal, None
        if journal is not None:
            journal.remove()
        scope_module.active = None
