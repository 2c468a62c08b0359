"""The exporters' own process: what it is handed is parsed, and given to one pipeline a destination.

Main thread: reads the socket to the extension's main process, answers flushes. It waits for no destination. The child
is the first to be killed when memory is short, and it keeps to a limit of its own.
"""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from coldspan_blackbox.exporting.backlog import Limits
from coldspan_blackbox.exporting.exporter import ConfigurationError, Exporter
from coldspan_blackbox.exporting.intake import Sampler, from_line
from coldspan_blackbox.exporting.pipeline import Pipeline
from coldspan_blackbox.exporting.record import Record
from coldspan_blackbox.exporting.settings import Settings, read_settings

VERSION = b"coldspan/1 "
EXPORTERS = ("otlp", "prometheus", "statsd", "kafka")
MESSAGE_BYTES = 1_114_112  # the largest line is 1 MiB. Source: core/limits.py, EMF_EVENT_BYTES
LOOK_EVERY = 32  # records between two looks at our memory
STACK_BYTES = 8 * 1024 * 1024  # of a thread, asked for and hardly used: a smaller one does not hold a deep document
ANSWER_S = 0.05  # of a deadline, kept for the answer
ORPHANED_S = 1.0  # to send the rest in, when the main process is gone

Send = Callable[[bytes, Mapping[str, Any]], None]


def run(fd: int, environ: Mapping[str, str]) -> int:
    """Serve the socket until `shutdown` or the other end's close; gives the exit code. Nothing is raised."""
    channel = socket.socket(fileno=fd)
    send = sender(channel)
    try:
        settings = read_settings(environ)
        if settings.refusal:
            send(b"refused", {"reason": settings.refusal})
            return 0
        _be_first_to_die()
        exporters, refused = make_exporters(settings, environ)
        if not exporters:
            send(b"refused", {"reason": "configuration", "exporters": refused})
            return 0
        # A pipeline has two threads at most: its own and the watch over a request.
        _limit_memory(settings.memory_bytes + 2 * STACK_BYTES * len(exporters))
        child = Child(channel, send, exporters, settings)
        try:
            send(b"ready", {"exporters": list(exporters), "refused": refused, "problems": settings.problems})
            child.serve()
        finally:
            child.close()
    except BaseException as error:  # noqa: BLE001  # whatever it is: the main process is to be told
        send(b"refused", {"reason": "fault", "fault": _where(error)})
        return 1
    finally:
        channel.close()
    return 0


