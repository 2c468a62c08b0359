"""Whether policies of a role allow what recording needs. Pure.

What no policy of the role shows is not judged: conditions are taken to be met, and organizations' policies unknown.
"""

import re
from typing import TYPE_CHECKING, Any

from coldspan_console.doctor.findings import ERROR, NOTE, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACES = ("xray:PutTraceSegments", "xray:PutTelemetryRecords")
LOGS = ("logs:CreateLogStream", "logs:PutLogEvents")
_TRACES_DOCUMENT = {"Statement": [{"Effect": "Allow", "Action": list(TRACES), "Resource": "*"}]}
_LOGS_DOCUMENT = {"Statement": [{"Effect": "Allow", "Action": [*LOGS, "logs:CreateLogGroup"], "Resource": "*"}]}
# Policies of AWS by name, as far as they matter here. Source: AWS managed policy reference guide.
MANAGED: "dict[str, tuple[dict[str, Any], ...]]" = {
    "AWSXRayDaemonWriteAccess": (_TRACES_DOCUMENT,),
    "AWSXrayWriteOnlyAccess": (_TRACES_DOCUMENT,),
    "AWSXrayFullAccess": (_TRACES_DOCUMENT,),
    "CloudWatchLambdaApplicationSignalsExecutionRolePolicy": (_TRACES_DOCUMENT,),
    "AdministratorAccess": (_TRACES_DOCUMENT, _LOGS_DOCUMENT),
    "PowerUserAccess": (_TRACES_DOCUMENT, _LOGS_DOCUMENT),
    "CloudWatchLogsFullAccess": (_LOGS_DOCUMENT,),
    "CloudWatchFullAccess": (_LOGS_DOCUMENT,),
    "AWSLambdaBasicExecutionRole": (_LOGS_DOCUMENT,),
    "AWSLambdaVPCAccessExecutionRole": (_LOGS_DOCUMENT,),
    "AWSLambdaSQSQueueExecutionRole": (_LOGS_DOCUMENT,),
    "AWSLambdaKinesisExecutionRole": (_LOGS_DOCUMENT,),
    "AWSLambdaDynamoDBExecutionRole": (_LOGS_DOCUMENT,),
    "AWSLambdaMSKExecutionRole": (_LOGS_DOCUMENT,),
    "AWSLambdaBasicDurableExecutionRolePolicy": (_LOGS_DOCUMENT,),
}


def examine(
    where: str, role: str, documents: "list[dict[str, Any]]", boundary: "dict[str, Any] | None", group: str,
    tracing: str,
) -> "Iterator[Finding]":  # fmt: skip
    """What the role lacks.

    Takes: the documents of all its policies; the log group's ARN, or "" where region and account are not known;
    `tracing`: Active, or else "".
    """
    # of a log group's ARN the three forms are in use: its own, with all that is in it, and that of a stream
    forms = (group, f"{group}:*", f"{group}:log-stream:1") if group else ("",)
    missing = [action for action in TRACES if tracing and not _within(documents, boundary, action, ("*",))]
    if missing:
        yield Finding(
            "CS117", ERROR, f"X-Ray tracing is {tracing}, and role {role} may not {', '.join(missing)}: no trace leaves",
            where, "attach AWSXRayDaemonWriteAccess to the role",
        )  # fmt: skip
    missing = [action for action in LOGS if not _within(documents, boundary, action, forms)]
    if missing:
        yield Finding(
            "CS119", ERROR, f"role {role} may not {', '.join(missing)}: nothing that it prints reaches its log group",
            where, "attach AWSLambdaBasicExecutionRole to the role",
        )  # fmt: skip


def unknown(where: str, role: str, why: str, tracing: str) -> Finding:
    """The note that a role's policies are not known here."""
    needed = ", ".join([*LOGS, *(TRACES if tracing else ())])
    todo = f"see that it may {needed}; coldspan doctor NAME --account looks at the one that is deployed"
    return Finding("CS118", NOTE, f"role {role} is not examined: {why}", where, todo)


def _within(
    documents: "list[dict[str, Any]]", boundary: "dict[str, Any] | None", action: str, forms: "tuple[str, ...]"
) -> bool:
    """Whether role and boundary allow an action on a resource, whose ARN has those forms, and neither denies it.

    A form that is "" is of a resource that is not known: an allowance of any may be of this one, and only a refusal of
    all is.
    """
    sides = [documents] if boundary is None else [documents, [boundary]]
    return all(_allowed(side, action, forms) and not _denied(side, action, forms) for side in sides)


def _allowed(documents: "list[dict[str, Any]]", action: str, forms: "tuple[str, ...]") -> bool:
    return any(
        _meant(statement, action, form, unknown=True)
        for statement in _statements(documents, "Allow") for form in forms
    )  # fmt: skip


def _denied(documents: "list[dict[str, Any]]", action: str, forms: "tuple[str, ...]") -> bool:
    """By a statement without a condition. Of one that spares what it names, one form that is named is enough."""
    for statement in _statements(documents, "Deny"):
        is_meant = [_meant(statement, action, form, unknown=False) for form in forms]
        if not statement.get("Condition") and (all(is_meant) if "NotResource" in statement else any(is_meant)):
            return True
    return False


def _statements(documents: "list[dict[str, Any]]", effect: str) -> "Iterator[dict[str, Any]]":
    for document in documents:
        for statement in _listed(document.get("Statement")):
            if statement.get("Effect") == effect:
                yield statement


def _meant(statement: "dict[str, Any]", action: str, resource: str, *, unknown: bool) -> bool:
    """Whether it is about an action on a resource. `unknown`: what a pattern counts as that is no text."""
    if "NotAction" in statement:
        meant = not _any(statement["NotAction"], action, unknown=not unknown)
    else:
        meant = _any(statement.get("Action"), action, unknown=unknown)
    if not resource:
        return meant and (unknown or statement.get("Resource") in ("*", ["*"]))
    if "NotResource" in statement:
        return meant and not _any(statement["NotResource"], resource, unknown=not unknown)
    return meant and _any(statement.get("Resource", "*"), resource, unknown=unknown)


def _any(patterns: Any, text: str, *, unknown: bool) -> bool:
    """IAM's own wildcards: * and ?, and nothing else. An intrinsic function that is not resolved is no text."""
    flags = re.DOTALL if text.startswith("arn:") else re.DOTALL | re.IGNORECASE
    for pattern in _listed(patterns):
        if not isinstance(pattern, str):
            if unknown:
                return True
            continue
        parts = re.split(r"([*?])", pattern)
        shape = "".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts)
        if re.fullmatch(shape, text, flags):
            return True
    return False


def _listed(value: Any) -> "list[Any]":
    return value if isinstance(value, list) else ([] if value is None else [value])
