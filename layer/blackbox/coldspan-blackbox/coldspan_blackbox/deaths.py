"""Processes of the function that have died without telling: found by their journals, told at once."""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan_blackbox.counts import Counts
    from coldspan_blackbox.lines import Lines
    from coldspan_blackbox.platformfacts import PlatformFacts
    from coldspan_blackbox.settings import Settings

SUFFIX = ".journal"
CLAIMED = ".claimed"  # by somebody who was killed before it was told
REMEMBERED = 256  # requests that were told: the platform's word about one may come later
AT_ONCE, ROUNDS = 16, 8  # a Managed Instance has up to 64 workers


class Deaths:
    """Watches the journals' folder. Whoever claims a journal tells it: this process, or the function's next init."""

    __slots__ = ("_boot_id", "_counts", "_encoder", "_folder", "_is_left", "_lines", "_platform", "_settings", "_told")

    def __init__(self, settings: "Settings", lines: "Lines", platform: "PlatformFacts", counts: "Counts") -> None:
        self._settings = settings
        self._folder = settings.journal_folder
        self._lines = lines
        self._platform = platform
        self._counts = counts
        self._boot_id = ""
        self._is_left = False  # the journal that is being told: nobody read what was written
        self._told: "list[str]" = []  # request ids
        self._encoder: "Any" = None

    def pids(self) -> "list[int]":
        """Processes that have a journal here, by the files' names."""
        names = self._names()
        pids = [name.partition("-")[0] for name in names if name.endswith(SUFFIX)]
        return [int(pid) for pid in pids if pid.isdecimal() and len(pid) < 10]

    def alive(self) -> bool:
        """Whether a journal is still held by its owner: a zombie holds none, a process of another namespace does."""
        from fcntl import LOCK_NB, LOCK_SH, flock

        for name in self._names():
            if not name.endswith(SUFFIX):
                continue
            try:
                descriptor = posix.open(self._folder + "/" + name, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
            except OSError:
                continue
            try:
                flock(descriptor, LOCK_SH | LOCK_NB)
            except OSError:
                return True
            finally:
                posix.close(descriptor)
        return False

    def tell(self, died_ns: int = 0, reason: str = "", more: "dict[str, Any] | None" = None) -> int:
        """Claim what dead processes have left, and tell it; how many invocations that were.

        `died_ns`: when they are known to have been dead (CLOCK_MONOTONIC), if they have just died; `reason` is the
        shutdown's, "" without one; `more` are further facts for each record.
        """
        if not any(name.endswith((SUFFIX, CLAIMED)) for name in self._names()):
            return 0
        from coldspan.drain.claims import claim, current_boot_id

        self._boot_id = self._boot_id or current_boot_id()
        told = 0
        for _ in range(ROUNDS):
            found = claim(self._folder, self._boot_id, AT_ONCE)
            for claimed in found:
                self._is_left = False
                done = self._counts.attempt("post_mortem", self._tell, claimed, died_ns, reason, more or {})
                if done is None:  # left as it is, it would be tried again by every init to come
                    self._counts.refuse("journal_untold")
                told += done or 0
                self._counts.attempt("forget", claimed.close if self._is_left else claimed.forget)
            if len(found) < AT_ONCE:
                break
        return told

    def tell_unrecorded(self, more: "dict[str, Any] | None" = None) -> int:
        """Tell of invocations that the platform says were killed and that no journal has told; how many they were."""
        died = [each for each in self._platform.requests.values() if each.died and not each.recorded]
        left = [each for each in died if each.request_id not in self._told]
        for request in left:
            from time import time_ns

            from coldspan_blackbox.unrecorded import facts_of, invocation_of

            request.recorded = True
            made = invocation_of(request, time_ns() // 1_000_000)
            lines = self._emf().invocation_lines(made, [], {**self._facts(), **facts_of(request), **(more or {})})
            for line in lines:
                self._lines.put(line)
        return len(left)

    def _names(self) -> "list[str]":
        try:
            return posix.listdir(self._folder)
        except OSError:
            return []

    def _tell(self, claimed: "Any", died_ns: int, reason: str, more: "dict[str, Any]") -> int:
        from time import monotonic_ns

        from coldspan.core.journal import read
        from coldspan.core.killed import Evidence, is_without_trace, post_mortem
        from coldspan.core.links import placed
        from coldspan.drain.claims import watch_closely

        dead = read(claimed.data())
        if dead is None:
            self._counts.refuse("journal_unreadable")
            return 0
        requests = self._platform.requests
        for known in requests.values():  # what stands there and is not live any more was told by the process itself
            known.recorded = known.recorded or (known.died and _stands_in(claimed, known.request_id))
        for each in dead.invocations:
            _believe(requests.get(each.invocation.request_id), each.invocation)
        ids = [each.invocation.request_id for each in dead.invocations]
        about = next((requests[each] for each in ids if each in requests and requests[each].failed), None)
        timed_out = about is not None and about.facts.get("status") == "timeout"
        duration_ms = about.facts.get("duration_ms", 0) if about else 0
        if about and duration_ms:  # more exact than the moment at which it was noticed
            start_ns = dead.invocations[ids.index(about.request_id)].invocation.start_ns
            died_ns = min(died_ns or monotonic_ns(), start_ns + int(duration_ms * 1e6))
        evidence = Evidence(
            died_ns or monotonic_ns(),
            at_once=bool(died_ns),
            reason="timeout" if timed_out else reason,
            error_type=_death(about.facts.get("error_type", "")) if about else "",
            signal=about.signal if about else 0,
            max_memory_mb=int(about.facts.get("max_memory_used_mb", 0)) if about else 0,
            request_id=about.request_id if about else "",
        )
        encoder = self._emf()
        told = post_mortem(dead, evidence)
        for invocation, results, found in told:
            facts = {**self._facts(), **found, **more, "told_by": "black_box"}
            request = requests.get(invocation.request_id)
            if request is not None and request.facts:
                facts["platform"] = dict(request.facts)
            own, *others = encoder.invocation_lines(invocation, results, facts)
            if not self._lines.put(own, b"".join(placed([own], invocation)), again=True):
                self._is_left = True  # for the next hunt, or the next init
                break
            self._told = [*self._told[1 - REMEMBERED :], invocation.request_id]
            claimed.told(invocation.serial)  # at once: whoever claims it after our own end is not to tell it again
            for line in others:
                self._lines.put(line)
            if is_without_trace(invocation.outcome, found):
                watch_closely(self._folder)
        for name, count in encoder.drops.items():
            self._counts.refusals[name] = self._counts.refusals.get(name, 0) + count
        encoder.drops.clear()
        return 0 if self._is_left else len(told)

    def _facts(self) -> "dict[str, Any]":
        """What the recorder says of the function in each record."""
        return {"function_version": self._settings.version, "memory_mb": self._settings.memory_mb}

    def _emf(self) -> "Any":
        if self._encoder is None:
            from coldspan.core.emf import EmfEncoder

            settings = self._settings
            self._encoder = EmfEncoder(settings.namespace, settings.function, settings.tools)
        return self._encoder


def _stands_in(claimed: "Any", request_id: str) -> bool:
    return request_id.encode() in claimed.data()


def _death(error_type: str) -> str:
    """The platform's word for how a process died; a handler's own error is none."""
    return error_type if error_type.startswith(("Runtime.", "Sandbox.", "Extension.", "Function.")) else ""


def _believe(request: "Any", invocation: "Any") -> None:
    """An invocation that the platform calls a success ended well, though its process died before it could write so."""
    if request is not None and not invocation.outcome and request.facts.get("status") == "success":
        invocation.outcome = "ok"
        invocation.end_ns = invocation.start_ns + int(request.facts.get("duration_ms", 0) * 1e6)
