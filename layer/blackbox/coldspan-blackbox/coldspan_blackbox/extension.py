"""The registered process: registers first, asks for its first event, and only then loads what the events need.

The platform starts the runtime when every extension has registered, so nothing stands before that which need not.
"""

import posix
import sys
from _signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM  # type: ignore[import-not-found]  # what `signal` is made of
from _signal import signal as set_signal

from coldspan_blackbox.api import Api
from coldspan_blackbox.counts import Counts
from coldspan_blackbox.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coldspan_blackbox.api import Exchange
    from coldspan_blackbox.datagrams import Receiver
    from coldspan_blackbox.exporter import Exporter
    from coldspan_blackbox.listener import Listener

SUBSCRIBE_S = 2.0
READY_MS = 2_000  # what the exporters' imports may take of the init
PAUSE_MS = 50


class Extension:
    """What the process has: its registration, its doors, its exporters."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings = settings
        self.counts = Counts()
        self.api = Api(settings.runtime_api, name)
        self.parent = posix.getppid()
        self.function = settings.function
        self.told_of_invocations = False  # whether the platform sends INVOKE
        self.next: "Exchange | None" = None
        self.listener: "Listener | None" = None
        self.receiver: "Receiver | None" = None
        self.exporter: "Exporter | None" = None

    def start(self) -> None:
        """Register, open the doors, start the exporters, ask for the first event."""
        settings, attempt = self.settings, self.counts.attempt
        if settings.exporting:
            attempt("bind", self._bind)
        self._register(("INVOKE", "SHUTDOWN") if settings.exporting else ("SHUTDOWN",))
        if settings.enabled:
            attempt("subscribe", self._subscribe)
        if settings.exporting:
            attempt("exporter_start", self._start_exporter)
        elif settings.enabled and settings.export_refused:
            self.counts.drop("memory_too_small")
        attempt("next", self.ask_next)

    def orphaned(self) -> bool:
        """Whether the platform's process, which started this one, is gone: the one end without a SHUTDOWN."""
        return posix.getppid() != self.parent

    def ask_next(self) -> None:
        """Ask for the next event. Errors: OSError."""
        self.next = self.api.ask_next()

    def pause(self, milliseconds: int = PAUSE_MS) -> None:
        """Wait a little; for the time before there is a loop, and for when there is none."""
        from select import poll

        poll().poll(milliseconds)

    def idle(self) -> None:
        """Wait for SHUTDOWN and do nothing else: what is off, or broken, must not end."""
        while not self.orphaned():
            if self.next is None:
                self.counts.attempt("next", self.ask_next)
            elif self.next.receive():
                message = self.next.message
                self.next.close()
                self.next = None
                if message.status == 200 and b'"SHUTDOWN"' in message.body:
                    return
                if message.status == 200:
                    continue
            else:
                continue
            if self.next is None:
                self.pause()

    def _bind(self) -> None:
        from coldspan_blackbox.datagrams import Receiver, bind

        self.receiver = Receiver(bind(self.settings.runtime_api), self.counts)

    def _register(self, events: "tuple[str, ...]") -> None:
        """Register, for less where more is refused. Until that is done no invocation can start: it is tried again."""
        while not self.orphaned():
            message = self.counts.attempt("register", self.api.register, events)
            if message is not None and self.api.identifier:
                self.told_of_invocations = "INVOKE" in events
                if not self.function:
                    self.counts.attempt("register", self._note_function, message.body)
                return
            if message is not None and 400 <= message.status < 500 and len(events) > 1:
                events = (
                    "SHUTDOWN",
                )  # Managed Instances say 403; whatever it is, without us no invocation would start
                continue
            if message is not None:
                self.counts.refuse("register_status_%d" % message.status)
            self.pause()

    def _note_function(self, body: bytes) -> None:
        from coldspan_blackbox.jsontext import loads

        self.function = str(loads(body)["functionName"])

    def _subscribe(self) -> None:
        from coldspan_blackbox.listener import Listener

        listener = Listener(self.counts)
        agreed = False
        try:
            agreed = self.api.subscribe(listener.port, SUBSCRIBE_S)
        finally:
            if not agreed:
                listener.close_all()
        if agreed:
            self.listener = listener

    def _start_exporter(self) -> None:
        from time import monotonic_ns

        from coldspan_blackbox.exporter import Exporter

        self.exporter = exporter = Exporter(sys.argv[0], self.counts)
        exporter.start()
        until = monotonic_ns() + READY_MS * 1_000_000
        from select import POLLIN, poll

        waiting = poll()
        waiting.register(exporter.fileno(), POLLIN)
        while not exporter.ready and exporter.alive and (left := until - monotonic_ns()) > 0:
            if waiting.poll(left // 1_000_000 + 1):
                exporter.receive()


def main(arguments: "list[str]") -> None:
    """Run until SHUTDOWN; then end the process."""
    for number in (SIGTERM, SIGINT, SIGHUP):
        set_signal(number, SIG_IGN)  # the platform's word to extensions is SHUTDOWN
    settings = Settings(posix.environ)
    extension = Extension(settings, (arguments or ["coldspan-blackbox"])[0])
    extension.start()
    if settings.enabled:
        extension.counts.attempt("loop", _run, extension)
    else:
        extension.counts.attempt("idle", extension.idle)
    posix._exit(0)


def _run(extension: Extension) -> None:
    loop = None
    try:
        from coldspan_blackbox.loop import Loop

        loop = Loop(extension)
        loop.run()
    except BaseException as error:  # noqa: BLE001  # a layer that is broken in half still answers the platform
        extension.counts.failed("loop", error)
        if loop is None or not loop.over:
            extension.idle()
