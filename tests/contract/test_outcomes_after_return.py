"""What becomes of an invocation after its handler has returned, as the record tells it."""

import json

import pytest

from coldspan_console.platform import Answer, Invocation
from support import runtimes
from support.running import invocation_documents

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:coldspan-test:1/durable-execution/name/0123"
EXECUTION = {"Id": "0", "Type": "EXECUTION", "Status": "STARTED", "StartTimestamp": 1_795_397_120.5}
STEP = {"Id": "1", "Type": "STEP", "Status": "SUCCEEDED"}


def durable(answer, *operations, marker=None):
    """The event of one pass over a durable execution; `answer` is the status that the handler is to give."""
    state = {"Operations": [EXECUTION, *operations], "NextMarker": marker}
    fields = {"DurableExecutionArn": ARN, "CheckpointToken": "t", "InitialExecutionState": state, "answer": answer}
    return json.dumps(fields).encode()


def document_of(platform, *args, **fields):
    """Invoke once; the record of it."""
    invocation = platform.invoke(*args, **fields)
    (document,) = (one for one in invocation_documents(platform) if one["request_id"] == invocation.request_id)
    return document


@pytest.mark.parametrize("case", ["set", "object", "generator", "circular", "nested bytes not utf-8", "datetime"])
def test_a_result_that_cannot_be_serialised_has_its_own_outcome(start, case):
    """The handler returned normally; only the runtime found that nobody can read what it gave."""
    document = document_of(start("results.handler"), json.dumps({"case": case}).encode())
    assert (document["outcome"], document["error_type"]) == ("unserialisable", "Runtime.MarshalError")
    assert document["error_message"].startswith("Unable to marshal response")
    assert (document["Error"], document["flush"]) == (1, "after_response")


def test_a_response_that_is_too_large_has_its_own_outcome(start):
    """Lambda answers 413, the runtime ends: the record leaves in between."""
    platform = start("sized.handler")
    document = document_of(platform, b'{"bytes": 6500000}')
    assert document["outcome"] == "too_large"
    assert (document["Error"], document["ResponseBytes"]) == (1, 6_500_002)
    assert platform.wait_exit() == 1


@pytest.mark.parametrize("answer", [Answer.container_error, lambda: Answer(reset=True)], ids=["500", "reset"])
def test_a_response_that_does_not_arrive_is_an_error(start, answer):
    """The handler's success is nobody's when the platform could not take it."""
    platform = start()
    document = document_of(platform, Invocation(answer=answer()))
    assert (document["outcome"], document["Error"]) == ("error", 1)
    assert platform.wait_exit() == 1


def test_an_error_that_is_refused_stays_the_handlers_error(start):
    """A post that fails after a handler that failed is told by the handler's error: that is what to look for."""
    platform = start("failures.handler")
    document = document_of(platform, Invocation(b'{"case": "plain"}', answer=Answer.container_error()))
    assert (document["outcome"], document["error_type"]) == ("error", "ValueError")


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [("PENDING", "pending", 0), ("SUCCEEDED", "ok", 0), ("FAILED", "error", 1), ("", "ok", 0)],
)
def test_a_durable_functions_own_status_is_its_outcome(start, answer, outcome, error):
    """`pending` is neither success nor error: the execution goes on in another invocation."""
    document = document_of(start("durable.handler"), durable(answer))
    assert (document["outcome"], document["Error"]) == (outcome, error)
    assert document["trigger"] == "durable"


def test_a_replay_of_a_durable_execution_is_marked_as_one(start):
    """Every pass after the first repeats what is done: it is not a second invocation of the function's work."""
    platform = start("durable.handler")
    first = document_of(platform, durable("PENDING"))
    second = document_of(platform, durable("SUCCEEDED", STEP))
    third = document_of(platform, durable("SUCCEEDED", marker="more"))
    assert [document.get("replay", False) for document in (first, second, third)] == [False, True, True]


def test_a_status_of_pending_means_nothing_outside_a_durable_function(start):
    """Only the event tells that a function is durable; any function may answer with such a word."""
    document = document_of(start("durable.handler"), b'{"answer": "PENDING"}')
    assert document["outcome"] == "ok"


def test_the_tenant_is_in_its_own_record_alone(start):
    """Tenant isolation: the id comes with the event and goes with it."""
    platform = start()
    assert document_of(platform, tenant_id="blue")["tenant_id"] == "blue"
    assert not document_of(platform).get("tenant_id")


def test_failures_of_a_batch_are_counted(start):
    """A batch that gives records back has succeeded and yet has not."""
    document = document_of(start("results.handler"), b'{"case": "batch"}')
    assert (document["outcome"], document["batch_item_failures"]) == ("ok", 2)


@pytest.mark.parametrize(
    "case", ["batch junk", "list", "null", "dict subclass", "bytes", "empty bytes", "mapping proxy"]
)
def test_a_result_of_any_shape_is_read_without_a_fault_promise_2(start, case):
    """A result that looks like what we know and is not is looked at no further."""
    document = document_of(start("results.handler"), json.dumps({"case": case}).encode())
    assert document["outcome"] in {"ok", "unserialisable"}
    assert "errors" not in document


def test_the_error_text_is_left_out_when_asked_promise_6(start):
    """COLDSPAN_ERROR_TEXT=off keeps every text of the customer's out of the record; the type stays."""
    platform = start("failures.handler", environment={"COLDSPAN_ERROR_TEXT": "off"})
    document = document_of(platform, b'{"case": "nested"}')
    assert document["error_type"] == "ValueError"
    assert "at the bottom" not in json.dumps(document)


@pytest.mark.parametrize(
    ("case", "kind", "faults"), [("mute", "Mute", ["fail"]), ("surrogate error", "ValueError", [])]
)
def test_what_breaks_the_runtime_client_itself_is_recorded_promise_2(start, case, kind, faults):
    """An exception without a text, or with one that is none: the process ends, and the record says what did it."""
    platform = start("fatal.handler", faults=faults)
    platform.invoke(json.dumps({"case": case}).encode())
    assert platform.wait_exit() == 1
    (document,) = invocation_documents(platform)
    assert (document["outcome"], document["error_type"], document["flush"]) == ("error", kind, "before_response")


@pytest.mark.parametrize("python", runtimes.interpreters())
def test_a_result_that_cannot_be_encoded_is_an_error_where_it_is_one(start, layers, python):
    """Up to 3.11 the runtime escapes what is no character; later ones try to send it, and end."""
    where = {"python": runtimes.interpreters()[python], "runtime": runtimes.runtime(python, runtimes.VERSIONS[-1])}
    platform = start("fatal.handler", layer=layers(where["python"]), **where)
    document = document_of(platform, b'{"case": "surrogate"}')
    ended = platform.exit_code is not None
    expected = ("error", "UnicodeEncodeError") if ended else ("ok", None)
    assert (document["outcome"], document.get("error_type")) == expected
    assert ended == (python != "3.11")
