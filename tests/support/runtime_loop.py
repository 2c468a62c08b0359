"""The runtime's own handling of an event, in the test's process: the real awslambdaric over a scripted client."""

import json
from types import SimpleNamespace

from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_client import (
    BaseLambdaRuntimeClient,
    InvocationRequest,
    LambdaMarshaller,
    LambdaRuntimeClient,
)

from coldspan.boot.seam import Seam
from coldspan.drain.flush import Drain
from coldspan.hot.patch import restore

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:orders"


def request(request_id, *, event=b"{}", deadline_ms=0, trace=TRACE):
    """An event as the runtime client gives it."""
    return InvocationRequest(
        invoke_id=request_id,
        x_amzn_trace_id=trace,
        invoked_function_arn=ARN,
        deadline_time_in_ms=str(deadline_ms),
        client_context=None,
        cognito_identity=None,
        tenant_id=None,
        content_type="application/json",
        event_body=event,
    )


def wait_next_invocation(self):
    """Stands in for the client's method of this name."""
    return self.answers.pop(0)


def post_invocation_result(self, invoke_id, result_data, content_type="application/json", invocation_id=None):
    """Stands in for the client's method of this name."""
    self.posted.append(("response", invoke_id, result_data))


def post_invocation_error(self, invoke_id, error_response_data, xray_fault, invocation_id=None):
    """Stands in for the client's method of this name."""
    self.posted.append(("error", invoke_id, error_response_data))


class SetAttribute:
    """What Runtime needs of pytest's monkeypatch, for fresh interpreters: nothing is put back."""

    setattr = staticmethod(setattr)


class Runtime:
    """One worker of the runtime. `answers` is what `wait_next_invocation` gives, `posted` is what was posted.

    `returned` and `raised` hold what left the handler (the wrapper, when the recorder is on), as objects.
    """

    def __init__(self, patch) -> None:
        self.returned = []
        self.raised = []
        for method in (wait_next_invocation, post_invocation_result, post_invocation_error):
            patch.setattr(BaseLambdaRuntimeClient, method.__name__, method)
        self.client = LambdaRuntimeClient.__new__(LambdaRuntimeClient)  # its __init__ opens connections
        self.client.marshaller = LambdaMarshaller()
        self.answers = self.client.answers = []
        self.posted = self.client.posted = []
        self.quiet = SimpleNamespace(log_error=lambda lines: None)

    def invoke(self, handler, asked) -> None:
        """One turn of the runtime's loop with this handler."""

        def spy(event, context):
            try:
                result = handler(event, context)
            except BaseException as error:
                self.raised.append(error)
                raise
            self.returned.append(result)
            return result

        self.answers.append(asked)
        event = self.client.wait_next_invocation()
        bootstrap.handle_event_request(
            self.client,
            spy,
            event.invoke_id,
            event.event_body,
            event.content_type,
            event.client_context,
            event.cognito_identity,
            event.invoked_function_arn,
            event.deadline_time_in_ms,
            event.tenant_id,
            self.quiet,
        )


class Recorder:
    """The recorder in this process, on a Scope's clocks: its seam on the runtime client, its drain, and any hooks.

    What is sent is kept in `lines` (parsed) and `datagrams`. `stop` takes every patch away.
    """

    def __init__(self, scope, *, write=None, daemon=None) -> None:
        self.scope = scope
        self.lines = []
        self.datagrams = []
        self.patches = []
        finder = SimpleNamespace(tree=[], stop_timing=lambda: None)
        self.seam = Seam(scope, finder, self._first_drain)
        self.drain = Drain(self.seam, write=write or self._write, daemon=daemon or SimpleNamespace(send=self._send))
        self.seam.install(bootstrap, self.patches)

    def _first_drain(self, *args):
        self.seam.drain = self.scope.buffer.shielded(self.drain.run)
        self.seam.drain(*args)

    def _write(self, line):
        self.lines.append(json.loads(line))
        return True

    def _send(self, datagram):
        self.datagrams.append(datagram)
        return ""

    def hook(self, module, install) -> None:
        """Install a library's hook, as the import hook does."""
        install(module, self.scope, self.patches)

    def wrap(self, handler):
        """The handler in our wrapper."""
        return self.seam.wrap_handler(handler)

    def stop(self) -> None:
        """Take everything away again."""
        restore(self.patches)
        self.scope.current.set(None)

    @property
    def records(self):
        """The invocation lines."""
        return [line for line in self.lines if "Duration" in line and "tool" not in line]

    @property
    def told(self):
        """All errors and drops that the records tell, summed up, as (errors, drops)."""
        sums = {}, {}
        for record in self.records:
            for into, part in zip(sums, ("errors", "dropped"), strict=True):
                for name, count in record.get(part, {}).items():
                    into[name] = into.get(name, 0) + count
        return sums
