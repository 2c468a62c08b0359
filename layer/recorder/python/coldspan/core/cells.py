"""The layout of a journal file, version 1: what the writer and the reader must agree on.

    0      header: one line of text, see `boot.journals`; a file without it is not looked at
    512    two words: when the process was last seen alive (CLOCK_MONOTONIC ns) and its resident memory then (bytes)
    1024   SLOTS cells of SLOT_BYTES: an invocation each, from its beginning until its record has been sent
    9216   cells of CELL_BYTES, used in turn: a call each, written when it begins and again when it ends
    -24 K  the stacks of all threads, taken shortly before the deadline
    -8 K   what faulthandler writes by itself; it may run over the end

A word has 8 bytes, in the machine's own order. A cell is a commit word, which has its number, further words, and text:
fields with tabs between them and a newline. The commit word is zeroed before anything else changes and written last,
so a cell that a kill has torn has none; what is added to a cell later has a word of its own that is written last.
Numbers stand as words because a word costs a quarter of what formatting does, and names as text and not as marshal
because a foreign file cannot harm the one who reads it (docs/decisions/0006-the-journal.md).
"""

MAGIC = "coldspan-journal/1"
HEADER_BYTES = 512
WORD = 8
LENGTH_BITS = 16  # of a word that has a length below, or a count
LENGTH = (1 << LENGTH_BITS) - 1
ALIVE, RSS = 512, 520
AGAIN = 528  # how many cells are a second one of their call, or were passed over

# An invocation. Words:
#   0-5   commit (serial and length of the text), calls begun before it, epoch ns, start ns, deadline ms, span id
#   6     serial again, once it is known what started it
#   7-10  how it ended: serial and length of that text, end ns, 1 + the response's bytes, calls begun until then
# Text: how the environment was started, request id, tenant, trace header. Two more: what started it; outcome and error
# type, none when it ended well.
SLOTS_AT, SLOTS, SLOT_BYTES = 1_024, 8, 1_024
SLOT_WORDS, SLOT_FIELDS, ENDED_FIELDS = 11, 4, 2
SLOT_TEXT, TRIGGER, ENDED = SLOT_WORDS * WORD, 800, 832
TRIGGER_BYTES = ENDED - TRIGGER

# A call. Words: commit (its number), its invocation's serial, span id, parent's span id, start ns (a few us before that
# of its record), end ns (0 while it is open, written last), HTTP status, and what more there is: length of the second
# text, HAS_COUNTS; with that: retries, throttles, 1 + items, 1 + items failed. Text: kind, tool, operation, zeros; and
# when it has failed: cause, error type.
RING_AT, CELL_BYTES = SLOTS_AT + SLOTS * SLOT_BYTES, 320
CELL_WORDS, CELL_FIELDS, FAILED, FAILED_FIELDS = 12, 3, 240, 2
CELL_TEXT, CELL_TEXT_BYTES = CELL_WORDS * WORD, 136
HAS_COUNTS = 1 << LENGTH_BITS

STACKS_BYTES = 16_384
FAULT_BYTES = 8_192
LEAST_BYTES = 65_536
NAME_CHARS = 64  # of a tool, an operation or an error type
SUFFIX, CLAIMED, NEW = ".journal", ".claimed", ".new"


def cells_of(size: int) -> int:
    """How many calls a file of this size has room for."""
    return (size - RING_AT - STACKS_BYTES - FAULT_BYTES) // CELL_BYTES
