"""The lines go to the function's log, whatever the handler does with its descriptors; small promises of the ways in."""

import asyncio
import json
import textwrap
from pathlib import Path

import pytest

import coldspan
from coldspan.core.result import to_result
from coldspan.hot import http_client
from coldspan.hot.patch import restore
from support.http_server import HttpServer, answer


def test_a_handler_that_gives_descriptor_1_to_a_file_finds_none_of_our_lines_in_it(start, tmp_path):
    """os.close(1) and open() is an old trick; a file of the customer's with our lines in it is a broken file."""
    (tmp_path / "app.py").write_text(
        textwrap.dedent("""
            import os

            log = os.dup(1)

            def handler(event, context):
                if event["n"] == 1:
                    os.close(1)
                    assert os.open("/tmp/coldspan-taken", os.O_CREAT | os.O_TRUNC | os.O_RDWR) == 1
                    return 0
                size = os.fstat(1).st_size
                os.dup2(log, 1)
                os.unlink("/tmp/coldspan-taken")
                return size
        """)
    )
    platform = start(task=tmp_path, handler="app.handler")
    platform.invoke(b'{"n": 1}')
    done = platform.invoke(b'{"n": 2}')
    assert json.loads(done.posted.body) == 0
    told = [document["request_id"] for document in platform.documents if "Duration" in document]
    assert len(told) == 2, "the first record waits until descriptor 1 is the function's log again"
    assert not Path("/tmp/coldspan-taken").exists()  # noqa: S108


def test_an_async_handler_outside_of_lambda_stays_a_coroutine_function(monkeypatch):
    """The customer's own tests await it; @coldspan.instrument must not change that."""
    for name in ("AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "AWS_LAMBDA_FUNCTION_NAME"):
        monkeypatch.delenv(name, raising=False)

    @coldspan.instrument
    async def handler(event, context):
        return event

    assert asyncio.iscoroutinefunction(handler)
    assert asyncio.run(handler({"n": 1}, None)) == {"n": 1}


@pytest.mark.parametrize("status", [404, 500])
def test_an_http_error_that_leaves_the_handler_is_in_its_own_record(scope, fake_clock, status):
    """An HTTPError of urllib keeps its body unread; the call must not wait for a reader that never comes."""
    import http.client
    import urllib.error
    import urllib.request

    from coldspan.core.record import Invocation

    patches = []
    http_client.install(http.client, scope, patches)
    invocation = Invocation("invocation", "r1", scope.new_id(), scope.clock(), scope.wall())
    scope.current.set(invocation)
    try:
        with HttpServer() as server:
            server.script["/no"] = answer(status, b"x" * 1000)
            with pytest.raises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(server.url("/no"), timeout=5)
            assert [to_result(call).attributes["http.response.status_code"] for call in invocation.calls] == [status]
            assert raised.value.read() == b"x" * 1000
            raised.value.close()
    finally:
        restore(patches)
        scope.current.set(None)


UNDER_SAM = {"AWS_SAM_LOCAL": "true"}  # which SAM sets in its containers; SAM itself: tests/e2e/test_sam_local.py
FAILS_ONCE = """
import coldspan

def handler(event, context):
    with coldspan.call("warehouse", "reserve"):
        pass
    if event["n"] == 1:
        raise ValueError("no shelf")
    return event["n"]
"""


@pytest.mark.parametrize(("variables", "trees"), [({}, 2), ({"COLDSPAN_LOCAL": "off"}, 0)])
def test_under_sam_local_a_tree_goes_to_stderr_and_no_line_anywhere(start, tmp_path, variables, trees):
    """A person sits before it, and 3 kB of JSON an invocation is what drives them away."""
    (tmp_path / "app.py").write_text(FAILS_ONCE)
    platform = start(task=tmp_path, handler="app.handler", environment={**UNDER_SAM, **variables})
    for number in (1, 2):
        platform.invoke(b'{"n": %d}' % number)
    platform.close()
    assert platform.documents == []
    printed = [entry.item.decode() for entry in platform.ledger.entries("stderr")]
    told = [line for line in printed if "coldspan's own time" in line]
    assert len(told) == trees, platform.text
    assert sum("✓ warehouse reserve" in line for line in printed) == trees
    assert ("ValueError: no shelf\n" in "".join(printed)) == bool(trees)


def test_under_sam_local_emf_is_as_everywhere_else(start, tmp_path):
    """`coldspan pull -` reads lines, not trees."""
    (tmp_path / "app.py").write_text(FAILS_ONCE)
    platform = start(task=tmp_path, handler="app.handler", environment={**UNDER_SAM, "COLDSPAN_LOCAL": "emf"})
    platform.invoke(b'{"n": 2}')
    assert [document["outcome"] for document in platform.documents if "Duration" in document] == ["ok"]
    assert "coldspan's own time" not in platform.text


def test_under_sam_local_a_handler_that_gives_descriptor_2_to_a_file_finds_no_tree_in_it(start, tmp_path):
    """What holds for lines holds for trees: a number that was ours may be somebody's file, or connection."""
    (tmp_path / "app.py").write_text(
        textwrap.dedent("""
            import os

            log = os.dup(2)

            def handler(event, context):
                if event["n"] == 1:
                    os.close(2)
                    assert os.open("/tmp/coldspan-taken", os.O_CREAT | os.O_TRUNC | os.O_RDWR) == 2
                    return 0
                size = os.fstat(2).st_size
                os.dup2(log, 2)
                os.unlink("/tmp/coldspan-taken")
                return size
        """)
    )
    platform = start(task=tmp_path, handler="app.handler", environment=UNDER_SAM)
    platform.invoke(b'{"n": 1}')
    done = platform.invoke(b'{"n": 2}')
    assert json.loads(done.posted.body) == 0
    platform.close()
    assert platform.text.count("coldspan's own time") == 2
