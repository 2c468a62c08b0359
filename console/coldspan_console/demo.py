"""`make demo`: every sample with its events on the real emulator, and what was recorded of each invocation."""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from base64 import b64encode
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from coldspan_console import demo_events, demo_provider, demo_resources
from coldspan_console.demo_kill import show_kill
from coldspan_console.platform.emulator import Answer, Emulator, EmulatorMissingError, Line
from coldspan_console.platform.function import Function
from coldspan_console.platform.sandbox import MOUNTED
from coldspan_console.tree import MARKS, invocation_tree, milliseconds

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "build" / "recorder"
PIPED_WIDTH = 150  # nobody's window is known then, and a line cut at 80 says half


def main() -> int:
    """Run the demo; 0 when every invocation left a record, 1 when one did not, 2 when something is missing."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("samples", nargs="*", help="names of folders under functions/ (default: all)")
    parser.add_argument("--events", default="*", help="pattern of event names, such as degraded (default: all)")
    parser.add_argument("--raw", action="store_true", help="print the records as the function printed them")
    chosen = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    known = sorted(folder.name for folder in (ROOT / "functions").iterdir() if (folder / "app.py").exists())
    unknown = [name for name in chosen.samples if name not in known]
    if unknown:
        console.print(f"[red]no sample called {', '.join(unknown)}[/]: there are {', '.join(known)}")
        return 2
    if not LAYER.is_dir():
        console.print(f"[red]no built layer at {LAYER.relative_to(ROOT)}[/]: run `make layer` first")
        return 2
    if not any(
        fnmatch(event.stem, chosen.events) for name in chosen.samples or known for event in demo_events.files(name)
    ):
        console.print(f"[red]no event called {chosen.events}[/]: see the folders under events/, such as events/orders")
        return 2
    try:
        return _run(console, chosen.samples or known, chosen.events, raw=chosen.raw)
    except EmulatorMissingError as error:
        console.print(f"[red]no emulator[/]: {error}")
        return 2


def _run(console: Console, names: "list[str]", pattern: str, *, raw: bool) -> int:
    with demo_provider.ProviderServer() as provider, Moto() as moto:
        environments = demo_resources.create(moto.url, provider.url.replace("127.0.0.1", "localhost"))
        totals: Counter[str] = Counter()
        overheads_us: list[float] = []
        missing = 0
        for number, name in enumerate(names):
            function = Function(
                task=ROOT / "functions" / name,
                layer=LAYER,
                python=Path(sys.executable),
                name=name,
                memory_mb=512,
                environment=environments[name],
            )
            with Emulator(function) as emulator:
                if number == 0:
                    _introduce(console, emulator, moto)
                for event in demo_events.files(name):
                    if fnmatch(event.stem, pattern):
                        missing += not _show(console, emulator, name, event, totals, overheads_us, raw=raw)
        if "orders" in names and pattern == "*":
            killed = show_kill(console, LAYER, environments["orders"])
            missing += killed is None
            for call in (killed or {}).get("calls", ()):
                totals[call["status"]] += 1
            totals["invocations"] += 1
    calls = ", ".join(f"{MARKS[status][0]} {status} {totals[status]}" for status in MARKS if totals[status])
    console.print(
        f"\n[bold]{totals['invocations']} invocation{'s' * (totals['invocations'] != 1)}[/],"
        f" {totals['lines']} lines of embedded metric format."
        f" Calls: {calls}."
    )
    told = "Each was flushed after the response, but the one that was killed" if totals["in_flight"] else ""
    told = told or "Each was flushed after the response"
    if overheads_us:
        own_ms = statistics.median(overheads_us) / 1000
        told += f"; the recorder's own time was {own_ms:.2f} ms a warm invocation (median, this machine)"
    console.print(f"{told}. Your own function: see README.md, “Use it”.")
    if missing:
        console.print(f"[red]{missing} invocations left no record[/]")
    return 1 if missing else 0


def _introduce(console: Console, emulator: Emulator, moto: "Moto") -> None:
    where = (
        "mounted at /opt, as Lambda mounts it"
        if emulator.mounting == MOUNTED
        else "in its own folder: this machine allows no mount namespaces, so the start script names the folder instead"
    )
    marks = "  ".join(f"{mark} {status}" for status, (mark, _) in MARKS.items())
    console.print(
        "The samples of functions/ on the runtime interface emulator (aws-sam-cli) with the real runtime client\n"
        f"(awslambdaric); AWS is moto's server at {moto.url}; the layer is {where}.\n"
        "X-Ray: the emulator hands out no trace header in this mode, so no segment is due.\n"
        "The samples' packages lie in .venv here, so their imports count as the runtime's; on Lambda they are yours.\n"
        f"Marks: {marks}.\n"
        "waited: how old the event was · given back: batch item failures · own time: the recorder's.\n"
    )


def _show(
    console: Console,
    emulator: Emulator,
    name: str,
    event: Path,
    totals: "Counter[str]",
    overheads_us: "list[float]",
    *,
    raw: bool,
) -> bool:
    begun = len(emulator.lines)
    sent = demo_events.sent_at(json.loads(event.read_bytes()), time.time_ns() // 1_000_000)
    context = b64encode(demo_events.client_context().encode()).decode() if name == "agentcore" else None
    answer = emulator.invoke(json.dumps(sent).encode(), client_context=context)
    emulator.wait_for(lambda lines: any(line.text.startswith(b"REPORT ") for line in lines[begun:]))
    lines = emulator.lines[begun:]
    documents = [(line, document) for line in lines if (document := emf(line.text)) is not None]
    records = [(line, document) for line, document in documents if "Duration" in document]
    title = f"{name} ← {event.relative_to(ROOT)}"
    if not records:
        console.print(f"[red]{title}: no record[/]\n{b''.join(line.text for line in lines).decode(errors='replace')}")
        return False
    _, record = records[0]
    totals["invocations"] += 1
    totals["lines"] += len(documents)
    if record["start"] == "warm":
        overheads_us.append(record["Overhead"])
    for call in record.get("calls", ()):
        totals[call["status"]] += 1
    if raw:
        for _, document in documents:
            console.print_json(json.dumps(document))
    console.print(invocation_tree(record, title, _notes(record, documents, answer)))
    console.print()
    return True


def _notes(record: "dict[str, Any]", documents: "list[tuple[Line, dict[str, Any]]]", answer: Answer) -> "list[str]":
    size = sum(len(each.text) for each, _ in documents)
    when = "after the response" if record["flush"] == "after_response" else "before the process ended"
    after_ms = max(0.0, (documents[-1][0].read_ns / 1e6) - record["_aws"]["Timestamp"])
    flushed = (
        f"flushed {when}: {len(documents)} line{'s' * (len(documents) != 1)}, {size / 1000:.1f} kB,"
        f" the last within {after_ms:.0f} ms of it · own time {milliseconds(record['Overhead'] / 1000)}"
    )
    notes = [f"answer {answer.status}, {_said(answer.body)}", flushed]
    for _, document in documents:
        own = [metric["Name"] for metric in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
        if not {"Duration", "CallDuration"} & set(own):
            notes.append("own metrics: " + ", ".join(f"{metric} {_plain(document[metric])}" for metric in own))
    if record.get("annotations"):
        notes.append("annotations: " + ", ".join(f"{key} {value}" for key, value in record["annotations"].items()))
    if record.get("dropped") or record.get("errors"):
        notes.append(f"dropped {record.get('dropped')} · our own faults {record.get('errors')}")
    return notes


def _plain(values: Any) -> str:
    """A metric's values, as a person writes them."""
    return ", ".join(f"{value:g}" for value in values) if isinstance(values, list) else f"{values:g}"


