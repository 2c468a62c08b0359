"""A fresh interpreter: what is loaded and printed, under every flag, with any hash seed, and until its end."""

import json
import shutil

import pytest

from support.servers import Stub

FORBIDDEN = [
    "asyncio", "botocore", "boto3", "dataclasses", "datetime", "decimal", "http.client", "importlib.metadata",
    "inspect", "opentelemetry", "pkg_resources", "random", "socket", "ssl", "typing", "urllib.request", "uuid", "wrapt",
]  # fmt: skip

# Everything that a function may do with us, once.
EVERYTHING = """
import http.client, threading
from concurrent.futures import ThreadPoolExecutor

@coldspan.tool("marked")
def marked():
    return 1

@coldspan.tool("marked", "generator")
def numbers():
    yield 1
    yield 2

def get():
    host = os.environ["STUB"].removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=5)
    connection.request("GET", "/200")
    with connection.getresponse() as response:
        response.read()
    connection.close()

def handler(event, context):
    with coldspan.call("pricing", "quote", items=2, colour="red"):
        marked()
    list(numbers())
    get()
    thread = threading.Thread(target=marked)
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(marked).result()
    coldspan.annotate(customer="c1")
    coldspan.metric("orders", 2, "Count")
    return {"ok": True}

def failing(event, context):
    with coldspan.call("pricing", "quote"):
        raise ValueError("no price")

invoke(handler)
invoke(failing)
invoke(handler)
"""


@pytest.fixture(scope="module")
def stub():
    """What the programs call."""
    with Stub() as server:
        yield server


LOOKS = """
import sys

def handler(event, context):
    return sorted(sys.modules)
"""


def test_recording_loads_none_of_the_heavy_modules_promise_5(local):
    """With two drains done: what the runtime and the handler have not loaded stays unloaded."""
    loaded = []
    for fields in ({"layer": None}, {}):
        platform = local(LOOKS, **fields)
        for _ in range(3):
            platform.invoke(trace_id="Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")
        loaded.append(set(json.loads(platform.posts[-1].body)))
    bare, layered = loaded
    assert "coldspan.drain.flush" in layered
    assert "coldspan.core.xray" in layered
    assert (layered - bare) & set(FORBIDDEN) == set()
    # the last is site's own
    light = {
        "_contextvars",
        "contextvars",
        "_json",
        "_random",
        "_socket",
        "encodings.utf_8_sig",
        "faulthandler",
        "fcntl",
        "mmap",
    }
    assert {name for name in layered - bare if not name.startswith("coldspan")} <= light


@pytest.mark.parametrize(
    "flags",
    [(), ("-X", "dev"), ("-W", "error"), ("-X", "dev", "-W", "error"), ("-bb",), ("-O",), ("-OO",), ("-X", "utf8=0")],
    ids=" ".join,
)
def test_under_any_flag_of_the_interpreter_all_is_recorded_and_nothing_else_printed_promise_2(program, stub, flags):
    """No warning, no leftover at the end, no reliance on assert statements or docstrings."""
    run = program(EVERYTHING, *flags, STUB=stub.url)
    assert run.err == ""
    assert run.code == 0
    assert run.lines == []
    assert [record["outcome"] for record in run.records] == ["ok", "error", "ok"]
    assert [record["Calls"] for record in run.records] == [6, 1, 6]
    assert [record.get("errors") for record in run.records] == [None] * 3


def test_an_xray_socket_that_is_open_at_the_end_is_closed_without_a_word_promise_2(program, stub):
    """-X dev complains of sockets that are still open when the interpreter ends."""
    run = program(EVERYTHING, "-X", "dev", STUB=stub.url, AWS_XRAY_DAEMON_ADDRESS="127.0.0.1:9")
    assert (run.err, run.code) == ("", 0)


def shape(value):
    """What is left of a record when every number and text that may differ is only named by its type."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items() if key != "import_tree"]
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def test_the_hash_seed_changes_no_record(program, stub):
    """Sets and dicts of ours must not decide on the order of what leaves."""
    shapes = []
    for seed in ("0", "1", "4711"):
        run = program(EVERYTHING, STUB=stub.url, PYTHONHASHSEED=seed)
        for document in run.documents:
            document.pop("init", None)  # the import tree shows what was imported in which order
        shapes.append([shape(document) for document in run.documents])
    assert shapes[0] == shapes[1] == shapes[2]


def test_the_interpreter_ends_quietly_with_everything_still_open_promise_2(program, stub):
    """Calls, bodies, generators and threads that never end must not be heard of at the end."""
    run = program(
        """
        import http.client, threading
        @coldspan.tool("marked")
        def numbers():
            yield 1
            yield 2
        kept = []
        def forever():
            with coldspan.call("forever", "wait"):
                ready.set()
                threading.Event().wait()
        def handler(event, context):
            numbers_ = numbers(); next(numbers_); kept.append(numbers_)
            call = coldspan.call("open", "call"); call.__enter__(); kept.append(call)
            connection = http.client.HTTPConnection(os.environ["STUB"].removeprefix("http://"), timeout=5)
            connection.request("GET", "/200")
            kept.append(connection.getresponse())
            kept.append(connection)
            threading.Thread(target=forever, daemon=True).start()
            ready.wait(10)
        ready = threading.Event()
        invoke(handler)
        """,
        STUB=stub.url,
    )
    assert (run.err, run.code) == ("", 0)
    assert run.records[0]["calls_open"] == 4


OFF = """
import http.client, threading
from coldspan.hot.patch import MARK
@coldspan.tool("marked")
def handler(event, context):
    with coldspan.call("pricing", "quote"):
        return 1
invoke(handler)
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
print([
    hasattr(owner, MARK)
    for owner in (http.client.HTTPConnection.getresponse, threading.Thread.start, *sys.meta_path)
], threading.active_count(), len(sys.meta_path))
"""


def test_off_leaves_nothing_behind_promise_7(program):
    """No patch, no finder, no thread, no effect on a fork, and not a byte on stdout."""
    off = program(OFF, COLDSPAN_ENABLED="false")
    on = program(OFF)
    without = program(OFF, AWS_LAMBDA_FUNCTION_NAME="")
    assert off.documents == []
    assert (off.lines, off.err, off.code) == (without.lines, "", 0)
    assert "True" not in off.out
    assert "True" in on.lines[0]


def test_two_copies_of_coldspan_in_one_process_record_once_promise_1(program, tmp_path):
    """The layer's copy and one installed into the function: whichever comes second gives way."""
    from coldspan.boot import start

    copy = tmp_path / "copy" / "coldspan"
    shutil.copytree(start.__file__.rsplit("/boot/", 1)[0], copy, ignore=shutil.ignore_patterns("__pycache__"))
    run = program(
        """
        first, runs = start, []
        for name in [name for name in sys.modules if name.partition(".")[0] == "coldspan"]:
            del sys.modules[name]
        sys.path.insert(0, os.environ["COPY"])
        import coldspan
        from coldspan.boot import start as second
        assert second is not first and second.__file__.startswith(os.environ["COPY"])
        finders = len(sys.meta_path)

        @coldspan.instrument
        def handler(event, context):
            runs.append(1)
            return 1
        assert second.seam is None and len(sys.meta_path) == finders
        start = first
        invoke(handler)
        import http.client
        print(len(runs), http.client.HTTPConnection.connect.__wrapped__.__module__)
        assert not hasattr(http.client.HTTPConnection.connect.__wrapped__, "__wrapped__")
        """,
        COPY=str(copy.parent),
    )
    assert (run.err, run.code) == ("", 0)
    assert run.lines == ["1 http.client"]
    assert len(run.records) == 1
