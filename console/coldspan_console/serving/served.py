"""Functions served by the Lambda API: their fleets, what they record, and how all of it ends."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.platform.asynchronous import RETRIES, Asynchronous
from coldspan_console.platform.fleet import Fleet
from coldspan_console.platform.invoke_api import InvokeApi, Tails
from coldspan_console.platform.output import record_of
from coldspan_console.platform.sources import SqsSource
from coldspan_console.running.runs import platform_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from coldspan_console.platform.environment import LogLine
    from coldspan_console.running.prepared import Prepared
    from coldspan_console.store import Store

KEEP_S = 0.5  # how often what was recorded is put into the store


class Served:
    """Prepared functions behind one address. `told` is given what happens: a kind and what it is about.

    Kinds: "log" (function name, LogLine), "record" (function name, document), "asynchronous" (request id, Outcome),
    "source" (text).
    """

    def __init__(
        self, prepared: "Sequence[Prepared]", store: "Store", folder: Path, told: "Callable[[str, Any, Any], None]",
        *, concurrency: int = 10, retry_s: float = 1.0, host: str = "127.0.0.1", port: int = 0, idle_s: float = 300.0,
    ) -> None:  # fmt: skip
        self._store, self._told = store, told
        self._tails = Tails()
        self._lock = threading.Lock()
        self._documents: list[dict[str, Any]] = []
        self._logs: dict[str, list[dict[str, Any]]] = {}
        self._closed = threading.Event()
        self._sources: list[SqsSource] = []
        self.fleets = {each.declared.name: self._fleet(each, concurrency, idle_s) for each in prepared}
        self._later = Asynchronous(
            folder, retry_s=retry_s, done=lambda one, outcome: told("asynchronous", one.request_id, outcome),
            retries={each.declared.name: _retries(each.declared.invoke_config) for each in prepared},
        )  # fmt: skip
        self.api = InvokeApi(self.fleets, self._later, self._tails, host=host, port=port)
        self._keeper = threading.Thread(target=self._keep_on, name="keeper", daemon=True)
        self._keeper.start()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def poll(self, prepared: "Sequence[Prepared]", endpoint: str, region: str) -> "list[str]":
        """Poll the queues that the template names, at an endpoint; give their names."""
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "sqs",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - a stand-in takes any
        )
        polled = []
        for each in prepared:
            for declared in each.declared.events.values():
                properties = declared.get("Properties") or {}
                arn = properties.get("Queue")
                if declared.get("Type") != "SQS" or not isinstance(arn, str) or not arn.startswith("arn:"):
                    continue
                name = arn.rpartition(":")[2]
                try:
                    url = client.get_queue_url(QueueName=name)["QueueUrl"]
                except (BotoCoreError, ClientError) as error:
                    self._told("source", f"queue {name} of {each.declared.name} is not polled: {error}", None)
                    continue
                fleet = self.fleets[each.declared.name]
                self._sources.append(
                    SqsSource(fleet, url, arn, properties, client, lambda text: self._told("source", text, None))
                )
                polled.append(f"{name} → {each.declared.name}")
        return polled

    def close(self) -> int:
        """End in good order; how many asynchronous events became dead letters."""
        if self._closed.is_set():
            return 0
        for source in self._sources:
            source.close()
        self.api.close()
        left = self._later.close()
        for fleet in self.fleets.values():
            fleet.close()
        self._closed.set()
        self._keeper.join()
        self._keep()
        return left

    def _fleet(self, prepared: "Prepared", concurrency: int, idle_s: float) -> Fleet:
        name = prepared.declared.name
        limit = prepared.declared.reserved_concurrency
        most = min(concurrency, limit) if isinstance(limit, int) else concurrency  # 0: the service throttles all
        return Fleet(
            prepared.function, most=most, timeout_ms=prepared.timeout_ms, idle_s=idle_s, reserved=most == limit,
            heard=lambda line: self._hear(name, line),
        )  # fmt: skip

    def _hear(self, name: str, line: "LogLine") -> None:
        self._tails.hear(line)
        record = record_of(line.text)
        with self._lock:
            if record is not None:
                self._documents.append(record)
            elif line.request_id and line.kind != "platform":
                kept = {"text": line.text, "at_ms": line.at_ms, "kind": line.kind}
                self._logs.setdefault(line.request_id, []).append(kept)
        if record is None:
            self._told("log", name, line)
        elif "outcome" in record:
            self._told("record", name, record)

    def _keep_on(self) -> None:
        while not self._closed.wait(KEEP_S):
            self._keep()

    def _keep(self) -> None:
        with self._lock:
            documents, self._documents = self._documents, []
            logs, self._logs = self._logs, {}
        for name, fleet in self.fleets.items():
            documents += [platform_line(name, outcome, report) for outcome, report in fleet.take_ended()]
        if documents:
            self._store.add(documents, source="local")
        for request_id, lines in logs.items():
            self._store.logs(request_id, lines)


def _retries(config: "Mapping[str, Any]") -> int:
    """EventInvokeConfig's MaximumRetryAttempts: 0, 1 or 2."""
    told = config.get("MaximumRetryAttempts")
    return int(told) if str(told) in {"0", "1", "2"} else RETRIES
