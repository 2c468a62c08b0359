"""An event source: a queue of SQS (or of moto's server), polled as Lambda polls it."""

import base64
import json
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldspan_console.platform.fleet import Fleet

BATCH, MOST_RECEIVED = 10, 10  # Lambda's default batch size; what one ReceiveMessage gives
WAIT_S = 1
REPORTS_FAILURES = "ReportBatchItemFailures"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


class SqsSource:
    """Polls one queue for one function, until close(). `told` is given what went wrong, in words.

    `properties` are those of the template's SQS event: BatchSize, FunctionResponseTypes. What a batch has left is left
    to the queue's own visibility timeout and redrive policy.
    """

    def __init__(
        self, fleet: "Fleet", url: str, arn: str, properties: "dict[str, Any]", client: Any,
        told: "Callable[[str], object]" = lambda _: None,
    ) -> None:  # fmt: skip
        self._fleet, self._url, self._arn, self._client, self._told = fleet, url, arn, client, told
        self._size = int(properties.get("BatchSize") or BATCH)
        self._partial = REPORTS_FAILURES in (properties.get("FunctionResponseTypes") or ())
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="sqs source", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the batch that runs."""
        self._closed.set()
        self._thread.join(WAIT_S + self._fleet.timeout_ms / 1_000 + 5)

    def _poll(self) -> None:
        failed = False
        while not self._closed.is_set():
            try:
                batch = self._receive()
                if batch:
                    self._deliver(batch)
                failed = False
            except Exception as error:  # noqa: BLE001 - the queue may be gone for a while: said once, and tried again
                if not failed:
                    self._told(f"{self._url}: {error}")
                failed = True
                self._closed.wait(WAIT_S)

    def _receive(self) -> "list[dict[str, Any]]":
        found: list[dict[str, Any]] = []
        while len(found) < self._size:
            most = min(MOST_RECEIVED, self._size - len(found))
            got = self._client.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=most, WaitTimeSeconds=0 if found else WAIT_S,
                MessageSystemAttributeNames=["All"], MessageAttributeNames=["All"],
            ).get("Messages", [])  # fmt: skip
            found += got
            if len(got) < most:
                break
        return found

    def _deliver(self, batch: "list[dict[str, Any]]") -> None:
        event = {"Records": [self._record(message) for message in batch]}
        outcome = self._fleet.invoke(json.dumps(event).encode())
        if outcome.status != "success":
            self._told(
                f"{self._fleet.function.name}: {outcome.status} {outcome.error_type}: {len(batch)} messages stay"
            )
            return
        failed = self._failures(outcome.body, {message["MessageId"] for message in batch})
        for message in batch:
            if message["MessageId"] not in failed:
                self._client.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])

    def _failures(self, body: bytes, known: "set[str]") -> "set[str]":
        """The messages that stay. Source: Lambda developer guide, "Implementing partial batch responses"."""
        if not self._partial:
            return set()
        try:
            told = json.loads(body)
            names = {each["itemIdentifier"] for each in (told or {}).get("batchItemFailures") or ()}
        except (ValueError, TypeError, KeyError, AttributeError):
            return known  # a response that cannot be read fails the whole batch, as one with an unknown id does
        return names if names.issubset(known) else known

    def _record(self, message: "dict[str, Any]") -> "dict[str, Any]":
        attributes = {
            name: {
                **({"stringValue": value["StringValue"]} if "StringValue" in value else {}),
                **({"binaryValue": _base64(value["BinaryValue"])} if "BinaryValue" in value else {}),
                "stringListValues": [], "binaryListValues": [], "dataType": value["DataType"],
            }
            for name, value in (message.get("MessageAttributes") or {}).items()
        }  # fmt: skip
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes") or {},
            "messageAttributes": attributes,
            "md5OfBody": message.get("MD5OfBody"),
            "eventSource": "aws:sqs",
            "eventSourceARN": self._arn,
            "awsRegion": self._arn.split(":")[3],
        }
