"""A Lambda on loopback: its APIs over HTTP, driving the real awslambdaric, and extensions, in processes of their own.

- ledger: what was seen from outside, in the order in which the function did it
- server: HTTP on loopback; requests in, exchanges out
- invocation: an event to hand out and the answers to give for it
- runtime_api: /2018-06-01/runtime, with next, response, error, init/error and restore
- extensions_api: /2020-01-01/extension, with register, event/next, init/error and exit/error
- telemetry_api: /2022-07-01/telemetry, and the delivery of events
- lifecycle: when init and invocations begin and end, and the events that tell it
- function: what a function is; code, layer, handler, memory, variables
- sandbox: where it runs; /opt, /var/task, /var/runtime, /var/lang and /tmp mounted as Lambda mounts them
- output: what it printed, and the EMF documents in it
- datagrams: what it sent to the X-Ray daemon's address
- local: the above put together
"""

from coldspan_console.platform.function import Function
from coldspan_console.platform.invocation import Answer, Invocation
from coldspan_console.platform.local import LocalLambda

__all__ = ["Answer", "Function", "Invocation", "LocalLambda"]
