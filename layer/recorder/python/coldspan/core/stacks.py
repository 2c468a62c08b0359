"""The stacks of a process as text, for a journal that may be torn, and back from text.

A line `# name` for each thread or task, then a line `file:line function` for each of its frames, the innermost (the
most recent call) first, and `...` where frames are left out. Every line ends with a newline: a last line without one
is torn, and what follows a NUL byte was never written. Also reads what faulthandler writes, of Python 3.11 to 3.14.
"""

from coldspan.core import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    Stack = tuple[str, list[str]]

LEFT_OUT = "..."
_LAYER = "/opt/python/coldspan/"  # a wrapper of ours is not what a thread is in
COLLECTING = "Garbage-collecting"  # faulthandler's word for a thread in the middle of a collection
_FILE = '  File "'
_LINE = '", line '


def frame_text(file: str, line: "int | None", function: str) -> str:
    """One frame as `file:line function`; of a long path the end, which tells more."""
    if len(file) > limits.STACK_FILE_CHARS:
        file = LEFT_OUT + file[-limits.STACK_FILE_CHARS :]
    return f"{file}:{line or 0} {function[: limits.STACK_NAME_CHARS]}"


def write(stacks: "Iterable[Stack]") -> bytes:
    """Encode (name, frames) pairs. What does not fit into STACK_BYTES is left out at the end."""
    lines: "list[bytes]" = []
    room = limits.STACK_BYTES
    for name, frames in stacks:
        for text in ("# " + _one_line(name)[: limits.STACK_NAME_CHARS], *[_unlike_a_name(frame) for frame in frames]):
            line = text.encode("utf-8", "replace") + b"\n"
            room -= len(line)
            if room < 0:
                return b"".join(lines)
            lines.append(line)
    return b"".join(lines)


def parse(data: bytes) -> "list[dict[str, Any]]":
    """Give what `write` wrote as [{"thread": name, "frames": [text, ...]}]; what is no frame is left out."""
    stacks: "list[dict[str, Any]]" = []
    for line in _whole_lines(data):
        if line.startswith("# "):
            stacks.append({"thread": line[2:], "frames": []})
        elif stacks and (line == LEFT_OUT or _is_frame(line)):
            stacks[-1]["frames"].append(line)
    return stacks


def parse_fault(data: bytes, names: "Mapping[int, str]" = {}) -> "list[dict[str, Any]]":  # noqa: B006  # only read
    """Give what `faulthandler.dump_traceback_later` wrote, in the same shape.

    It knows threads by number: `names` maps the ident of those that are known to a name. Python 3.14 writes the name
    that the system has for a thread. A thread of ours is left out.
    """
    stacks: "list[dict[str, Any]]" = []
    for line in _whole_lines(data):
        if line.startswith(("Thread 0x", "Current thread 0x")) and line.endswith("(most recent call first):"):
            stacks.append({"thread": _thread_name(line, names), "frames": []})
        elif line.startswith("Current thread's C stack"):
            break  # frames of C: ours are Python's
        elif stacks and line.startswith("  "):
            frame = _fault_frame(line)
            if frame:
                stacks[-1]["frames"].append(frame)
    found = [stack for stack in stacks if not _is_ours(stack["frames"])]
    for stack in found:
        stack["frames"] = [frame for frame in stack["frames"] if not frame.startswith(_LAYER)]
    return found


def _whole_lines(data: bytes) -> "list[str]":
    text = data.partition(b"\0")[0].decode("utf-8", "replace")
    return text.split("\n")[:-1]


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join([c if c.isprintable() else "?" for c in text])


def _unlike_a_name(frame: str) -> str:
    frame = _one_line(frame)
    return "?" + frame[1:] if frame.startswith("#") else frame


def _is_frame(line: str) -> bool:
    number, blank, function = line.rpartition(":")[2].partition(" ")
    return number.isdigit() and bool(blank and function)


def _thread_name(line: str, names: "Mapping[int, str]") -> str:
    number, _, rest = line.partition("0x")[2].partition(" ")
    name, bracket, _ = rest.removeprefix("[").rpartition("]") if rest.startswith("[") else ("", "", "")
    try:
        known = names.get(int(number, 16), "")
    except ValueError:
        known = ""
    return known or (name if bracket and name else "0x" + number)


def _fault_frame(line: str) -> str:
    if line == "  " + LEFT_OUT:
        return LEFT_OUT
    if line == "  " + COLLECTING:
        return COLLECTING
    file, marked, rest = line.removeprefix(_FILE).rpartition(_LINE)
    number, blank, function = rest.partition(" in ")
    if not line.startswith(_FILE) or not marked or not blank or not function:
        return ""
    return frame_text(file, int(number) if number.isdigit() else 0, function)


def _is_ours(frames: "list[str]") -> bool:
    # the outermost is the guard around it
    return any(["/coldspan/hot/watcher.py:" in frame for frame in frames[-2:]])
