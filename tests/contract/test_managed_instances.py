"""Managed Instances: forked workers that serve at the same time, each a recorder of its own."""

import json
import socket
import threading

import pytest

from coldspan_console.platform import Answer, Invocation
from coldspan_console.platform.output import is_document
from coldspan_console.platform.server import REQUEST
from support import runtimes
from support.running import invocation_documents, posted

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
WORKERS = 3
CLIENTS = [pair for pair in runtimes.pairs() if pair[1] >= "4"]  # forked workers came with 4.0


def managed(start, handler="worker.handler", **fields):
    """Start a function with WORKERS workers and wait until all of them ask for an event."""
    platform = start(handler, init_type="lambda-managed-instances", max_concurrency=WORKERS, **fields)
    platform.wait_idle()
    return platform


def at_once(platform, count=WORKERS):
    """Run so many invocations at the same time: no response is taken before all have been posted."""
    release = threading.Event()
    done = [
        platform.submit(Invocation(answer=Answer(hold=release), trace_id=TRACE.replace("2793", f"{number:04d}")))
        for number in range(count)
    ]
    platform.wait_until(lambda: all(invocation.posted is not None for invocation in done))
    release.set()
    platform.wait_idle()
    return done


def bodies(done):
    """What the workers answered."""
    return [json.loads(invocation.posted.body) for invocation in done]


@pytest.mark.parametrize(("python", "version"), CLIENTS)
def test_workers_that_serve_at_once_record_each_its_own_invocation(start, layers, python, version):
    """Nothing of one invocation is in another's record, and each worker drains after its own response."""
    interpreter = runtimes.interpreters()[python]
    where = {"python": interpreter, "layer": layers(interpreter), "runtime": runtimes.runtime(python, version)}
    platform = managed(start, **where)
    first, second = at_once(platform), at_once(platform)
    assert len({answer["pid"] for answer in bodies(first)}) == WORKERS
    documents = {document["request_id"]: document for document in invocation_documents(platform)}
    assert len(invocation_documents(platform)) == len(documents) == 2 * WORKERS
    for invocation in first + second:
        assert documents[invocation.request_id]["trace_id"] == invocation.trace_id[7:15] + invocation.trace_id[16:40]
        assert documents[invocation.request_id]["flush"] == "after_response"
        assert_order(platform, invocation)


def assert_order(platform, invocation):
    """Post, answer, document, and the same worker's request for the next event."""
    (document,) = (
        entry
        for entry in platform.ledger.entries("stdout")
        if is_document(entry.item) and json.loads(entry.item).get("request_id") == invocation.request_id
    )
    following = next(
        entry
        for entry in platform.ledger.entries(REQUEST)
        if entry.order > invocation.posted.answered.order and entry.item.connection is invocation.posted.connection
    )
    assert invocation.posted.answered.order < document.order < following.order
    assert following.item.path.endswith("/next")


def test_each_worker_starts_cold_once_and_tells_its_own_init(start):
    """A worker is a process: its first invocation is its cold start, with the import of its own handler."""
    platform = managed(start)
    first, second = at_once(platform), at_once(platform)
    documents = {document["request_id"]: document for document in invocation_documents(platform)}
    assert [documents[invocation.request_id]["start"] for invocation in first] == ["cold"] * WORKERS
    assert [documents[invocation.request_id]["start"] for invocation in second] == ["warm"] * WORKERS
    for invocation in first:
        document = documents[invocation.request_id]
        assert document["ColdStart"] == 1
        assert 0 < document["InitDuration"] < 60_000
        assert "worker" in json.dumps(document["init"])


def test_workers_do_not_share_a_sequence_of_ids(start):
    """Ids are made anew after the fork: three workers with one seed would send the same span thrice."""
    platform = managed(start)
    at_once(platform)
    at_once(platform)
    ids = [segment["id"] for segment in platform.segments]
    assert len(ids) == len(set(ids)) == 2 * WORKERS


def test_before_the_fork_there_is_no_thread_and_no_socket_promise_2(start):
    """A thread or a socket of the parent would be lost, or shared by all workers."""
    bare, layered = managed(start, layer=None), managed(start)
    for name in ("parent_threads", "parent_sockets"):
        assert bodies(at_once(layered))[0][name] == bodies(at_once(bare))[0][name]


def test_a_refused_response_is_swallowed_by_the_client_and_told_by_us(start):
    """On Managed Instances a 413 does not end the worker: only whoever watches the client learns of it."""
    platform = managed(start)
    refused = platform.invoke(Invocation(b'{"bytes": 6500000}'))
    documents = invocation_documents(platform)
    assert [document["outcome"] for document in documents] == ["too_large"]
    assert documents[0]["Error"] == 1
    assert platform.exit_code is None
    at_once(platform)
    assert refused.posted.reply.status == 413
    assert [document["outcome"] for document in invocation_documents(platform)][1:] == ["ok"] * WORKERS


def test_lines_go_where_the_platform_has_put_the_workers_stdout(start, tmp_path):
    """Workers' output goes to a socket of the platform's, put in the place of descriptor 1 after the fork."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "logs"))
        listener.listen(16)
        platform = managed(start, environment={"_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET": str(tmp_path / "logs")})
        done = at_once(platform)
        assert platform.documents == []
        text = b""
        for _ in range(2 * WORKERS):
            connection, _ = listener.accept()
            with connection:
                connection.setblocking(False)
                try:
                    text += connection.recv(1 << 20)
                except BlockingIOError:
                    continue
    told = [json.loads(line)["request_id"] for line in text.splitlines() if is_document(line)]
    assert sorted(told) == sorted(invocation.request_id for invocation in done)


@pytest.mark.parametrize(
    "handler", ["broken_value.handler", "broken_import.handler", "app.missing", "ways.raises", "ways.Made"]
)
def test_workers_post_what_they_would_post_without_us_promise_1(start, layer, handler):
    """Init errors of several workers, the second of which the platform may refuse, and errors of handlers."""
    bare, layered = (
        start(handler, layer=attached, init_type="lambda-managed-instances", max_concurrency=WORKERS)
        for attached in (None, layer)
    )
    for platform in (bare, layered):
        platform.wait_idle()
        if platform.exit_code is None:
            platform.invoke(request_id="11111111-2222-4333-8444-000000000000")
        platform.close()
    assert without_our_frame(layered) == without_our_frame(bare)
    assert layered.exit_code == bare.exit_code


def without_our_frame(platform):
    """What was posted; handlers of `ways` tell of the frame above them."""
    return sorted(
        (method, path, [(name, plain(value)) for name, value in headers], plain(body))
        for method, path, headers, body in posted(platform)
    )


def plain(value):
    """Bytes without the name of our wrapper's file."""
    return value.replace(b"'bootstrap.py'", b"").replace(b'"bootstrap.py"', b"")
