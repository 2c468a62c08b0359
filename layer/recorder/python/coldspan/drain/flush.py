"""The drain: between POST response and GET next, what waits is encoded and sent, within its budget."""

import os
from _thread import allocate_lock
from sys import modules
from time import CLOCK_BOOTTIME, clock_gettime_ns
from types import ModuleType

from coldspan.core import limits, policy
from coldspan.core.emf import EmfEncoder
from coldspan.core.others import others_trace
from coldspan.core.result import to_result
from coldspan.drain import stdout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from coldspan.boot.seam import Seam
    from coldspan.core.record import Call, CallToolResult, Invocation
    from coldspan.core.xray import XRayEncoder
    from coldspan.drain.blackbox import BlackBox
    from coldspan.drain.claims import Claimed
    from coldspan.drain.daemon import Daemon

    Counts = tuple[dict[str, int] | None, dict[str, int] | None]
    # how to send it, what, the counts that it tells, and what to do once it has been sent
    Line = tuple[Callable[[bytes], bool | None], bytes, Counts | None, Callable[[], None] | None]

CALLS_AT_ONCE = 16  # calls made into records between two looks at the clock
FAILED = ("partial", "throttled", "timeout", "error")


class Drain:
    """What one process sends. `pending` is what the last budget had no room for: (send, bytes, counts told by it)."""

    def __init__(
        self, seam: "Seam", write: "Callable[[bytes], bool] | None" = None, daemon: "Daemon | None" = None
    ) -> None:
        self.seam = seam
        self.scope = seam.scope
        self.buffer = seam.buffer
        settings = self.settings = seam.settings
        self.emf = EmfEncoder(settings.namespace, settings.function, settings.tools, stdout.level(settings))
        self.daemon = daemon
        self.xray: "XRayEncoder | None" = None
        self.pending: "list[Line]" = []
        self.exports: "list[bytes]" = []  # what the black box has not taken yet: stdout does not wait for it
        self.unsent: "list[Callable[[], None]]" = []  # what to do once they have left, where the log has no lines
        self.running = allocate_lock()  # two invocations may end at once, on two threads
        self.taken: "Counts | None" = None
        self.last_ns = 0
        self.carried_ns = 0  # what the last drain spent after it had encoded its last record
        self.encoded_ns = self.encode_until = 0
        self.stdout_is_ours: "bool | None" = None  # looked up once a drain
        self.print = stdout.writer(settings)
        self.facts: "dict[str, Any]" = {"function_version": settings.version, "memory_mb": settings.memory_mb}
        if settings.problems:
            self.facts["settings_refused"] = settings.problems
        self.init_told = False
        shielded = self.buffer.shielded
        self.encode, self.encode_xray = shielded(self._encode), shielded(self._encode_xray)
        self.tell_init, self.tell_dead = shielded(self._tell_init), shielded(self._tell_dead)
        self.write, self.send_datagram = shielded(write or self._write), shielded(self._send_datagram)
        self.send_exports = shielded(self._send_exports)

    def run(self, seam: "Seam", invocation: "Invocation") -> None:
        """Send what waits. `invocation` is the one that has just ended: its deadline holds.

        While another thread drains, it is left to that drain or to the next one.
        """
        if self.running.acquire(False):
            try:
                self._run(seam, invocation)
            finally:
                self.running.release()

    def _run(self, seam: "Seam", invocation: "Invocation") -> None:
        scope = self.scope
        began = scope.clock()
        left_ms = policy.left_ms(invocation.deadline_ms, invocation.epoch_ns, began - invocation.start_ns)
        if not policy.may_start(left_ms, self.last_ns / 1e6):
            self.last_ns //= 2  # one drain that was held up must not silence an environment whose timeout is short
            return
        until = began + self.settings.flush_ns
        self.encode_until = began + self.settings.flush_ns // 2  # the other half is for writing
        waiting, self.buffer.waiting = self.buffer.waiting, []
        strays: "list[Call]" = []
        if waiting:  # another thread's drain may have taken this one's record; strays need one to go with
            strays, self.buffer.strays = self.buffer.strays, []
        init_calls = [call for call in strays if call.owner is seam.init]
        late = [call for call in strays if call.owner is not seam.init]
        self.encoded_ns = began
        self.stdout_is_ours = None
        dead = seam.dead
        while dead:
            claimed = dead.pop(0)
            if not self.tell_dead(claimed):
                self.buffer.drop("journals_unreadable")
                claimed.forget()  # it would fail again in every process to come
            if scope.clock() >= self.encode_until:
                break
        for index, record in enumerate(waiting):
            if index and scope.clock() >= self.encode_until:
                self.buffer.waiting[:0] = waiting[index:]
                break
            if not self.encode(record, init_calls, late if index == 0 else ()):
                self._lose("records_unencodable", self.taken)
                self.taken = None
                told = self._told(record)
                if told is not None:
                    told()
                lost = len(record.calls) + (len(strays) if index == 0 else 0)
                if lost:
                    self.buffer.drop("calls_unencodable", lost)
        self._send(until)
        if self.seam.blackbox is not None:
            self.send_exports(self.seam.blackbox, invocation, until)
        while self.unsent and not self.exports:
            self.unsent.pop(0)()
        ended = scope.clock()
        self.last_ns = ended - began
        self.carried_ns += ended - self.encoded_ns

    # -- encoding ----------------------------------------------------------------------------------------------------

    def _encode(self, invocation: "Invocation", init_calls: "list[Call]", late: "Sequence[Call]") -> bool:
        settings, scope = self.settings, self.scope
        self.taken = None
        error_text = settings.error_text
        results = self._results(invocation.calls)
        stray_results = self._results(late)
        self.buffer.strays[:0] = late[len(stray_results) :]
        late = late[: len(stray_results)]
        facts = dict(self.facts)
        if len(results) < len(invocation.calls):
            facts["calls_later"] = len(invocation.calls) - len(results)
        if not self.init_told:
            self.tell_init(invocation, facts, [to_result(call, error_text) for call in init_calls])
        self._describe_trigger(invocation, facts)
        if invocation.deadline_near:
            facts["deadline_near"] = True
        if invocation.error_text:
            from coldspan.core.mask import mask_text

            invocation.error_text = mask_text(invocation.error_text)
        duration_ms = (invocation.end_ns - invocation.start_ns) / 1e6
        failed = invocation.outcome not in ("ok", "pending") or any([result.status in FAILED for result in results])
        detail = policy.in_detail(
            failed, invocation.start, duration_ms, settings.slow_ms, settings.detail, scope.random.random()
        )
        self._take_counts(invocation, facts)
        now = scope.clock()
        invocation.overhead_ns += now - self.encoded_ns + self.carried_ns
        self.carried_ns = 0
        self.encoded_ns = now
        blackbox = self.seam.blackbox
        if settings.emf or blackbox is not None:
            # what is exported has all calls: who exports decides on the share
            lines = self.emf.invocation_lines(invocation, results, facts, detail or not settings.emf)
            if stray_results:
                lines += self.emf.stray_lines(stray_results, scope.wall() // 1_000_000)
            if blackbox is not None:
                drops, self.emf.drops = self.emf.drops, {}  # what is encoded a second time is counted once
                self.export(lines if detail else self.emf.invocation_lines(invocation, results, facts), invocation)
                self.emf.drops = drops
            told = self._told(invocation)
            for line in lines if settings.emf else ():
                self.queue(self.write, line, self.taken, told)
                self.taken = told = None
        self.encode_xray(invocation, results, facts, late, stray_results)
        for encoder in (self.emf, self.xray):
            if encoder is not None and encoder.drops:
                for reason, count in encoder.drops.items():
                    self.buffer.drop(reason, count)
                encoder.drops.clear()
        self._release(invocation, len(results))
        if not settings.emf:
            told = self._told(invocation)
            if told is not None:
                self.unsent.append(told)
        return True

    def export(self, lines: "list[bytes]", invocation: "Invocation") -> None:
        """Queue the lines for the black box."""
        from coldspan.core.links import placed
        from coldspan.drain.blackbox import add

        add(self.exports, placed(lines, invocation), self.buffer.drop)

    def _send_exports(self, blackbox: "BlackBox", invocation: "Invocation", until: int) -> None:
        """Send what is exported, and that the invocation is over: what is left for later is not to be waited for.

        Near its deadline, when what others have left is sent, it still runs: then its end is not told.
        """
        exports, is_over = self.exports, invocation.closed
        if is_over:
            exports.append(blackbox.end(invocation.request_id))
        if self.settings.flush_ns:
            blackbox.send_all(exports, self.scope.clock, until, self.buffer.drop)
        if exports and is_over and not blackbox.send(exports[-1]):
            exports.pop()

    def _told(self, invocation: "Invocation") -> "Callable[[], None] | None":
        """What to do once its record has been sent: the journal need not keep it any longer."""
        journal, serial = self.scope.journal, invocation.serial
        return (lambda: journal.forget(serial)) if serial and journal is not None else None

    def _tell_dead(self, claimed: "Claimed") -> bool:
        from coldspan.drain.dead import tell  # seldom needed

        tell(self, claimed)
        return True

    def _results(self, calls: "Sequence[Call]") -> "list[CallToolResult]":
        """The records of the first calls, as many as there is time for; always some, so that all are told one day."""
        error_text, clock, until = self.settings.error_text, self.scope.clock, self.encode_until
        results = []
        for call in calls:
            results.append(to_result(call, error_text))
            if len(results) % CALLS_AT_ONCE == 0 and clock() >= until:
                break
        return results

    def _release(self, invocation: "Invocation", told: int) -> None:
        """Let go of the calls; one that ended on another thread while they were encoded goes with the next drain."""
        calls, invocation.calls = invocation.calls, []
        for call in calls[told:]:
            call.late = True
            self.buffer.add_stray(call)

    def _take_counts(self, invocation: "Invocation", facts: "dict[str, Any]") -> None:
        """The counts that this record reports; they come back if its line is lost."""
        buffer = self.buffer
        if buffer.errors:
            facts["errors"], buffer.errors = buffer.errors, {}
        if buffer.drops:
            invocation.dropped, buffer.drops = buffer.drops, {}
        self.taken = (invocation.dropped, facts.get("errors"))

    def _lose(self, reason: str, counts: "Counts | None") -> None:
        """Count what is lost; the counts that it was to tell are to be told by another."""
        buffer = self.buffer
        buffer.drop(reason)
        dropped, errors = counts or (None, None)
        for name, count in (dropped or {}).items():
            buffer.drop(name, count)
        for step, count in (errors or {}).items():
            buffer.errors[step] = buffer.errors.get(step, 0) + count

    def _describe_trigger(self, invocation: "Invocation", facts: "dict[str, Any]") -> None:
        described = invocation.trigger
        invocation.trigger = ""
        if described is not None:
            from coldspan.core.trigger import queue_ms

            invocation.trigger, since, count, more = described
            if since is not None:
                invocation.queue_ms = queue_ms(since, invocation.epoch_ns // 1_000_000)
            if count != 1:
                facts["records"] = count
            if more is not None:
                facts.update(more)
                facts.pop("replay", None)

    def _tell_init(
        self, invocation: "Invocation", facts: "dict[str, Any]", init_results: "list[CallToolResult]"
    ) -> None:
        """The start of the environment goes into its first record."""
        self.init_told = True
        seam = self.seam
        from coldspan.core.importtree import summarise

        layers = ("/opt/", os.path.dirname(os.path.dirname(os.path.dirname(__file__))) + "/")
        init = summarise(seam.finder.tree, _origin, os.environ.get("LAMBDA_TASK_ROOT", ""), layers)
        seam.finder.tree = []
        if seam.init_end_ns:
            init["ms"] = round((seam.init_end_ns - process_start_ns()) / 1e6, 3)
            if invocation.start != "provisioned":  # nobody waited for that one
                facts["init_ms"] = init["ms"]
        if seam.boot_ns:
            init["coldspan_ms"] = round(seam.boot_ns / 1e6, 3)
        if seam.restore_ns:
            init["after_restore_ms"] = round(seam.restore_ns / 1e6, 3)
        init["calls"] = init_results
        facts["init"] = init
        if init_results:
            facts["init_calls"] = init_results
            if seam.init_end_ns:
                age_ms = (clock_gettime_ns(CLOCK_BOOTTIME) - process_start_ns()) / 1e6
                facts["init_epoch_ms"] = self.scope.wall() / 1e6 - age_ms

    # -- X-Ray -------------------------------------------------------------------------------------------------------

    def _encode_xray(
        self,
        invocation: "Invocation",
        results: "list[CallToolResult]",
        facts: "dict[str, Any]",
        late: "Sequence[Call]",
        late_results: "list[CallToolResult]",
    ) -> None:
        settings = self.settings
        if settings.xray == "off" or not settings.xray_address:
            return
        trace = invocation.trace
        if not late and (trace is None or not trace.sampled or not trace.parent):
            return
        xray = self.xray_encoder()
        if xray is None:
            return
        texts = self.emf.texts if settings.emf else []
        if settings.xray == "auto" and others_trace():
            results, late, texts = [], (), []
        for datagram in xray.datagrams(invocation, results, facts, texts):
            self.queue(self.send_datagram, datagram)
        for datagram in xray.stray_datagrams(late, late_results) if late else ():
            self.queue(self.send_datagram, datagram)

    def xray_encoder(self) -> "XRayEncoder | None":
        """The encoder, made with the daemon's address when it is first needed; None where there is no such address."""
        settings = self.settings
        if self.xray is None and settings.xray != "off" and settings.xray_address:
            from coldspan.core.xray import XRayEncoder
            from coldspan.drain.daemon import Daemon, parse_address

            if self.daemon is None:
                address = parse_address(settings.xray_address)
                if address is None:
                    settings.xray_address = ""
                    return None
                self.daemon = Daemon(address)
            self.xray = XRayEncoder(settings.function)
        return self.xray

    def _write(self, line: bytes) -> bool:
        """Write to stdout; not while a handler has a file of its own in its place, which must not get our lines."""
        if self.stdout_is_ours is None:
            self.stdout_is_ours = self.seam.stdout in (None, self.seam.stdout_now())
        return self.stdout_is_ours and self.print(line)

    def _send_datagram(self, datagram: bytes) -> bool:
        reason = self.daemon.send(datagram) if self.daemon is not None else "xray_send_failed"
        if reason:
            self.buffer.drop(reason)
        return True

    # -- sending -----------------------------------------------------------------------------------------------------

    def queue(
        self,
        send: "Callable[[bytes], bool | None]",
        data: bytes,
        counts: "Counts | None" = None,
        done: "Callable[[], None] | None" = None,
    ) -> None:
        """Queue a line or datagram: how to send it, the counts that it tells, what to do once it has left."""
        if len(self.pending) >= limits.LINES_WAITING:
            _, _, lost, undone = self.pending.pop(0)
            self._lose("lines_buffer_full", lost)
            if undone is not None:
                undone()
        self.pending.append((send, data, counts, done))

    def _send(self, until: int) -> None:
        pending, clock = self.pending, self.scope.clock
        done = 0
        try:
            for send, data, counts, then in pending:
                # One leaves in every drain, else a small budget would silence us for good; a budget of 0 is meant so.
                if clock() >= until and (done or not self.settings.flush_ns):
                    break
                done += 1  # what raises is lost: sent again, it would raise again
                told = send(data)
                if told is None:
                    self._lose("lines_unsendable", counts)
                elif not told:
                    done -= 1
                    break
                if then is not None:
                    then()
        finally:
            del pending[:done]


def _origin(name: str) -> "str | None":
    """The file a module was loaded from; a lazy module is not to be loaded by the question."""
    module = modules.get(name)
    if module is None:
        return None
    spec = object.__getattribute__(module, "__spec__") if isinstance(module, ModuleType) else None
    return getattr(spec, "origin", None)


def process_start_ns() -> int:
    """When this process started, in ns of CLOCK_BOOTTIME; the kernel tells it to 10 ms. Source: proc(5), field 22."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[19]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
