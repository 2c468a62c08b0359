"""Real processes: a recorder with any one module broken, settings that make no sense, a platform that refuses."""

import json
import shutil
from pathlib import Path

import pytest

from coldspan_console.platform import Answer, Function, LocalLambda
from support.running import complained, invocation_documents, posted, printed

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layer" / "recorder"
PACKAGE = LAYER / "python" / "coldspan"
# Of what this function never loads, nobody would notice that it is broken.
NOT_LOADED = {
    *("boot/asynchronous.py", "boot/bootstrap.py", "boot/restored.py", "core/emfsplit.py", "core/outcomes.py"),
    *("core/payload.py", "core/usermetrics.py", "hot/aiobotocore.py", "hot/aiohttp.py", "hot/annotations.py"),
    *("hot/aws_call.py", "hot/aws_stream.py", "hot/botocore.py", "hot/byhand.py", "hot/httpx.py", "hot/listeners.py"),
    *("hot/mcp.py", "hot/tool.py", "hot/urllib3.py"),
}
FOUND = {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if file.read_bytes()}
MODULES = sorted(FOUND - NOT_LOADED)

HANDLER = """
import json
import urllib.request


def handler(event, context):
    with urllib.request.urlopen(event["url"], timeout=5) as response:
        body = response.read().decode()
    print("worked", flush=True)
    if event.get("fail"):
        raise ValueError("the customer's own")
    return body
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A function that calls, prints, and fails when asked to."""
    folder = tmp_path_factory.mktemp("task")
    (folder / "app.py").write_text(HANDLER)
    return folder


@pytest.fixture
def run(task, stub):
    """Run the function twice, well and failing; gives (what it posted and printed, its LocalLambda)."""

    def runner(layer, *, environment=(), answer=None):
        variables = {"COLDSPAN_FLUSH_MS": "10000", **dict(environment)}
        with LocalLambda(Function(task=task, layer=layer, environment=variables)) as platform:
            first = platform.invoke(json.dumps({"url": stub.url + "/200"}).encode(), request_id="r1", **(answer or {}))
            platform.invoke(json.dumps({"url": stub.url + "/200", "fail": True}).encode(), request_id="r2")
            assert first.posted is not None, platform.text
        return (posted(platform), printed(platform), complained(platform), platform.exit_code is None), platform

    return runner


@pytest.fixture(scope="module")
def bare():
    """What the function does without a layer, once it has been run."""
    return {}


@pytest.fixture
def as_without_us(run, bare):
    """Run with a layer; assert that what can be seen is what it is without one; gives the LocalLambda."""

    def compare(layer, **fields):
        if not bare:
            bare["seen"] = run(None)[0]
        seen, platform = run(layer, **fields)
        assert seen == bare["seen"]
        return platform

    return compare


def test_the_whole_recorder_is_seen_by_what_the_rows_compare_promise_2(as_without_us):
    """The rows below are compared with what a working recorder leaves as it is, too."""
    platform = as_without_us(LAYER)
    assert [document["outcome"] for document in invocation_documents(platform)] == ["ok", "error"]


@pytest.mark.parametrize("module", MODULES)
def test_a_recorder_with_a_broken_module_changes_nothing_for_the_function_promise_2(as_without_us, tmp_path, module):
    """Whichever of our modules cannot be executed: the same posts, the same lines, nothing on stderr."""
    layer = tmp_path / "layer"
    shutil.copytree(LAYER, layer, ignore=shutil.ignore_patterns("__pycache__"))
    (layer / "python" / "coldspan" / module).write_text('raise LookupError("a broken module of the recorder")\n')
    as_without_us(layer)


@pytest.mark.parametrize("damage", ["missing", "empty", "syntax", "binary"])
def test_a_damaged_recorder_changes_nothing_for_the_function_promise_2(as_without_us, tmp_path, damage):
    """A layer that was cut off while it was unpacked."""
    layer = tmp_path / "layer"
    shutil.copytree(LAYER, layer, ignore=shutil.ignore_patterns("__pycache__"))
    victim = layer / "python" / "coldspan" / "boot" / "seam.py"
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes({"empty": b"", "syntax": b"def (:\n", "binary": b"\0\xff\xfe"}[damage])
    as_without_us(layer)


JUNK = {
    "COLDSPAN_FLUSH_MS": "soon",
    "COLDSPAN_DETAIL": "nan",
    "COLDSPAN_SLOW_MS": "-1",
    "COLDSPAN_PAYLOADS": "some",
    "COLDSPAN_XRAY": "perhaps",
    "COLDSPAN_EMF": "maybe",
    "COLDSPAN_ERROR_TEXT": "?",
    "COLDSPAN_TOOLS": ",,,",
    "COLDSPAN_MASK_KEYS": "\udcff, ,",
    "COLDSPAN_PROPAGATE": "*,[,",
    "COLDSPAN_NAMESPACE": ":\udcff" * 200,
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "lots",
    "AWS_LAMBDA_FUNCTION_VERSION": "\udcff",
    "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:99999",
    "AWS_LAMBDA_LOG_FORMAT": "XML",
    "AWS_LAMBDA_LOG_LEVEL": "LOUD",
}


def test_settings_that_make_no_sense_change_nothing_for_the_function_promise_2(as_without_us):
    """Typing errors in variables must not take a function down; the record is still written, and names them."""
    platform = as_without_us(LAYER, environment=JUNK)
    documents = invocation_documents(platform)
    assert [document["outcome"] for document in documents] == ["ok", "error"]
    assert [document.get("errors") for document in documents] == [None, None]
    refused = {"FLUSH_MS", "DETAIL", "SLOW_MS", "PAYLOADS", "XRAY", "EMF", "ERROR_TEXT"}
    assert {f"COLDSPAN_{name}" for name in refused} <= set(documents[0]["settings_refused"])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: Answer(429, b'{"errorMessage": "slow down"}'), id="429"),
        pytest.param(lambda: Answer(503, b"<html>"), id="503"),
        pytest.param(lambda: Answer(reset=True), id="reset"),
    ],
)
def test_a_platform_that_refuses_the_response_sees_the_same_function_promise_2(run, answer):
    """What the runtime does about it is the runtime's affair; we only tell of it."""
    without, _ = run(None, answer={"answer": answer()})
    with_us, _ = run(LAYER, answer={"answer": answer()})
    assert with_us == without
