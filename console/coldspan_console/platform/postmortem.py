"""What a killed environment's journals say: told by the platform itself, which knows how it ended."""

import time
from typing import TYPE_CHECKING

from coldspan.core.emf import EmfEncoder
from coldspan.core.journal import read
from coldspan.core.killed import Evidence, post_mortem
from coldspan.drain.claims import claim, current_boot_id

if TYPE_CHECKING:
    from pathlib import Path

    from coldspan_console.platform.function import Function


def tell(
    function: "Function", folder: "Path", reason: str, error_type: str = "", request_id: str = ""
) -> "list[bytes]":
    """Claim the journals of dead processes in a folder; give their lines of embedded metric format.

    Takes: why the environment ended ("timeout", "failure", "spindown") and the platform's word for it. A journal that a
    process still holds, or that somebody else has claimed, is left alone; so nothing is told twice.
    """
    if not folder.is_dir():
        return []
    namespace = function.environment.get("COLDSPAN_NAMESPACE", "coldspan")
    encoder = EmfEncoder(namespace, function.name, ())
    facts = {"function_version": function.version, "memory_mb": function.memory_mb, "told_by": "platform"}
    evidence = Evidence(time.monotonic_ns(), at_once=True, reason=reason, error_type=error_type, request_id=request_id)
    lines: list[bytes] = []
    for claimed in claim(str(folder), current_boot_id(), 16):
        dead = read(claimed.data())
        for invocation, results, found in post_mortem(dead, evidence) if dead is not None else ():
            lines += encoder.invocation_lines(invocation, results, {**facts, **found})
        claimed.forget()
    return lines
