"""The contract's seven promises: that the suite holds each of them, and one function on which they are seen at once."""

import ast
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from support.running import complained, invocation_documents, posted, printed, steps
from support.servers import Stub

TESTS = Path(__file__).parents[1]
PROMISES = {
    1: "The handler runs exactly once; its result or exception leaves as the same object, the same bytes are posted.",
    2: "A fault of ours costs one counter, never the call; nothing of ours is raised, printed or left running.",
    3: "The response never waits for a flush, and a flush keeps to its budget.",
    4: "What we drop, we count, and the count is in the next record.",
    5: "Nothing of the customer's is shadowed.",
    6: "No payload leaves unless asked; when asked, masked and bounded.",
    7: "Off means off.",
}
PROMISE = re.compile(r"_promise_(\d+)(?=_|$)")
LEAST = 3


def test_functions():
    """(file, name) of every test in the suite, methods of classes included."""
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                yield str(file.relative_to(TESTS)), node.name


test_functions.__test__ = False


@pytest.fixture(scope="module")
def held():
    """Promise -> the (file, name) of the tests that carry its number."""
    found = defaultdict(list)
    for file, name in test_functions():
        for number in PROMISE.findall(name):
            found[int(number)].append((file, name))
    return found


@pytest.mark.parametrize("number", PROMISES)
def test_each_promise_is_held_by_several_tests(held, number):
    """A promise that nothing would notice being broken is none."""
    assert len(held[number]) >= LEAST, f"promise {number}: {PROMISES[number]}"


def test_no_test_holds_a_promise_that_was_not_made(held):
    """A number that is none of the seven is a typing error, and its test would not be found."""
    assert set(held) == set(PROMISES)


def test_a_number_of_a_promise_is_always_written_alike():
    """`promise2` or `_promise_two` would be overlooked by the search above."""
    near = re.compile(r"promise_?\d|promise_(one|two|three|four|five|six|seven)|promise$")
    loose = [(file, name) for file, name in test_functions() if near.search(PROMISE.sub("", name))]
    assert loose == []


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7])
def test_promises_of_behaviour_are_held_outside_of_the_unit_tests(held, number):
    """What the customer sees is seen from outside: on the real runtime, in real processes, under real faults."""
    assert {file.split("/")[0] for file, _ in held[number]} & {"contract", "fault", "process", "e2e"}


# --- all of them at once ---------------------------------------------------------------------------------------------

APP = """
import sys
import threading
import urllib.request

counted = 0


def handler(event, context):
    global counted
    counted += 1
    request = urllib.request.Request(event["url"], data=event["secret"].encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5) as response:
        response.read()
    print("call", counted, flush=True)
    if event.get("fail"):
        raise ValueError("wrong token: " + event["secret"])
    return {
        "counted": counted,
        "names": sorted({name.partition(".")[0] for name in sys.modules} & {"coldspan"}),
        "threads": threading.active_count(),
    }
"""
SECRET = "sk_live_4242424242424242"


@pytest.fixture
def ran(start, tmp_path):
    """Run the same three invocations, bare or with the layer, and give the ended LocalLambda."""
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "app.py").write_text(APP)

    def run(**fields):
        platform = start("app.handler", task=folder, **fields)
        with Stub() as stub:
            for number, fail in enumerate((False, True, False), 1):
                event = json.dumps({"url": stub.url + "/200", "secret": SECRET, "fail": fail}).encode()
                platform.invoke(event, request_id=f"r{number}")
        platform.close()
        return platform

    return run


def seen(platform):
    """What the customer, and whoever invokes the function, can see of it."""
    bodies = [re.sub(rb'"names": \[[^]]*\]', b"", entry[3]) for entry in posted(platform)]
    return bodies, printed(platform), complained(platform), platform.exit_code


def test_a_function_with_the_layer_is_the_same_to_all_who_use_it_promise_1_promise_2_promise_5(ran):
    """Its posts, its lines and its end; one record an invocation; one name of ours among the modules."""
    bare, layered = ran(layer=None), ran()
    assert seen(layered) == seen(bare)
    assert json.loads(layered.posts[0].body)["names"] == ["coldspan"]
    documents = invocation_documents(layered)
    assert [document["request_id"] for document in documents] == ["r1", "r2", "r3"]
    assert [document.get("errors") for document in documents] == [None] * 3
    assert [document.get("dropped") for document in documents] == [None] * 3


def test_every_line_of_ours_comes_after_the_response_promise_3(ran):
    """Between the answer to the post and the request for the next event, and at no other time."""
    order = [step for step in steps(ran()) if step in {"document", "accepted", "next"}]
    text = " ".join(order)
    assert re.fullmatch(r"next( accepted( document)+ next){3}", text), text


@pytest.mark.parametrize("asked", ["off", "errors", "all"])
def test_no_secret_leaves_whatever_is_asked_for_promise_6(ran, asked):
    """The event holds one, the request sends it, the exception's text quotes it."""
    platform = ran(environment={"COLDSPAN_PAYLOADS": asked}, xray=True)
    ours = json.dumps([platform.documents, platform.segments])
    assert SECRET not in ours
    assert '"payload"' not in ours or asked != "off"


def test_switched_off_the_layer_might_as_well_not_be_there_promise_7(ran):
    """Not a byte of ours on stdout, and every other byte the same."""
    bare, off = ran(layer=None), ran(environment={"COLDSPAN_ENABLED": "false"})
    assert off.lines == bare.lines
    assert off.segments == []
    assert seen(off) == seen(bare)
