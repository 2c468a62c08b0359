"""What stays behind: nothing of the customer's after an invocation, nothing of ours after thousands."""

import gc
import http.client
import json
import weakref

import botocore.client
import pytest

import coldspan
from coldspan.core.buffer import Buffer
from coldspan.hot import botocore as botocore_hook
from coldspan.hot import http_client as http_hook
from coldspan.hot import scope as scope_module
from support.faults import Aws
from support.runtime_loop import Recorder, Runtime, request
from support.servers import Stub

MANY = """
import gc, tracemalloc, threading
import botocore.client
from support.faults import Aws
aws = Aws()

@coldspan.tool("marked")
def marked():
    return 1

@coldspan.tool("marked", "numbers")
def numbers():
    yield 1
    yield 2

counter = 0

def handler(event, context):
    global counter
    counter += 1
    with coldspan.call("pricing", "quote", items=1, payload={"n": 1}):
        marked()
    list(numbers())
    coldspan.annotate(customer="c%d" % counter)
    coldspan.metric("orders", counter, "Count")
    if counter % 10 == 0:
        aws.client.list_tables()
    if counter % 50 == 0:
        thread = threading.Thread(target=marked)
        thread.start()
        thread.join()
    if counter % 100 == 0:
        generator = numbers()
        next(generator)
        raise ValueError("no")
    return {"n": counter}

def many(count):
    for _ in range(count):
        invoke(handler)
        runtime.posted.clear()
        runtime.returned.clear()
        runtime.raised.clear()

def held():
    gc.collect()  # ends generators that hung in cycles: their calls go with the next drain
    invoke(lambda event, context: 1)
    runtime.posted.clear()
    runtime.returned.clear()
    gc.collect()
    # the fewest of some looks: while it reads how much memory is held, the watcher's thread has one descriptor more
    files = min(len(os.listdir("/proc/self/fd")) for _ in range(50))
    return len(gc.get_objects()), tracemalloc.get_traced_memory()[0], files

sink = os.open("/dev/null", os.O_WRONLY)
stdout = os.dup(1)
os.dup2(sink, 1)
tracemalloc.start()
many(500)
first = held()
many(5_000)
second = held()
os.dup2(stdout, 1)
buffer = start.seam.buffer if start.seam is not None else None
print(json.dumps({
    "objects": second[0] - first[0],
    "bytes": second[1] - first[1],
    "files": second[2] - first[2],
    "threads": threading.active_count(),
    "ours": sum(type(thing).__name__ in ("Call", "Invocation", "CallToolResult") for thing in gc.get_objects()),
    "counted": [buffer.errors, buffer.drops] if buffer else None,
}))
"""


def test_five_thousand_invocations_leave_nothing_behind_promise_2(program):
    """No object, memory, descriptor or thread more than after five hundred, beyond what the libraries leave."""
    recorded, bare = (
        json.loads(program(MANY, AWS_XRAY_DAEMON_ADDRESS="127.0.0.1:9", COLDSPAN_ENABLED=switch).lines[-1])
        for switch in ("true", "false")
    )
    assert recorded["counted"] == [{}, {}]
    assert (recorded["files"], recorded["threads"]) == (0, 1)
    assert recorded["ours"] < 10
    assert recorded["objects"] - bare["objects"] < 100  # one object in fifty invocations would show
    assert recorded["bytes"] - bare["bytes"] < 5_000 * 4  # one pointer in two invocations would show


# --- references -----------------------------------------------------------------------------------------------------


class Event(dict):
    """An event that can be watched; otherwise a dict."""


class Answer(dict):
    """A result that can be watched."""


class Own(Exception):
    """An exception of the customer's."""


class Body(bytearray):
    """A payload that can be watched."""


class Marker:
    """Stands in a frame: as long as it lives, the frame does."""


class Watch:
    """Weak references by name; `alive` are the names of those that can still be reached."""

    def __init__(self):
        self.references = {}

    def __call__(self, name, thing):
        """Watch an object; gives it back."""
        self.references.setdefault(name, []).append(weakref.ref(thing))
        return thing

    @property
    def alive(self):
        """Names whose objects are still there."""
        return sorted({name for name, all_ in self.references.items() if any(ref() is not None for ref in all_)})


@pytest.fixture
def watch():
    """A Watch, while the collector is off: what lives only in a cycle of ours would show."""
    gc.collect()
    gc.disable()
    yield Watch()
    gc.enable()


@pytest.fixture(scope="module")
def aws():
    """A client whose answers come from a script."""
    return Aws()


@pytest.fixture
def runtime(monkeypatch):
    """A Runtime whose events can be watched, and which keeps nothing."""
    runtime = Runtime(monkeypatch)

    class Nothing(list):
        append = staticmethod(lambda thing: None)

    runtime.returned = runtime.raised = Nothing()
    return runtime


