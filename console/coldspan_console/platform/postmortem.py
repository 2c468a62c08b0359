"""What a killed environment's journals say: told by the platform itself, which knows how it ended."""

import time
from typing import TYPE_CHECKING

from coldspan.core.emf import EmfEncoder
from coldspan.core.journal import read
from coldspan.core.killed import Evidence, post_mortem

if TYPE_CHECKING:
    from pathlib import Path

    from coldspan_console.platform.function import Function

JOURNALS = "*.journal"  # one that the black box, or the next init, tells of has another name


def tell(
    function: "Function", folder: "Path", reason: str, error_type: str = "", request_id: str = ""
) -> "list[bytes]":
    """Take the journals in the folder of an environment whose processes have ended; give their lines.

    Takes: why it ended ("timeout", "failure", "spindown") and the platform's word for it. Gives: lines of embedded
    metric format. The journals are gone then, so nothing is told twice.
    """
    namespace = function.environment.get("COLDSPAN_NAMESPACE", "coldspan")
    encoder = EmfEncoder(namespace, function.name, ())
    facts = {"function_version": function.version, "memory_mb": function.memory_mb, "told_by": "platform"}
    evidence = Evidence(time.monotonic_ns(), at_once=True, reason=reason, error_type=error_type, request_id=request_id)
    lines: list[bytes] = []
    for journal in sorted(folder.glob(JOURNALS)):
        dead = read(journal.read_bytes())
        journal.unlink()
        for invocation, results, found in post_mortem(dead, evidence) if dead is not None else ():
            lines += encoder.invocation_lines(invocation, results, {**facts, **found})
    return lines
