"""Opens this process's journal and claims those of killed processes, once, when the environment has started."""

import os
from time import monotonic_ns

from coldspan.core.cells import SUFFIX
from coldspan.drain.claims import claim, current_boot_id
from coldspan.hot.journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coldspan.boot.seam import Seam
    from coldspan.boot.settings import Settings
    from coldspan.drain.claims import Claimed
    from coldspan.hot.scope import Scope


def begin(seam: "Seam") -> None:
    """Open the environment's journal, or another when the last one has been deleted; greet the black box."""
    settings, scope = seam.settings, seam.scope
    lost, scope.journal = scope.journal, None
    if lost is not None:
        lost.drop()
    if settings.export and seam.blackbox is None:
        from coldspan.drain.blackbox import BlackBox

        seam.blackbox = BlackBox(settings.runtime_api)
        seam.blackbox.greet()  # where nobody is, nothing is lost
    if settings.journal_bytes:
        dead, scope.journal = open_journal(settings, scope)
        seam.dead += dead
    if seam.watcher is not None:
        seam.watcher.journal = scope.journal


def open_journal(settings: "Settings", scope: "Scope") -> "tuple[list[Claimed], Journal | None]":
    """Give the claimed journals and a new one; None, and a count, where there can be none: /tmp full or read-only.

    The drops: `journal_unavailable` (the folder or the file cannot be made), `journal_folder_refused` (it is not ours).
    """
    folder = settings.journal_dir
    boot_id = current_boot_id()
    try:
        os.mkdir(folder, 0o700)
        dead = []
    except FileExistsError:
        status = os.lstat(folder)
        if status.st_mode & 0o170022 != 0o040000 or status.st_uid not in (os.geteuid(), 0):
            scope.buffer.drop("journal_folder_refused")  # a link, or somebody else may write there
            return [], None
        dead = claim(folder, boot_id)
    except OSError:
        scope.buffer.drop("journal_unavailable")
        return [], None
    path = "%s/%d-%08x%s" % (folder, os.getpid(), scope.random.getrandbits(32), SUFFIX)
    head = (boot_id, str(os.getpid()), settings.function, str(settings.memory_mb), str(monotonic_ns()))
    try:
        return dead, Journal(path, settings.journal_bytes, head)
    except (OSError, ValueError):
        scope.buffer.drop("journal_unavailable")
        return dead, None
