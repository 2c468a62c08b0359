"""The events of the samples, as they are on disk or as if they had been sent just now."""

import json
from datetime import UTC, datetime
from pathlib import Path

EVENTS = Path(__file__).parents[2] / "events"


def files(name):
    """Event files of a sample: what works first, then what degrades, then what fails, then the others by name."""
    order = {"ok": 0, "degraded": 1, "failing": 2}
    return sorted((EVENTS / name).glob("*.json"), key=lambda file: (order.get(file.stem, 3), file.stem))


def sent_at(event, now_ms):
    """A copy of `event` with the times at which it was sent, accepted or due set to `now_ms` (epoch ms).

    The files carry a fixed date; invoked as they are, an event would seem to have waited since then.
    """
    return _copy(event, now_ms, datetime.fromtimestamp(now_ms / 1000, UTC))


def _copy(node, now_ms, when):
    if isinstance(node, list):
        return [_copy(each, now_ms, when) for each in node]
    if not isinstance(node, dict):
        return node
    times = {
        "requestTimeEpoch": now_ms,  # API Gateway REST API
        "timeEpoch": now_ms,  # API Gateway HTTP API
        "SentTimestamp": str(now_ms),  # SQS
        "ApproximateFirstReceiveTimestamp": str(now_ms),
        "ApproximateCreationDateTime": now_ms // 1000,  # DynamoDB stream
    }
    copy = {name: times.get(name, _copy(value, now_ms, when)) for name, value in node.items()}
    if "requestTimeEpoch" in node:
        copy["requestTime"] = f"{when:%d/%b/%Y:%H:%M:%S +0000}"
    elif "timeEpoch" in node:
        copy["time"] = f"{when:%d/%b/%Y:%H:%M:%S +0000}"
    elif "detail-type" in node:  # EventBridge
        copy["time"] = f"{when:%Y-%m-%dT%H:%M:%SZ}"
    return copy


def client_context():
    """What AgentCore Gateway sends beside its event, as the JSON text that is put into base64."""
    return json.dumps(json.loads((EVENTS / "client_context.json").read_text()))
