"""Which of an account's X-Ray sampling rules a function's requests meet, and at what rate. Pure.

Source: X-Ray developer guide, "Configuring sampling rules": the lowest priority that matches decides; * and ? stand for
anything. A rule that asks for a host, a method, a path or attributes is left out: an invocation has none, and what has
been decided before it, at an API, comes with the request. Lambda developer guide, "Visualize Lambda function invocations using AWS X-Ray": Active tracing samples the
first request of each second and 5 % of the others, which cannot be configured; what an upstream service has decided
goes first.
"""

import re
from typing import TYPE_CHECKING, Any

from coldspan_console.doctor.findings import NOTE, WARNING, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE_TYPE = "AWS::Lambda::Function"
DEFAULT = (1, 0.05)  # requests a second, share of the others


def examine(where: str, name: str, arn: str, rules: "list[dict[str, Any]]") -> "Iterator[Finding]":
    """The rule that a request of the function meets, when it is another than Lambda's own rate. `rules`: of the API."""
    rule = first(rules, {"ServiceName": name, "ServiceType": SERVICE_TYPE, "ResourceARN": arn})
    if rule is None:
        return
    reservoir, share = int(rule.get("ReservoirSize") or 0), float(rule.get("FixedRate") or 0)
    if (reservoir, share) == DEFAULT:
        return
    told = f"sampling rule {rule.get('RuleName')} (priority {rule.get('Priority')}) is the first that it meets"
    if not reservoir and not share:
        yield Finding(
            "CS304", WARNING, f"{told}, and it samples nothing: where it decides, no trace is kept",
            where, "give the rule a rate, or narrow it to other services",
        )  # fmt: skip
        return
    yield Finding(
        "CS303", NOTE,
        f"{told}: {reservoir} request{'' if reservoir == 1 else 's'} a second and {share:.0%} of the others,"
        " where it decides; Lambda's documentation knows only its own rate, and a caller's decision goes first",
        where, "nothing, if that is meant",
    )  # fmt: skip


def first(rules: "list[dict[str, Any]]", facts: "dict[str, str]") -> "dict[str, Any] | None":
    """The first rule by priority that meets a service; not those that ask for something of an HTTP request."""
    ordered = sorted(
        (rule for rule in rules if not _narrow(rule)),
        key=lambda rule: (int(rule.get("Priority") or 10_000), str(rule.get("RuleName"))),
    )
    return next(
        (rule for rule in ordered if all(_matches(str(rule.get(key) or "*"), facts[key]) for key in facts)), None
    )


def _narrow(rule: "dict[str, Any]") -> bool:
    return bool(rule.get("Attributes")) or any(
        str(rule.get(key) or "*") != "*" for key in ("Host", "HTTPMethod", "URLPath")
    )


def _matches(pattern: str, text: str) -> bool:
    shape = "".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in re.split(r"([*?])", pattern))
    return re.fullmatch(shape, text, re.IGNORECASE) is not None
