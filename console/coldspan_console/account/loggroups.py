"""What is known of a function's log group."""

from typing import TYPE_CHECKING, Any

from coldspan_console.account.session import told
from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from coldspan_console.account.session import Account

INFREQUENT = "INFREQUENT_ACCESS"


def find(account: "Account", name: str) -> "dict[str, Any] | None":
    """The group as DescribeLogGroups gives it; None where there is none. Errors: ConsoleError."""
    with told(name):
        pages = account.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name)
        return next((group for page in pages for group in page["logGroups"] if group["logGroupName"] == name), None)


def log_class(account: "Account", name: str) -> str:
    """STANDARD, INFREQUENT_ACCESS, DELIVERY; "" where there is no group, or it may not be asked."""
    try:
        group = find(account, name)
    except ConsoleError:
        return ""
    return str((group or {}).get("logGroupClass") or "")
