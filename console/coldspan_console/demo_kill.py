"""The demo's last act: an invocation that is killed at its timeout, told by the environment's next start."""

import contextlib
import json
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console import demo_events
from coldspan_console.platform.emulator import Emulator
from coldspan_console.platform.function import Function
from coldspan_console.platform.output import documents
from coldspan_console.tree import invocation_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 3


def show_kill(console: "Console", layer: Path, environment: "dict[str, str]") -> "dict[str, Any] | None":
    """Run the orders sample with a DynamoDB that never answers; give the record of what was killed, or None."""
    console.print(
        f"And one that is killed: DynamoDB never answers, and the function's timeout is {TIMEOUT_S} s."
        " Its process is gone; the next start\nof the environment tells of it, from the journal that it kept in /tmp.\n"
    )
    with _silent() as address:
        function = Function(
            task=ROOT / "functions" / "orders",
            layer=layer,
            python=Path(sys.executable),
            name="orders",
            memory_mb=512,
            environment={**environment, "AWS_ENDPOINT_URL_DYNAMODB": address},
        )
        with Emulator(function, timeout_s=TIMEOUT_S) as emulator:
            answer = emulator.invoke(_event("ok"))
            emulator.invoke(_event("read", path="/nowhere"))  # answered without a call
            emulator.wait_for(lambda _: _killed(emulator) is not None)
            record = _killed(emulator)
            if record is None:
                console.print(f"[red]the killed invocation left no record[/]\n{emulator.text}")
                return None
    notes = [f"answer {answer.status}, {answer.body.decode()}", f"told by: {record['told_by'].replace('_', ' ')}"]
    console.print(invocation_tree(record, "orders ← events/orders/ok.json", notes))
    return record


def _event(name: str, **changes: str) -> bytes:
    event = json.loads((ROOT / "events" / "orders" / f"{name}.json").read_bytes())
    return json.dumps({**demo_events.sent_at(event, time.time_ns() // 1_000_000), **changes}).encode()


def _killed(emulator: Emulator) -> "dict[str, Any] | None":
    found = documents([line.text for line in emulator.lines])
    return next((document for document in found if "told_by" in document), None)


@contextlib.contextmanager
def _silent() -> "Iterator[str]":
    """A server that takes connections and never answers; gives its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:  # the kernel takes them; nobody reads
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
