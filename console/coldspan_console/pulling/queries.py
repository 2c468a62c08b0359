"""Queries in the language of Logs Insights. Pure.

Every text is one line of commands that the documented language has (`fields`, `filter`, `stats`, `sort`, `limit`); a
name that holds more than letters, digits, `.` and `@` stands in backticks. AWS runs all of it. moto's server knows
`fields`, `sort` and `limit` and passes over the rest: the reader of the results filters a second time, which changes
nothing on AWS; `stats` runs on AWS alone. Of a JSON event Insights finds 200 members: those asked for here come before
a record's list of calls. Source: CloudWatch Logs user guide, "CloudWatch Logs Insights language query syntax", "Fields
that contain special characters", "Supported logs and discovered fields".
"""

import json
import re
from typing import TYPE_CHECKING

from coldspan_console.output import WRONG_USE, ConsoleError

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 10_000  # rows of a query's first page. Source: CloudWatch Logs API reference, StartQuery, "limit"
# what has a record of ours, a part of one, the last words, or the platform's report of an invocation
OURS = (
    '(ispresent(`_aws.Timestamp`) and ispresent(`function_name`)) or ispresent(part) or coldspan = "deadline_near"'
    ' or @type = "REPORT" or type = "platform.report"'
)  # fmt: skip
RECORDS = "ispresent(outcome) and ispresent(`span_id`)"
GROUPS = {
    "outcome": "outcome", "start": "start", "version": "`function_version`", "trigger": "trigger",
    "error": "`error_type`", "hour": "bin(1h)", "minute": "bin(1m)", "tool": "tool, operation",
}  # fmt: skip
STATISTICS = (
    "count(*) as invocations, sum(Error) as errors, sum(Timeout) as timeouts, sum(ColdStart) as cold_starts,"
    " sum(CallFailures) as call_failures, avg(Duration) as mean_ms, pct(Duration, 50) as p50_ms,"
    " pct(Duration, 95) as p95_ms, pct(Duration, 99) as p99_ms, max(Duration) as max_ms, avg(Overhead) as overhead_us"
)
# CallDuration is a list: the language has its members one by one, and the first stands for all
TOOLS = (
    "count(*) as invocations, sum(CallFailure) as failures, sum(CallRetry) as retries, sum(CallThrottle) as throttles,"
    " avg(CallDuration.0) as mean_ms, pct(CallDuration.0, 50) as p50_ms, pct(CallDuration.0, 95) as p95_ms,"
    " max(CallDuration.0) as max_ms"
)
PERIODS = ("hour", "minute")  # these are put in order here: the language sorts by what has a name
IDS = 70  # request ids of one query


def wanted(outcomes: "Iterable[str]", *, errors_only: bool = False, expression: str = "") -> "list[str]":
    """The conditions on an invocation's record. Errors: ConsoleError for an expression that is more than one."""
    conditions = []
    if outcomes := list(outcomes):
        conditions.append(f"outcome in [{', '.join(json.dumps(one) for one in outcomes)}]")
    if errors_only:
        conditions.append('((outcome != "ok" and outcome != "pending") or CallFailures > 0)')
    if expression:
        if re.search(r"[|#]", re.sub(r"/(?:\\.|[^/\\])*/|\"(?:\\.|[^\"\\])*\"", "", expression)):
            raise ConsoleError(
                "--query is the condition of one filter command", where=expression, exit_code=WRONG_USE,
                todo="write it without | and #, as in --query 'Duration > 500 and tool = \"dynamodb\"'",
            )  # fmt: skip
        conditions.append(f"({expression})")
    return conditions


def records(conditions: "Iterable[str]" = (), limit: "int | None" = None) -> str:
    """The lines of ours, oldest first; with conditions records that meet them; with a limit the newest of these."""
    conditions = list(conditions)
    filters = [RECORDS, *conditions] if conditions or limit else [OURS]
    told = " ".join(f"| filter {condition}" for condition in filters)
    end = f"sort @timestamp desc | limit {min(limit, LIMIT)}" if limit else f"sort @timestamp asc | limit {LIMIT}"
    return f"fields @timestamp, @message, @logStream {told} | {end}"


def of_requests(ids: "Iterable[str]") -> str:
    """All lines of ours of these requests."""
    listed = ", ".join(json.dumps(one) for one in ids)
    condition = f"`request_id` in [{listed}] or @requestId in [{listed}] or record.requestId in [{listed}]"
    return (
        f"fields @timestamp, @message, @logStream | filter {OURS} | filter {condition}"
        f" | sort @timestamp asc | limit {LIMIT}"
    )


def statistics(by: str, conditions: "Iterable[str]" = ()) -> str:
    """Counts and percentiles by one of GROUPS. Only AWS runs it: moto's server has no `stats`."""
    base = "ispresent(CallDuration.0) and ispresent(tool)" if by == "tool" else RECORDS
    filters = " ".join(f"| filter {condition}" for condition in [base, *conditions])[2:]
    order = "" if by in PERIODS else " | sort invocations desc"
    return f"{filters} | stats {TOOLS if by == 'tool' else STATISTICS} by {GROUPS[by]}{order} | limit 1000"


def names_of(by: str) -> "list[str]":
    """The names that the groups of statistics() have in its rows."""
    return [name.strip(" `") for name in GROUPS[by].split(",")]


__all__ = ["GROUPS", "IDS", "LIMIT", "names_of", "of_requests", "records", "statistics", "wanted"]
