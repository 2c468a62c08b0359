"""The layout of a journal file, version 1: what the writer and the reader must agree on.

    0      header: one line of text, see `boot.journals`; a file without it is not looked at
    512    two words: when the process was last seen alive (CLOCK_MONOTONIC ns) and its resident memory then (bytes)
    1024   SLOTS cells of SLOT_BYTES: an invocation each, from its beginning until its record has been sent
    9216   cells of CELL_BYTES, used in turn: a call each, written when it begins and again when it ends
    -24 K  the stacks of all threads, taken shortly before the deadline
    -8 K   what faulthandler writes by itself; it may run over the end

A word has 8 bytes, in the machine's own order. A cell is a commit word (its number above 16 bits for the length of its
text), words, and text: fields with tabs between them and a newline. The commit word is zeroed before anything else
changes and written last, so a cell that a kill has torn has none; what is added to a cell later has a word of its own
that is written last. Numbers stand as words because a word costs a quarter of what formatting does, and names as text
and not as marshal because a foreign file cannot harm the one who reads it (docs/decisions/0006-the-journal.md).
"""

MAGIC = "coldspan-journal/1"
HEADER_BYTES = 512
WORD = 8
LENGTH_BITS = 16
ALIVE, RSS = 512, 520

# An invocation. Words: commit, epoch ns, start ns, deadline ms, span id; text: how the environment was started, request
# id, function's ARN, tenant, trace header.
SLOTS_AT, SLOTS, SLOT_BYTES = 1_024, 8, 1_024
SLOT_TEXT, SLOT_FIELDS = 40, 5
TRIGGER, TRIGGER_BYTES = 800, 32  # what started it, known a little later
# How it ended, as a cell within the slot. Words: commit, end ns, 1 + the response's bytes, its calls; text: outcome,
# error type.
ENDED, ENDED_WORDS, ENDED_FIELDS = 832, 4, 2
ENDED_TEXT = ENDED_WORDS * WORD

# A call. Words: commit, its invocation's serial above 16 bits for how many calls that had by then, span id, parent's
# span id, start ns, end ns (0 while it is open, written last), HTTP status, retries, throttles, 1 + items, 1 + items
# failed, length of the second text; text: kind, tool, operation; and when it has failed: cause, error type.
RING_AT, CELL_BYTES = SLOTS_AT + SLOTS * SLOT_BYTES, 320
CELL_WORDS, CELL_FIELDS, FAILED, FAILED_FIELDS = 12, 3, 240, 2
CELL_TEXT = CELL_WORDS * WORD

STACKS_BYTES = 16_384
FAULT_BYTES = 8_192
LEAST_BYTES = 65_536
NAME_CHARS = 64  # of a tool, an operation or an error type
SUFFIX, CLAIMED, NEW = ".journal", ".claimed", ".new"


def cells_of(size: int) -> int:
    """How many calls a file of this size has room for."""
    return (size - RING_AT - STACKS_BYTES - FAULT_BYTES) // CELL_BYTES
