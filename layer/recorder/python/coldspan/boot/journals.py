"""Opens this process's journal and claims those of killed processes, once, when the environment has started."""

import os
from time import monotonic_ns

from coldspan.core.buffer import raised_by_signal
from coldspan.core.cells import SUFFIX

ENDED_CALLS = 32  # of an invocation that go into the next journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coldspan.boot.seam import Seam
    from coldspan.boot.settings import Settings
    from coldspan.core.record import Invocation
    from coldspan.drain.claims import Claimed
    from coldspan.hot.journal import Journal
    from coldspan.hot.scope import Scope


def begin(seam: "Seam") -> None:
    """Open the environment's journal, or another when the last one has been deleted; greet the black box."""
    settings, scope = seam.settings, seam.scope
    lost = scope.journal
    if lost is not None:
        if not _is_my_turn(lost):
            return  # the watcher is about to
        scope.journal = None
        lost.remove()
    if settings.export and seam.blackbox is None:
        from coldspan.drain.blackbox import BlackBox

        seam.blackbox = BlackBox(settings.runtime_api)
        seam.blackbox.greet()  # where nobody is, nothing is lost
    if settings.journal_bytes:
        dead, scope.journal, seam.closely = open_journal(settings, scope, 0 if lost is None else lost.serial)
        seam.dead += dead
    if seam.watcher is not None:
        seam.watcher.journal = scope.journal


def again(seam: "Seam") -> None:
    """Open another while an invocation runs, on the watcher's thread: a function that empties /tmp may yet be killed.

    Not while the folder is there, for whoever deletes its files may be about to delete it, and would find it full.
    """
    scope, watcher = seam.scope, seam.watcher
    lost = scope.journal
    if lost is None or not lost.lost or os.path.lexists(seam.settings.journal_dir) or not _is_my_turn(lost):
        return
    _, made, _ = open_journal(seam.settings, scope, lost.serial)
    running = list(seam.live_by_id.values())
    if made is not None:
        for invocation in running:
            made.begin(invocation)
    scope.journal = made
    if watcher is not None:
        watcher.journal, watcher.replaced = made, lost
    if made is not None:
        for invocation in running:
            _go_on(made, invocation)


def _go_on(journal: "Journal", invocation: "Invocation") -> None:
    """Write what has happened in an invocation until now. What its own threads write meanwhile may be there twice."""
    if invocation.trigger:
        journal.describe(invocation, invocation.trigger)
    journal.calls += max(0, len(invocation.calls) - ENDED_CALLS)
    for call in (*invocation.calls[-ENDED_CALLS:], *invocation.open.copy().values()):
        journal.call_begun(call)
        if call.end_ns:
            journal.call_ended(call)


def _is_my_turn(lost: "Journal") -> bool:
    try:
        return lost.turn.pop()
    except IndexError:
        return False


def open_journal(settings: "Settings", scope: "Scope", serial: int = 0) -> "tuple[list[Claimed], Journal | None, bool]":
    """Give the claimed journals, a new one, and whether to watch closely; None, and a count, where there can be none.

    The drops: `journal_unavailable` (/tmp is full or read-only, or this Python has no mmap), `journal_folder_refused`
    (the folder is not ours), `journals_deleted` (more dead processes than there is room for).
    """
    drop = scope.buffer.drop
    dead: "list[Claimed]" = []
    closely = False
    try:
        from coldspan.hot.journal import Journal

        folder = settings.journal_dir
        boot_id = _boot_id()
        try:
            os.mkdir(folder, 0o700)
            os.chmod(folder, 0o700)  # whatever the umask
        except FileExistsError:
            status = os.lstat(folder)
            if status.st_mode & 0o170022 != 0o040000 or status.st_uid not in (os.geteuid(), 0):
                drop("journal_folder_refused")  # a link, or somebody else may write there
                return [], None, False
            from coldspan.drain import claims  # in a new environment there is nothing to claim

            closely = claims.is_watched_closely(folder)
            dead = claims.claim(folder, boot_id)
            if len(dead) == claims.AT_ONCE:
                deleted = claims.thin(folder)
                if deleted:
                    drop("journals_deleted", deleted)
        path = "%s/%d-%08x%s" % (folder, os.getpid(), scope.random.getrandbits(32), SUFFIX)
        head = (boot_id, str(os.getpid()), settings.function, str(settings.memory_mb), str(monotonic_ns()))
        return dead, Journal(path, settings.journal_bytes, head, scope.buffer.shielded, serial), closely
    except (OSError, ValueError, ImportError) as error:
        if raised_by_signal(error):  # a time limit of the customer's, which may be an OSError too
            raise
        drop("journal_unavailable")
        return dead, None, closely


def _boot_id() -> str:
    """Which boot of the machine this is; "" where nobody says so. As in drain.claims, which would cost a module."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().decode().strip()
    except OSError as error:
        if raised_by_signal(error):
            raise
        return ""