@pytest.fixture
def recorder(settings, runtime):
    """A Recorder on the real clocks that captures all payloads: the most that may be kept."""
    settings.payloads = "all"
    settings.xray_address = "127.0.0.1:2000"
    settings.flush_ns = 10**10
    scope = scope_module.Scope(Buffer(), settings)
    recorder = Recorder(scope)
    scope_module.active = scope
    recorder.hook(http.client, http_hook.install)
    recorder.hook(botocore.client, botocore_hook.install)
    yield recorder
    recorder.stop()
    scope_module.active = None


def marked(watch, aws):
    """Calls by hand, of every kind."""

    @coldspan.tool("marked")
    def marked(body):
        watch("frame", marker := Marker())
        return Answer(body=len(body), marker=str(marker))

    @coldspan.tool("numbers")
    def numbers(body):
        watch("generator frame", marker := Marker())
        yield body
        yield marker

    body = watch("body", Body(b"[1]"))
    watch("result of a call", marked(body))
    list(numbers(body))
    next(numbers(body))
    with coldspan.call("pricing", "quote", payload=body) as call:
        watch("by hand", Marker())
        call.payload = [body]


def failing_calls(watch, aws):
    """Calls that raise, caught and let go."""

    @coldspan.tool("marked")
    def marked(body):
        watch("frame that raised", marker := Marker())
        raise watch("exception", Own(str(marker)))

    body = watch("body", Body(b"[1]"))
    try:  # noqa: SIM105  # no frame and no object of contextlib's beside what is watched
        marked(body)
    except Own:
        pass
    try:
        with coldspan.call("pricing", "quote"):
            raise watch("exception by hand", Own("no"))
    except Own:
        pass


def aws_calls(watch, aws):
    """An AWS call that succeeds and one that fails."""
    body = watch("body", Body(b"1"))
    aws.answers[:] = [(200, b'{"Item": {"id": {"S": "1"}}}'), (400, b'{"__type": "ValidationException"}')]
    watch("request", parameters := Event(id={"B": body}))
    aws.client.get_item(TableName="orders", Key=parameters)
    try:
        aws.client.get_item(TableName="orders", Key=parameters)
    except aws.client.exceptions.ClientError as error:
        watch("AWS error", error)


def http_calls(watch, aws):
    """HTTP calls: read to the end, half read, not read, refused."""
    host = aws.stub.url.removeprefix("http://")
    body = watch("body", Body(b"[1]"))
    for amount in (None, 1):
        connection = watch("connection", http.client.HTTPConnection(host, timeout=5))
        connection.request("POST", "/200", body)
        response = watch("response", connection.getresponse())
        response.read(amount)
        response.close()
        connection.close()
    connection = watch("connection", http.client.HTTPConnection(aws.stub.dead.removeprefix("http://"), timeout=5))
    try:
        connection.request("POST", "/200", body)
    except OSError as error:
        watch("refused", error)
    connection.close()


@pytest.mark.parametrize("work", [marked, failing_calls, aws_calls, http_calls])
@pytest.mark.parametrize("ends", ["returns", "raises"])
def test_nothing_of_the_customers_is_held_after_an_invocation_promise_2(recorder, runtime, watch, aws, work, ends):
    """Event, context, result, exception, frames, requests and responses are free to go, without the collector."""

    def handler(event, context):
        watch("event", event)
        watch("context", context)
        watch("handler's frame", marker := Marker())
        work(watch, aws)
        if ends == "raises":
            raise watch("handler's exception", Own(str(marker)))
        return watch("answer", Answer(done=str(marker)))

    def unmarshal_request(body, content_type):
        return Event(json.loads(body), Records=[])

    runtime.client.marshaller.unmarshal_request = unmarshal_request
    with Stub() as stub:
        aws.stub = stub
        runtime.invoke(handler, request("bare"))
        bare = set(watch.alive)
        watch.references.clear()
        gc.collect()
        runtime.invoke(recorder.wrap(handler), request("r1"))
    assert set(watch.references) > {"event", "context"}
    assert set(watch.alive) <= bare
    assert recorder.records[0]["Calls"] > 0


def test_an_open_call_holds_nothing_of_the_customers_promise_2(recorder, runtime, watch):
    """A call that never ends is counted; what it was about is free to go."""

    def handler(event, context):
        call = coldspan.call("open", "call", payload=watch("payload", Body(b"[1]")))
        call.__enter__()
        watch("context", context)
        watch("frame", Marker())

    runtime.invoke(recorder.wrap(handler), request("r1"))
    assert recorder.records[0]["calls_open"] == 1
    assert watch.alive == []
