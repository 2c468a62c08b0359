"""What the runtime posts is the same with and without the layer, byte by byte: bodies, headers, order, exit code."""

import ast
import functools
import json
import re
from pathlib import Path

import pytest

from coldspan_console.platform import Answer, Invocation
from support import broken, runtimes
from support.running import complained, framed, posted, printed
from support.servers import Stub

HANDLERS = Path(__file__).parents[1] / "handlers"
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=25:3d424848:0"
NEWEST = runtimes.VERSIONS[-1]
REPEATED = re.compile(r"repeated (\d+) more times")
OUR_FRAMES = 2  # the most that may stand between the runtime and the customer's code


@functools.cache
def cases(module):
    """The names of a handler's cases, read from its source: what it imports is the function's business."""
    for node in ast.parse((HANDLERS / f"{module}.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "CASES":
            return [ast.literal_eval(key) for key in node.value.keys]
    raise LookupError(module)


@pytest.fixture
def both(start, layers):
    """Run the same invocations without and with the layer; assert that nothing differs; give the run with the layer."""

    def run(handler, invocations=(), **fields):
        layer = layers(*[fields["python"]] if "python" in fields else [])
        platforms = [start(handler, layer=attached, **fields) for attached in (None, layer)]  # both begin at once
        bare, layered = (outcome(platform, invocations) for platform in platforms)
        assert bare.pop("documents") == []
        documents = layered.pop("documents")
        for name, value in bare.items():
            assert layered[name] == value, f"{name} differs"
        ids = {path.split("/")[-2] for _, path, _, _ in layered["posted"] if "/invocation/" in path}
        assert ids <= {document.get("request_id") for document in documents}  # the recorder was at work
        return {**layered, "documents": documents}

    return run


def outcome(platform, invocations):
    """Run the invocations one after the other until they are done or the process has ended; say what came out."""
    for number, invocation in enumerate(invocations):
        if platform.exit_code is not None:
            break
        fields = invocation if isinstance(invocation, dict) else {"event": invocation}
        platform.invoke(Invocation(request_id=f"11111111-2222-4333-8444-{number:012d}", **fields))
    platform.wait_idle()
    platform.close()
    return {
        "posted": posted(platform),
        "exit code": platform.exit_code,
        "stdout": printed(platform),
        "stderr": complained(platform),
        "frames": framed(platform),
        "documents": platform.documents,
    }


def events(module, **more):
    """One event for each case of a handler."""
    return [json.dumps({"case": name, **more}).encode() for name in cases(module)]


def of_python(python):
    """The fields of a Function that runs on another interpreter with the newest runtime."""
    return {"python": runtimes.interpreters()[python], "runtime": runtimes.runtime(python, NEWEST)}


# --- results and errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", runtimes.interpreters())
def test_every_kind_of_result_is_posted_as_without_us_promise_1(both, python):
    """A result leaves as the runtime would have sent it, or fails as it would have failed."""
    done = both("results.handler", events("results"), **of_python(python))
    assert len(done["posted"]) == len(cases("results"))
    assert {path.rsplit("/", 1)[1] for _, path, _, _ in done["posted"]} == {"response", "error"}


@pytest.mark.parametrize("python", runtimes.interpreters())
def test_every_kind_of_exception_is_posted_as_without_us_promise_1(both, python):
    """Message, type, stack trace and X-Ray cause are those of the customer's code; no frame of ours is among them."""
    done = both("failures.handler", events("failures"), **of_python(python))
    assert len(done["posted"]) == len(cases("failures"))
    assert all(path.endswith("/error") for _, path, _, _ in done["posted"])
    assert not [body for *_, body in done["posted"] if b"python/coldspan/" in body]


@pytest.mark.parametrize(("python", "version"), runtimes.pairs())
def test_every_runtime_client_posts_as_without_us_promise_1(both, python, version):
    """No released runtime client sends other bytes because we are there."""
    fields = {"python": runtimes.interpreters()[python], "runtime": runtimes.runtime(python, version)}
    done = both("failures.handler", [b"{not json", *events("failures")[:12]], **fields)
    assert len(done["posted"]) == 13


@pytest.mark.parametrize("name", cases("fatal"))
def test_a_handler_that_ends_the_process_ends_it_as_without_us_promise_1(both, name):
    """SystemExit and its like are seen and never absorbed: same posts, same exit code, same last words."""
    faults = ["fail"] if name == "mute" else []  # an error that has no text cannot be asked for it
    done = both("fatal.handler", [json.dumps({"case": name}).encode(), b"{}"], faults=faults)
    # What the runtime makes of half a surrogate differs between Pythons: it posts it, or it ends.
    assert done["exit code"] is not None or name == "surrogate"


def test_failures_inside_the_hooked_libraries_are_posted_as_without_us_promise_1(both, stub):
    """An exception that passed through our hooks carries the trace that it would carry without them."""
    done = both("downstream.handler", events("downstream", url=stub.url, dead=stub.dead))
    assert len(done["posted"]) == len(cases("downstream"))
    assert not [body for *_, body in done["posted"] if b"python/coldspan/" in body]
    kinds = {json.loads(body).get("errorType") for _, path, _, body in done["posted"] if path.endswith("/error")}
    assert {"ConditionalCheckFailedException", "EndpointConnectionError", "ConnectionError", "HTTPError"} <= kinds


@pytest.mark.parametrize("python", runtimes.interpreters())
def test_imports_that_fail_inside_the_handler_are_posted_as_without_us_promise_1(both, python):
    """The import hook leaves no frame in a traceback, and no module half made."""
    done = both("imports.handler", events("imports"), **of_python(python))
    assert len(done["posted"]) == len(cases("imports"))
    assert not [body for *_, body in done["posted"] if b"python/coldspan/" in body]


def test_a_marshaller_of_the_functions_own_is_used_as_without_us_promise_5(both):
    """The runtime client lets a function replace how events are read and results written: we are not in between."""
    done = both("marshaller.handler", [b'"text"', b'"refuse"', b"{not json", b"5"])
    assert done["posted"][0][3] == b"<TEXT>"


@pytest.mark.parametrize("python", runtimes.interpreters())
def test_what_an_invocation_leaves_behind_is_freed_as_without_us_promise_5(both, python):
    """Context, result, error and locals go when they would have gone: nothing of ours holds them, nor does a cycle."""
    ways = [b"{}", b"{}", b'{"raise": 1}', b"{}", b'{"raise": 1}', b'{"raise": 1}', b"{}"]
    done = both("references.handler", ways, **of_python(python))
    assert json.loads(done["posted"][1][3]) == {"alive": []}


@pytest.mark.parametrize("module", ["results", "failures", "echo"])
def test_json_logs_are_as_without_us_promise_1(both, module):
    """With JSON logs the runtime writes its own lines as objects; they and what is posted stay as they are."""
    environment = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}
    both(f"{module}.handler", EVENTS if module == "echo" else events(module), environment=environment)


@pytest.mark.parametrize("log_format", ["JSON", "Text"])
def test_framed_logs_are_as_without_us_promise_1(both, log_format):
    """On Lambda the runtime's log goes through a descriptor of its own; ours never gets between its frames."""
    environment = {"AWS_LAMBDA_LOG_FORMAT": log_format, "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}
    done = both("failures.handler", events("failures"), environment=environment, framed=True)
    assert len(done["frames"]) >= len(cases("failures"))
    assert done["stdout"] == []


@pytest.fixture(scope="module")
def stub():
    """One server for both runs: its address is in the messages."""
    with Stub() as server:
        yield server


@pytest.mark.parametrize("handler", ["failures.endless", "broken_recursion.handler"])
def test_a_recursion_that_is_too_deep_differs_by_our_frames_alone_promise_1(start, layer, handler):
    """A wrapper cannot but take a frame of the stack, so the error comes that much earlier; all else stays."""
    runs = [start(handler, layer=attached) for attached in (None, layer)]
    (bare,), (layered,) = (outcome(run, [b"{}"])["posted"] for run in runs)
    bare, layered = (json.loads(body) for *_, body in (bare, layered))
    assert bare["errorType"] == layered["errorType"] == "RecursionError"
    *trace, depth = bare.pop("stackTrace")
    *layered_trace, layered_depth = layered.pop("stackTrace")
    assert (bare, trace) == (layered, layered_trace)
    assert 0 < int(REPEATED.search(depth)[1]) - int(REPEATED.search(layered_depth)[1]) <= OUR_FRAMES


# --- events -------------------------------------------------------------------------------------------------------

EVENTS = [
    {"event": b"{}"},
    {"event": b"null"},
    {"event": b"[1, 2]"},
    {"event": b'"text"'},
    {"event": b"1.50"},
    {"event": b"NaN"},
    {"event": '{"é": "漢"}'.encode()},
    {"event": b'{"a": 1, "a": 2}'},
    {"event": b"{not json"},
    {"event": b""},
    {"event": b"\xff\xfe"},
    {"event": b"\xef\xbb\xbf{}"},
    {"event": b"[" * 100_000},
    {"event": b'{"a": "\\ud800"}'},
    {"event": b"plain", "content_type": "text/plain"},
    {"event": b"\x00\xff", "content_type": "application/octet-stream"},
    {"event": b"{}", "content_type": "application/json; charset=utf-8"},
    {"event": b"{}", "client_context": '{"custom": {"a": "b"}, "env": {}, "client": {}}'},
    {"event": b"{}", "client_context": "{not json"},
    {"event": b"{}", "cognito_identity": '{"cognitoIdentityId": "1"}'},
    {"event": b"{}", "cognito_identity": "{not json"},
    {"event": b"{}", "tenant_id": "blue"},
    {"event": b"{}", "invocation_id": "attempt-1"},
    {"event": b"{}", "trace_id": TRACE},
    {"event": b"{}", "trace_id": "nonsense"},
    {"event": b"{}", "trace_id": ""},
    {"event": b"{}", "function_arn": "not an arn"},
    {"event": b"x" * 1_000_000, "content_type": "text/plain"},
    {"event": json.dumps({"Records": [{"eventSource": "aws:sqs", "attributes": {"SentTimestamp": "later"}}]}).encode()},
    {"event": json.dumps({"Records": {"eventSource": 5}}).encode()},
    {"event": json.dumps({"Records": [None]}).encode()},
    {"event": json.dumps({"requestContext": "not an object", "headers": 5}).encode()},
]


@pytest.mark.parametrize("python", runtimes.interpreters())
def test_every_kind_of_event_is_answered_as_without_us_promise_1(both, python):
    """Events that do not decode, and events of shapes we do not know, are the handler's and the runtime's to judge."""
    done = both("echo.handler", EVENTS, **of_python(python))
    assert len(done["posted"]) == len(EVENTS)


# --- init ---------------------------------------------------------------------------------------------------------

HANDLER_NAMES = [
    *(f"{name.removesuffix('.py')}.handler" for name in broken.MODULES if name != "broken_recursion.py"),
    "no_such_module.handler",
    "no.such.package.handler",
    "no/such/folder/app.handler",
    "app.no_such_handler",
    "app.count",
    "app",
    "app.",
    ".handler",
    ".",
    "app..handler",
    "sys.exit",
    "app:handler",
    "app.handler.extra",
    "ünï.handler",
    "results.Callable",
    "results.CASES",
]


@pytest.mark.parametrize("name", HANDLER_NAMES)
def test_a_handler_that_cannot_be_loaded_fails_as_without_us_promise_1(both, name):
    """The runtime's own errors for the customer's module arrive unchanged, and are not followed by an invocation."""
    done = both(name, [b"{}"])
    assert done["posted"] or done["exit code"] is not None


@pytest.mark.parametrize("version", [version for version in runtimes.VERSIONS if version < "4"])
@pytest.mark.parametrize(
    "name", ["broken_syntax.handler", "broken_import.handler", "broken_value.handler", "app.missing"]
)
def test_an_older_runtime_that_fails_late_fails_as_without_us_promise_1(both, name, version):
    """Runtimes before 4.0 report a broken module upon the first invocation, from a handler of their own making."""
    python = next((python for python, found in runtimes.pairs() if found == version), None)
    if python is None:
        pytest.skip(f"no interpreter at hand for awslambdaric {version}")
    fields = {"python": runtimes.interpreters()[python], "runtime": runtimes.runtime(python, version)}
    done = both(name, [b"{}"], **fields)
    assert done["posted"]


# --- answers of the platform --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer.too_large, id="413"),
        pytest.param(Answer.container_error, id="500"),
        pytest.param(lambda: Answer(403, b"{}"), id="403"),
        pytest.param(lambda: Answer(reset=True), id="reset"),
    ],
)
@pytest.mark.parametrize("event", [b"{}", b"{not json"], ids=["response", "error"])
def test_a_post_that_is_refused_has_the_same_consequences_as_without_us_promise_1(both, answer, event):
    """When the platform refuses a response, the process ends, or goes on, as it would have."""
    both("app.handler", [{"event": event, "answer": answer()}, b"{}"])


def test_a_response_above_six_megabytes_is_refused_as_without_us_promise_1(both):
    """413 comes from the platform by the size alone."""
    done = both("sized.handler", [b'{"bytes": 6500000}', b'{"bytes": 10}'])
    assert len(done["posted"][0][3]) > 6_500_000
