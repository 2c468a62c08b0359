"""From the store to the page's data."""

from typing import TYPE_CHECKING, Any

from coldspan_console.report.data import page_data

if TYPE_CHECKING:
    from coldspan_console.store import Filter, Store

LOGS = 500  # invocations whose log is in the page: those that failed first, then the latest
GOOD = ("ok", "pending")


def build(store: "Store", wanted: "Filter", limit: int, title: str, *, live: bool = False) -> "dict[str, Any]":
    """The page's data: the newest `limit` invocations that are meant, and how many more there are."""
    documents = list(store.documents(wanted, limit=limit))
    total = store.count(wanted)
    logs = _logs(store, documents)
    return page_data(documents, title=title, logs=logs, left_out=max(0, total - len(documents)), live=live)


def logs_of(store: "Store", documents: "list[dict[str, Any]]") -> "dict[str, list[dict[str, Any]]]":
    """The log lines of these invocations, by request id."""
    found = {}
    for document in documents:
        request_id = str(document.get("request_id"))
        if lines := store.log_lines(request_id):
            found[request_id] = lines
    return found


def _logs(store: "Store", documents: "list[dict[str, Any]]") -> "dict[str, list[dict[str, Any]]]":
    failed = [document for document in documents if document.get("outcome") not in GOOD][: LOGS // 2]
    return logs_of(store, [*failed, *documents[: LOGS - len(failed)]])