def _said(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return text if len(text) <= 90 else text[:89] + "…"


def emf(line: bytes) -> "dict[str, Any] | None":
    """The embedded-metric document of a line, or None."""
    if not line.startswith(b'{"_aws":'):
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


class Moto:
    """moto's server in a process of its own, on a free port of the loopback address, or of another one of ours."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host

    def __enter__(self) -> Self:
        with socket.create_server((self.host, 0)) as server:
            port = server.getsockname()[1]
        self.url = f"http://{self.host}:{port}"
        command = [sys.executable, "-m", "moto.server", "-H", self.host, "-p", str(port)]
        # A file: a pipe that nobody reads is full after some hundred requests, and the server then stands still.
        self._said = tempfile.TemporaryFile()  # closed in __exit__
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self._said)
        waited = threading.Event()
        for _ in range(600):
            try:
                urllib.request.urlopen(self.url + "/moto-api/data.json", timeout=1).close()  # noqa: S310 - http
            except OSError:
                if self._process.poll() is not None:
                    self._said.seek(0)
                    said = self._said.read().decode("utf-8", "replace")
                    self.__exit__()
                    raise RuntimeError(f"moto's server ended: {said}") from None
                waited.wait(0.05)
            else:
                return self
        self.__exit__()
        raise RuntimeError("moto's server did not answer within 30 s")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()


if __name__ == "__main__":
    sys.exit(main())
