"""SnapStart, by the real runtime client against a scripted pause, and provisioned concurrency."""

import json
import time

import pytest

from coldspan_console.platform.server import REQUEST
from support import runtimes
from support.running import complained, invocation_documents, posted, printed

CLIENTS = [pair for pair in runtimes.pairs() if pair[1] >= "3"]  # hooks came with 3.0
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


def snapshot(start, handler="snap.handler", **fields):
    """Start a SnapStart function and wait until it has asked to be restored, or has ended."""
    platform = start(handler, init_type="snap-start", **fields)
    platform.wait_until(lambda: platform.api.restoring_count == 1)
    return platform


def restore(platform):
    """Let the restored function go on until it waits for an event, or has ended."""
    platform.api.restore.set()
    platform.wait_idle()


@pytest.mark.parametrize(("python", "version"), CLIENTS)
def test_a_restored_function_starts_as_restored_then_warm(start, layers, python, version):
    """The first invocation after a restore is neither cold nor warm."""
    interpreter = runtimes.interpreters()[python]
    where = {"python": interpreter, "layer": layers(interpreter), "runtime": runtimes.runtime(python, version)}
    platform = snapshot(start, **where)
    assert platform.documents == []
    restore(platform)
    platform.invoke()
    platform.invoke()
    documents = invocation_documents(platform)
    assert [document["start"] for document in documents] == ["restored", "warm"]
    assert ("InitDuration" in documents[0], "InitDuration" in documents[1]) == (True, False)
    assert documents[0]["flush"] == "after_response"
    assert documents[0]["init"]["calls"] == []  # the request for the restore is the runtime's


def test_our_hooks_run_last_before_the_snapshot_and_first_after_the_restore(start):
    """The customer's hooks find the recorder as in init before the snapshot, and renewed after the restore."""
    platform = snapshot(start)
    restore(platform)
    answer = json.loads(platform.invoke().posted.body)
    assert answer[1:] == ["before", "after", "renewed"]


def test_the_hooks_run_in_the_order_they_would_without_us_promise_1(start):
    """The registries are the customer's: its own hooks run as before, on the same number of sockets."""
    bare, layered = snapshot(start, layer=None), snapshot(start)
    answers = []
    for platform in (bare, layered):
        restore(platform)
        answers.append(json.loads(platform.invoke().posted.body))
    assert [word for word in answers[1] if word != "renewed"] == answers[0]


def test_the_pause_is_in_no_duration(start):
    """A snapshot may wait for days: the init ends before it, and the invocation begins after it."""
    began = time.monotonic_ns()
    platform = snapshot(start)
    asked_ms = (platform.ledger.entries(REQUEST)[0].at_ns - began) / 1e6
    platform.api.wait_until(lambda: False, 0.5)  # time that passes, which is what is tested
    restore(platform)
    platform.invoke()
    (document,) = invocation_documents(platform)
    assert document["InitDuration"] < asked_ms + 20  # the kernel tells a process's start to 10 ms
    assert document["Duration"] < 400
    assert 0 <= document["init"]["after_restore_ms"] < 400


def test_two_environments_of_one_snapshot_make_other_ids(start):
    """What the snapshot holds is shared by all that come out of it; ids are made after the restore."""
    platforms = [snapshot(start) for _ in range(2)]
    ids = []
    for platform in platforms:
        restore(platform)
        platform.invoke(trace_id=TRACE)
        ids += [segment["id"] for segment in platform.segments]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(("fail", "code"), [("before", 64), ("exit", 64), ("after", 65)])
def test_a_hook_of_the_customers_that_fails_is_told_as_without_us_promise_1(start, layer, fail, code):
    """Errors of hooks are posted by the runtime, with its own types and exit codes."""
    runs = []
    for attached in (None, layer):
        platform = start("snap.handler", layer=attached, init_type="snap-start", environment={"FAIL": fail})
        platform.api.restore.set()
        assert platform.wait_exit() == code
        platform.close()
        runs.append((posted(platform), printed(platform), complained(platform)))
    assert runs[0] == runs[1]
    assert runs[0][0]


@pytest.mark.parametrize("name", ["broken_value.handler", "broken_import.handler", "app.missing"])
def test_a_snapshot_that_cannot_be_made_is_told_once(start, name):
    """An init that fails has one record, whatever the init was for."""
    platform = snapshot(start, name)
    assert platform.wait_exit() == 1
    (document,) = invocation_documents(platform)
    assert document["outcome"] == "init_error"


def test_a_snapshot_function_without_hooks_is_restored_too(start):
    """Most functions know nothing of snapshots."""
    platform = snapshot(start, "app.handler")
    restore(platform)
    platform.invoke()
    (document,) = invocation_documents(platform)
    assert (document["start"], document["outcome"]) == ("restored", "ok")


# --- provisioned concurrency --------------------------------------------------------------------------------------


def test_a_provisioned_start_is_neither_cold_nor_warm(start):
    """Nobody waited for this init: it is no cold start, and its duration is not one a caller saw."""
    platform = start(init_type="provisioned-concurrency")
    platform.invoke()
    platform.invoke()
    first, second = invocation_documents(platform)
    assert (first["start"], second["start"]) == ("provisioned", "warm")
    assert (first["ColdStart"], second["ColdStart"]) == (0, 0)
    assert "InitDuration" not in first


@pytest.mark.parametrize("event", [b'{"case": "plain"}', b"{not json"], ids=["raises", "undecodable"])
def test_a_cold_start_is_told_when_the_first_invocation_fails(start, event):
    """The first invocation is the cold one, however it ends; the second is not."""
    platform = start("failures.handler")
    platform.invoke(event)
    platform.invoke(event)
    first, second = invocation_documents(platform)
    assert [document["start"] for document in (first, second)] == ["cold", "warm"]
    assert [document["ColdStart"] for document in (first, second)] == [1, 0]
    assert [document["outcome"] for document in (first, second)] == ["error", "error"]
    assert "InitDuration" in first
    assert "init" not in second