def sender(channel: socket.socket) -> Send:
    """Give what sends a message to the main process, and waits for nothing."""

    def send(kind: bytes, told: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # full or closed: the main process has stopped to listen
            channel.send(VERSION + kind + b"\n" + json.dumps(told).encode(), socket.MSG_DONTWAIT)

    return send


def make_exporters(settings: Settings, environ: Mapping[str, str]) -> tuple[dict[str, Exporter], dict[str, str]]:
    """Give the exporters that can work, and for each other why it cannot."""
    from coldspan_blackbox.exporting.secrets import Secrets

    secrets = Secrets(environ)
    made: dict[str, Exporter] = {}
    refused: dict[str, str] = {}
    for name in settings.exporters:
        if name not in EXPORTERS:
            refused[name] = f"COLDSPAN_EXPORT: {name} is none of {', '.join(EXPORTERS)}"
            continue
        try:
            made[name] = import_module(f"coldspan_blackbox.exporting.{name}").create(environ, secrets)
        except ConfigurationError as error:
            refused[name] = str(error)
        except ImportError as error:
            refused[name] = f"COLDSPAN_EXPORT: {name} is not in this layer ({error.name}): build it with this extra"
        except Exception as error:  # noqa: BLE001  # one exporter that cannot be made is not to cost the others
            refused[name] = f"{name}: {type(error).__name__}"
    secrets.close()
    return made, refused


class Child:
    """What serves one socket."""

    def __init__(
        self,
        channel: socket.socket,
        send: Send,
        exporters: Mapping[str, Exporter],
        settings: Settings,
        limits: Limits | None = None,
    ) -> None:
        self.channel = channel
        self.send = send
        self.settings = settings
        self.sampler = Sampler(settings.share, settings.slow_ms)
        self.counts: dict[str, int] = {}  # of what came in and was no record
        self._settled = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        limits = limits or settings.limits
        self.pipelines = {name: Pipeline(exporter, limits, settled=self._wake) for name, exporter in exporters.items()}
        self._told: dict[str, int] = {}  # counts as last told
        self._sent_told = 0
        self._flush: tuple[Any, float] | None = None  # number and end of the flush that is to be answered
        self._ending = False
        self._leave_by_s = 0.0  # until when a destination may be told that this was the last
        self._looked = 0
        for pipeline in self.pipelines.values():
            pipeline.start()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # closed
            os.eventfd_write(self._settled, 1)

    def serve(self) -> None:
        """Read and answer until the end."""
        buffer = bytearray(MESSAGE_BYTES)
        view = memoryview(buffer)
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self._settled, select.POLLIN)
        while not (self._ending and self._flush is None):
            left_ms = None if self._flush is None else max(0.0, (self._flush[1] - time.monotonic()) * 1_000 + 1)
            ready = {fd for fd, _ in poll.poll(left_ms)}
            if self._settled in ready:
                os.eventfd_read(self._settled)
            if self.channel.fileno() in ready and not self._read(view):
                if self._ending:
                    poll.unregister(self.channel)
                self._end(time.monotonic() + ORPHANED_S)
            self._answer()

    def _read(self, view: memoryview) -> bool:
        """Take in one message; False when the other end has closed."""
        try:
            size, _, flags, _ = self.channel.recvmsg_into([view])
        except InterruptedError:
            return True
        except OSError:
            return False
        if size == 0:
            return False
        if flags & socket.MSG_TRUNC:
            self._count("message_too_large")
            return True
        head, _, body = bytes(view[:size]).partition(b"\n")
        try:
            self._take(head, body)
        except (ValueError, TypeError, KeyError, AttributeError):
            self._count("message_unreadable")
        except MemoryError:
            self._count("memory_limit")
            for pipeline in self.pipelines.values():
                pipeline.shed()
        return True

    def _take(self, head: bytes, body: bytes) -> None:
        if not head.startswith(VERSION):
            self._count("message_version_refused")
            return
        kind = head.removeprefix(VERSION)
        if kind == b"line":
            self._offer(from_line(body, self.sampler))
        elif kind == b"flush":
            told = json.loads(body)
            self._begin_flush(told.get("number"), told["until_ms"] / 1_000 - ANSWER_S)
        elif kind == b"shutdown":
            until_s = json.loads(body)["until_ms"] / 1_000
            self._leave_by_s = until_s - ANSWER_S
            self._end(until_s - 2 * ANSWER_S)
        else:
            self._count("message_unknown")

    def _offer(self, record: Record) -> None:
        self._looked += 1
        if self._looked % LOOK_EVERY == 0 and _rss_bytes() > self.settings.memory_bytes:
            for pipeline in self.pipelines.values():
                pipeline.shed()
        for pipeline in self.pipelines.values():
            pipeline.offer(record)

    # -- flushes -----------------------------------------------------------------------------------------------------

    def _begin_flush(self, number: Any, until_s: float) -> None:
        if self._flush is not None:  # asked again before the last was answered: that one is answered now
            self._reply()
        self._flush = number, until_s
        for pipeline in self.pipelines.values():
            pipeline.flush(until_s)

    def _end(self, until_s: float) -> None:
        if not self._ending:
            self._ending = True
            self._begin_flush(None, until_s)

    def _answer(self) -> None:
        """Answer the flush when it is over."""
        if self._flush is None:
            return
        over = time.monotonic() >= self._flush[1]
        if over or not any(pipeline.is_flushing() for pipeline in self.pipelines.values()):
            if self._ending:
                for pipeline in self.pipelines.values():
                    pipeline.close()
            self._reply()

    def _reply(self) -> None:
        """Tell what has been sent and dropped since the last answer, and what waits."""
        number = self._flush[0] if self._flush else None
        self._flush = None
        sums = dict(self.counts)
        destinations = {}
        for name, pipeline in self.pipelines.items():
            received, sent, dropped, waiting = pipeline.figures()
            sums |= {f"{name}_{reason}": count for reason, count in dropped.items()}
            lost = sum(dropped.values())
            destinations[name] = {"received": received, "sent": sent, "dropped": lost, "waiting": waiting}
        fresh = {
            name: count - self._told.get(name, 0) for name, count in sums.items() if count > self._told.get(name, 0)
        }
        sent = sum(each["sent"] for each in destinations.values())
        self.send(
            b"flushed",
            {
                "number": number,
                "sent": sent - self._sent_told,
                "waiting": sum(each["waiting"] for each in destinations.values()),
                "dropped": {name: count for name, count in fresh.items() if count},
                "destinations": destinations,
            },
        )
        self._told, self._sent_told = sums, sent

    def _count(self, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1

    def close(self) -> None:
        """End the pipelines; one that hangs is left to the exit of the process."""
        for pipeline in self.pipelines.values():
            pipeline.close()
        until_s = max(self._leave_by_s, time.monotonic() + ANSWER_S)
        for pipeline in self.pipelines.values():
            pipeline.join(max(until_s - time.monotonic(), 0.0))
        os.close(self._settled)


def _where(error: BaseException) -> str:
    """The type of an error and the line that raised it. Not its text: that may quote a header, and so a key."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"  # noqa: PTH119
    return f"{type(error).__name__} at {place}"


def _be_first_to_die() -> None:
    """If memory is short, the function's process is to be spared. A signal meant for others is not for us."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write("1000")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _limit_memory(more_bytes: int) -> None:
    """Let the process ask for so much more memory than it has, and no further: a MemoryError can be counted."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        data_bytes = int(file.read().split()[5]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes + more_bytes, hard))


def _rss_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # a few µs; pathlib costs as much again
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
