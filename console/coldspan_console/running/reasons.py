"""Why no record came, and why calls to AWS failed, as far as that can be known here."""

import os
import re
from typing import TYPE_CHECKING, Any

from coldspan.boot.settings import Settings

if TYPE_CHECKING:
    from coldspan_console.running.prepared import Prepared
    from coldspan_console.running.runs import Ran

# What botocore raises, or services answer, where there is no account or no network.
NO_ACCOUNT = {
    "AuthFailure", "ConnectTimeoutError", "EndpointConnectionError", "ExpiredToken", "ExpiredTokenException",
    "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException", "NoCredentialsError",
    "NotAuthorizedException", "PartialCredentialsError", "ProxyConnectionError", "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}  # fmt: skip
MISSING = re.compile(rb"No module named '([\w.]+)'")


def of_no_record(prepared: "Prepared", ran: "Ran") -> str:
    """Why an invocation left no record; "" when nothing here says it."""
    variables = prepared.function.environment
    if not prepared.has_recorder:
        return "the recorder was left out (--no-layer)"
    settings = Settings(dict(variables))
    if not settings.enabled:
        return f"COLDSPAN_ENABLED is {variables['COLDSPAN_ENABLED']}"
    if not settings.emf:
        return f"COLDSPAN_EMF is {variables['COLDSPAN_EMF']}: no record goes to the log"
    wrapper = variables.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    if "PYTHONPATH" in variables and wrapper != "/opt/coldspan":
        return "PYTHONPATH is set, so that the layer's .pth is not read: set AWS_LAMBDA_EXEC_WRAPPER=/opt/coldspan"
    if wrapper not in {"", "/opt/coldspan"}:
        return f"AWS_LAMBDA_EXEC_WRAPPER is {wrapper}, which starts the function in its own way"
    if ran.outcome.error_type == "Runtime.ExitError":
        return "the process ended before the recorder could tell"
    return ""


def advice(prepared: "Prepared", ran: "list[Ran]") -> str:
    """What to do where the handler was `async def`, a package is missing, or AWS was not to be had; "" for all else."""
    if any(b"Object of type coroutine is not JSON serializable" in each.outcome.body for each in ran):
        return "the runtime does not await async def handlers: --env COLDSPAN_ASYNC_HANDLER=true drives them"
    for each in ran:
        if each.outcome.error_type == "Runtime.ImportModuleError" and (missing := MISSING.search(each.outcome.body)):
            return _of_missing(prepared, missing[1].decode())
    if "AWS_ENDPOINT_URL" in prepared.function.environment:
        return ""
    for each in ran:
        calls = (each.record or {}).get("calls")
        for call in calls if isinstance(calls, list) else ():
            if _wants_account(call):
                what = f"{call.get('tool')} {call.get('operation')} found no AWS account here"
                return f"{what}: --aws moto gives the function one that is made up, --aws account this shell's"
    return ""


def _of_missing(prepared: "Prepared", name: str) -> str:
    what = f"{name.partition('.')[0]} is neither in the code nor in a layer that is here"
    if prepared.declared.built:
        return f"{what}: name its package in requirements.txt, and run `sam build` again"
    file = prepared.declared.code / "requirements.txt"
    where = os.path.relpath(file) + ("" if file.is_file() else " (there is none yet)")
    return f"{what}: name its package in {where}, or take a Python that has it (--python)"


def _wants_account(call: "dict[str, Any]") -> bool:
    attributes = call.get("attributes") or {}
    if "rpc.method" not in attributes:
        return False
    return attributes.get("error.type") in NO_ACCOUNT or call.get("status") == "in_flight"
