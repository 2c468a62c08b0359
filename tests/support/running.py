"""What a test wants to know of a function that ran on the local platform."""

import re

from coldspan_console.platform.output import is_document
from coldspan_console.platform.server import ANSWER, REQUEST

ADDRESS = re.compile(rb"\bat 0x[0-9a-f]+")  # what repr() adds to an object without a name
MOMENT = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z|\[\d{13}\]")  # of the runtime's own log lines


def normalised(data, platform):
    """Bytes without what differs between two runs: the platform's port and objects' addresses."""
    port = platform.server.address.encode()
    return ADDRESS.sub(b"at 0x0", data.replace(port, b"platform"))


def posted(platform):
    """Every request that tells something, as (method, path, headers, body), comparable between runs."""
    return [
        (
            exchange.method,
            exchange.path,
            [(name, normalised(value.encode(), platform)) for name, value in exchange.headers if not measures(name)],
            normalised(exchange.body, platform),
        )
        for exchange in platform.posts
    ]


def measures(name):
    """Whether a header is a length: it follows from the body, in which an address may be a digit longer."""
    return name.lower() == "content-length"


def printed(platform):
    """The function's and the runtime's own lines on stdout, without EMF documents and moments."""
    return [MOMENT.sub(b"now", normalised(line, platform)) for line in platform.lines if not is_document(line)]


def complained(platform):
    """The lines on stderr."""
    return [MOMENT.sub(b"now", normalised(entry.item, platform)) for entry in platform.ledger.entries("stderr")]


def framed(platform):
    """The frames of the runtime's own log, as (type, message)."""
    frames = [entry.item for entry in platform.ledger.entries("frame")]
    return [(kind, MOMENT.sub(b"now", normalised(message, platform))) for kind, message in frames]


def invocation_documents(platform):
    """The EMF documents that stand for a whole invocation, in order."""
    return [document for document in platform.documents if "Duration" in document and "tool" not in document]


def call_documents(platform):
    """The EMF documents of a (tool, operation)."""
    return [document for document in platform.documents if "tool" in document]


def steps(platform):
    """What happened, in order, as short words.

    `next`, `response`, `error`, `init error`, `document`, `datagram` and `line` are the function's doing; `given` and
    `accepted` are the platform's answers.
    """
    words = []
    for entry in platform.ledger.entries():
        if entry.kind == REQUEST:
            words.append(_last(entry.item.path))
        elif entry.kind == ANSWER:
            words.append("given" if entry.item.path.endswith("/next") else "accepted")
        elif entry.kind == "stdout":
            words.append("document" if is_document(entry.item) else "line")
        else:
            words.append(entry.kind)
    return words


def _last(path):
    return "init error" if path.endswith("/init/error") else path.rsplit("/", 1)[1]
