"""The X-Ray trace header, and ids."""


class TraceHeader:
    """`Root=1-5759e988-bd86...;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=...` taken apart.

    `root` is as in the header, `parent` 16 hex digits or "", `sampled` True only for Sampled=1 (a missing or `?` value
    is not sampled), `trace_id` the 32 hex digits of the root, `rest` whatever else the header carried, kept for
    forwarding. Source: X-Ray developer guide, "Tracing header".
    """

    __slots__ = ("flag", "parent", "rest", "root", "sampled", "trace_id")

    def __init__(self, root: str, parent: str, flag: str, rest: "list[str]") -> None:
        self.root = root
        self.parent = parent
        self.flag = flag
        self.sampled = flag == "1"
        self.rest = rest
        self.trace_id = root[2:10] + root[11:]


def parse(header: "str | None") -> "TraceHeader | None":
    """Give the TraceHeader of a header's text, or None when it names no well-formed root."""
    if not header:
        return None
    # What Lambda itself sends has one shape; taking it by position costs a tenth of taking it apart.
    if (
        len(header) == 74
        and header.startswith("Root=1-")
        and header[40:48] == ";Parent="
        and header[64:73] == ";Sampled="
        and header[15] == "-"
        and _is_hex(header[7:15] + header[16:40] + header[48:64], 48)
    ):
        return TraceHeader(header[5:40], header[48:64].lower(), header[73], [])
    root = parent = flag = ""
    rest = []
    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        low = key.lower()
        if low == "root":
            root = value
        elif low == "parent":
            parent = value
        elif low == "sampled":
            flag = value
        elif low != "self" and part.strip():
            rest.append(part.strip())
    if not _is_root(root):
        return None
    return TraceHeader(root, parent.lower() if _is_hex(parent, 16) else "", flag, rest)


def _is_root(text: str) -> bool:
    return (
        len(text) == 35 and text[:2] == "1-" and text[10] == "-" and _is_hex(text[2:10], 8) and _is_hex(text[11:], 24)
    )


def _is_hex(text: str, length: int) -> bool:
    if len(text) != length or not text.isalnum():  # fromhex() passes over blanks
        return False
    try:
        bytes.fromhex(text)
    except ValueError:
        return False
    return text.isascii()


def xray_header(trace: TraceHeader, span_id: int) -> str:
    """The header to send downstream: our span as Parent, every unknown part kept."""
    parts = ["Root=" + trace.root, "Parent=%016x" % span_id]
    if trace.flag:
        parts.append("Sampled=" + trace.flag)
    return ";".join(parts + trace.rest)


def traceparent(trace: TraceHeader, span_id: int) -> str:
    """The W3C header (Trace Context level 1, version 00) for the same position in the trace."""
    return "00-%s-%016x-%s" % (trace.trace_id, span_id, "01" if trace.sampled else "00")
