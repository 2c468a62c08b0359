"""Four ways in, each through the real runtime client; however many meet, a handler runs once and is recorded once."""

import json

import pytest

from coldspan_console.platform.sandbox import BY_VARIABLES
from support import broken, runtimes
from support.running import complained, invocation_documents, posted, printed

WRAPPER = "bootstrap.py"  # the file of the wrapper around the handler
KINDS = [
    "handler", "defaults", "instance", "method", "of_class", "static", "slotted", "Made", "secretive", "partial",
    "anonymous", "around", "raises",
]  # fmt: skip
DECORATED = ["handler", "called", "twice", "inside", "outside", "instance", "partial", "raises", "coroutine"]
PLACES = ["app.handler", "folder/app.handler", "pkg.app.handler", "pkg/deep/app.handler", "pkg.deep.app.handler"]
OFF = {"COLDSPAN_ENABLED": "false"}


def answers(platform, count=2):
    """Invoke `count` times; the bodies that were posted, read."""
    return [json.loads(platform.invoke().posted.body) for _ in range(count)]


def recorded(platform):
    """The request ids of the invocations that were recorded, in order."""
    return [document["request_id"] for document in invocation_documents(platform)]


def given(platform):
    """The request ids of the invocations that were posted, in order."""
    return [exchange.path.split("/")[-2] for exchange in platform.posts if "/invocation/" in exchange.path]


def told(answer):
    """What a handler of `ways` told, whether it returned or raised it."""
    return answer if "kind" in answer else json.loads(answer["errorMessage"].replace("'", '"'))


# --- the layer alone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_alone_records_a_handler_of_any_kind(start, kind):
    """Attaching the layer is all it takes, whatever kind of object the handler is."""
    platform = start(f"ways.{kind}")
    first, second = (told(answer) for answer in answers(platform))
    assert (first["count"], second["count"]) == (1, 2)
    assert first["above"] == [WRAPPER]
    assert recorded(platform) == given(platform)
    assert len(recorded(platform)) == 2


@pytest.mark.parametrize("name", PLACES)
def test_the_layer_alone_finds_a_handler_at_any_place(start, name):
    """Handler strings with slashes, dots and nested packages work as they do without us."""
    platform = start(name)
    answers(platform)
    assert recorded(platform) == given(platform)
    assert len(recorded(platform)) == 2


def test_the_layer_alone_works_where_it_cannot_be_mounted_at_opt(start):
    """Nothing in the recorder depends on the name of the folder that the layer is in."""
    platform = start("ways.handler", mounting=BY_VARIABLES)
    first, _ = answers(platform)
    assert platform.sandbox.mounting == BY_VARIABLES
    assert first["above"] == [WRAPPER]
    assert recorded(platform) == given(platform)


def test_a_function_that_sets_pythonpath_runs_unrecorded_and_unharmed(start):
    """The runtime then skips the layer's .pth: nothing is recorded, nothing broken. The wrapper is the way in there."""
    platform = start("ways.handler", environment={"PYTHONPATH": "/nonexistent"})
    first, second = answers(platform)
    assert (first["above"], second["count"]) == ([], 2)
    assert platform.documents == []


# --- the exec wrapper ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pythonpath", [None, "/nonexistent"])
def test_the_exec_wrapper_records_with_and_without_pythonpath(start, pythonpath):
    """The wrapper is the way in where PYTHONPATH hides the layer; it adds nothing where the .pth worked."""
    environment = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/coldspan", **({"PYTHONPATH": pythonpath} if pythonpath else {})}
    platform = start("ways.handler", environment=environment)
    first, second = answers(platform)
    assert (first["count"], second["count"]) == (1, 2)
    assert first["above"] == [WRAPPER]
    assert recorded(platform) == given(platform)


def test_the_exec_wrapper_calls_the_next_one(start):
    """A function that needs another vendor's wrapper keeps it: COLDSPAN_NEXT_WRAPPER names it."""
    environment = {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/coldspan",
        "COLDSPAN_NEXT_WRAPPER": "/var/task/wrapper",
        "PYTHONPATH": "/nonexistent",
    }
    platform = start("environment.handler", environment=environment)
    answer, _ = answers(platform)
    assert answer["OTHER_WRAPPER"] == "was here"
    assert recorded(platform) == given(platform)


@pytest.mark.parametrize("wrapped", [False, True], ids=["layer alone", "exec wrapper"])
def test_the_function_sees_the_environment_and_search_path_it_would_see_without_us_promise_5(start, tmp_path, wrapped):
    """No variable, search path entry or argument of ours is left where the customer's code could trip over it."""
    (tmp_path / "python").mkdir()  # another layer, with nothing in it
    environment = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/coldspan"} if wrapped else {}
    bare, _ = answers(start("environment.handler", layer=tmp_path))
    layered, _ = answers(start("environment.handler", environment=environment))
    for name in ("AWS_LAMBDA_RUNTIME_API", "AWS_XRAY_DAEMON_ADDRESS"):  # other ports
        del bare[name], layered[name]
    layered.pop("AWS_LAMBDA_EXEC_WRAPPER", None)
    journals = [path for path in layered["files"] if path.endswith(".journal")]
    assert 1 <= len(journals) <= 2  # before Python 3.13 a map keeps a descriptor of its own
    layered["files"] = [path for path in layered["files"] if path not in journals]
    assert layered == bare


@pytest.mark.parametrize("name", ["broken_value.handler", "broken_import.handler", "app.missing", "ways.raises"])
def test_the_exec_wrapper_leaves_the_bytes_as_they_are_promise_1(start, name):
    """Through the wrapper, too, the runtime posts what it would have posted."""
    environment = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/coldspan"}
    bare, layered = (start(name, layer=None), start(name, environment=environment))
    for platform in (bare, layered):
        platform.invoke(request_id="11111111-2222-4333-8444-000000000000")
        platform.close()
    if name == "ways.raises":  # it tells of our frame, which stays out of the trace
        assert posted(layered)[0][3].replace(b"'bootstrap.py'", b"") == posted(bare)[0][3]
    else:
        assert posted(layered) == posted(bare)
        assert layered.exit_code == bare.exit_code
        assert (printed(layered), complained(layered)) == (printed(bare), complained(bare))


# --- every runtime client -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", runtimes.VERSIONS)
@pytest.mark.parametrize(
    "way", ["layer", "wrapper", "redirect", "redirect without the layer", "decorator", "async", "async off"]
)
def test_every_way_in_works_with_every_runtime_client(start, layers, task_with_package, way, version):
    """The runtime client has renamed and moved what we hold on to before: each release is tried in each way."""
    python = next((python for python, found in runtimes.pairs() if found == version), None)
    if python is None:
        pytest.skip(f"no interpreter at hand for awslambdaric {version}: {runtimes.absence('3.14', version)}")
    interpreter = runtimes.interpreters()[python]
    fields = {"python": interpreter, "runtime": runtimes.runtime(python, version), "layer": layers(interpreter)}
    handler, environment = "ways.handler", {}
    match way:
        case "wrapper":
            environment = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/coldspan", "PYTHONPATH": "/nonexistent"}
        case "redirect":
            handler, environment = "coldspan.handler", {"COLDSPAN_HANDLER": "ways.handler"}
        case "redirect without the layer":
            handler, environment = "coldspan.handler", {"COLDSPAN_HANDLER": "ways.handler"}
            fields |= {"layer": None, "task": task_with_package}
        case "decorator":
            handler = "by_hand.handler"
            fields |= {"layer": None, "task": task_with_package}
        case "async":
            handler, environment = "awaited.handler", {"COLDSPAN_ASYNC_HANDLER": "true"}
        case "async off":
            handler, environment = "awaited.handler", {"COLDSPAN_ASYNC_HANDLER": "true", **OFF}
    platform = start(handler, environment=environment, **fields)
    first, second = answers(platform)
    assert (first["count"], second["count"]) == (1, 2)
    assert (WRAPPER in first["above"]) == (way != "async off")
    assert recorded(platform) == ([] if way == "async off" else given(platform))


# --- the redirect -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packaged", [False, True], ids=["layer", "package"])
@pytest.mark.parametrize(
    "name", [*PLACES, *(f"ways.{kind}" for kind in ("instance", "method", "Made", "partial", "raises"))]
)
def test_the_redirect_runs_the_handler_it_names(start, task_with_package, name, packaged):
    """Handler: coldspan.handler and COLDSPAN_HANDLER do what the handler's own name would do, with layer or without."""
    where = {"task": task_with_package, "layer": None} if packaged else {}
    platform = start("coldspan.handler", environment={"COLDSPAN_HANDLER": name}, **where)
    answers(platform)
    assert recorded(platform) == given(platform)
    assert len(recorded(platform)) == 2


@pytest.mark.parametrize("packaged", [False, True], ids=["layer", "package"])
@pytest.mark.parametrize(
    "name",
    [
        *(f"{name.removesuffix('.py')}.handler" for name in broken.MODULES if name != "broken_recursion.py"),
        "app.missing",
        "no/such/app.handler",
        "app",
        "sys.exit",
    ],
)
def test_the_redirect_reports_the_runtimes_own_error_promise_1(start, task_with_package, name, packaged):
    """What is wrong with the named handler is told as if it had been named to the runtime itself."""
    where = {"task": task_with_package, "layer": None} if packaged else {}
    bare = start(name, layer=None)
    redirected = start("coldspan.handler", environment={"COLDSPAN_HANDLER": name}, **where)
    for platform in (bare, redirected):
        platform.invoke(request_id="11111111-2222-4333-8444-000000000000")
        platform.close()
    assert posted(redirected) == posted(bare)
    assert redirected.exit_code == bare.exit_code


@pytest.mark.parametrize("environment", [{}, {"COLDSPAN_HANDLER": ""}, {"COLDSPAN_HANDLER": "coldspan.handler"}])
def test_the_redirect_to_nowhere_ends_as_an_init_error(start, environment):
    """A redirect that is not set up is told by the runtime at init; it does not hang and is no mystery."""
    platform = start("coldspan.handler", environment=environment)
    assert platform.wait_exit() == 1
    assert platform.api.init_errors


@pytest.mark.parametrize("packaged", [False, True], ids=["layer", "package"])
def test_the_redirect_works_when_switched_off_promise_7(start, task_with_package, packaged):
    """The off switch must not take away the function's handler."""
    where = {"task": task_with_package, "layer": None} if packaged else {}
    platform = start("coldspan.handler", environment={"COLDSPAN_HANDLER": "ways.handler", **OFF}, **where)
    first, second = answers(platform)
    assert (first["above"], second["count"]) == ([], 2)
    assert platform.documents == []


# --- the decorator ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packaged", [False, True], ids=["layer", "package"])
@pytest.mark.parametrize("kind", [*DECORATED, "hidden"])
def test_the_decorator_records_once_with_and_without_the_layer(start, task_with_package, kind, packaged):
    """A decorated handler is one handler: from the package alone, or with the layer's own wrapper around it."""
    where = {"task": task_with_package, "layer": None} if packaged else {}
    platform = start(f"by_hand.{kind}", **where)
    first, second = (told(answer) for answer in answers(platform))
    assert (first["count"], second["count"]) == (1, 2)
    assert recorded(platform) == given(platform)
    assert len(recorded(platform)) == 2


def test_all_four_ways_at_once_record_once_promise_1(start, task_with_package):
    """Layer, package, exec wrapper, redirect and decorator on one function: one run, one record."""
    environment = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/coldspan", "COLDSPAN_HANDLER": "by_hand.twice"}
    platform = start("coldspan.handler", task=task_with_package, environment=environment)
    first, second = answers(platform)
    assert (first["count"], second["count"]) == (1, 2)
    assert first["above"] == [WRAPPER]
    assert recorded(platform) == given(platform)


def test_the_decorated_handler_works_when_switched_off_promise_7(start):
    """Off, the decorator does nothing but to drive a coroutine, which any handler may give."""
    platform = start("by_hand.handler", environment=OFF)
    first, second = answers(platform)
    assert (WRAPPER in first["above"], second["count"]) == (False, 2)
    assert platform.documents == []


# --- async def ----------------------------------------------------------------------------------------------------


def test_an_async_handler_is_left_to_the_runtime_unless_asked_promise_1(start):
    """The managed runtime refuses a coroutine; by itself the layer does not change what a function does."""
    bare, layered = start("awaited.handler", layer=None), start("awaited.handler")
    for platform in (bare, layered):
        platform.invoke(request_id="11111111-2222-4333-8444-000000000000")
    assert posted(layered) == posted(bare)
    assert json.loads(layered.posts[0].body)["errorType"] == "Runtime.MarshalError"
    assert invocation_documents(layered)[0]["outcome"] == "unserialisable"


@pytest.mark.parametrize("redirect", [False, True], ids=["by name", "by redirect"])
@pytest.mark.parametrize("off", [False, True], ids=["on", "off"])
def test_an_async_handler_is_driven_when_asked_also_when_switched_off_promise_7(start, off, redirect):
    """COLDSPAN_ASYNC_HANDLER=true runs it on one loop for the life of the environment; off must not break that."""
    environment = {"COLDSPAN_ASYNC_HANDLER": "true", **(OFF if off else {})}
    if redirect:
        environment["COLDSPAN_HANDLER"] = "awaited.handler"
    platform = start("coldspan.handler" if redirect else "awaited.handler", environment=environment)
    first, second = answers(platform)
    assert (first["kind"], second["same_loop"], second["invocations"]) == ("async", True, 2)
    assert recorded(platform) == ([] if off else given(platform))


@pytest.mark.parametrize("name", ["instance", "partial", "plain", "returns_coroutine"])
def test_an_async_handler_of_any_kind_is_driven(start, name):
    """Callable objects, partials and functions that give a coroutine are async handlers, too; plain ones stay plain."""
    platform = start(f"awaited.{name}", environment={"COLDSPAN_ASYNC_HANDLER": "true"})
    first, _ = answers(platform)
    assert first["kind"].startswith("async")
    assert recorded(platform) == given(platform)


@pytest.mark.parametrize("name", ["instance", "partial", "returns_coroutine"])
def test_an_async_handler_of_any_kind_is_driven_when_switched_off_promise_7(start, name):
    """What is driven when we are on is driven when we are off."""
    platform = start(f"awaited.{name}", environment={"COLDSPAN_ASYNC_HANDLER": "true", **OFF})
    first, _ = answers(platform)
    assert first["kind"].startswith("async")


@pytest.mark.parametrize("off", [False, True], ids=["on", "off"])
def test_an_async_handler_with_the_decorator_is_driven_also_when_switched_off_promise_7(start, off):
    """A function that was written for the decorator goes on to work."""
    platform = start("by_hand.coroutine", environment=OFF if off else {})
    first, second = answers(platform)
    assert (first["kind"], second["count"]) == ("coroutine", 2)
    assert recorded(platform) == ([] if off else given(platform))


def test_an_async_handler_that_raises_is_reported_without_frames_of_ours_promise_1(start):
    """The stack trace of a coroutine begins in the customer's code or in asyncio, never in ours."""
    platform = start("awaited.handler", environment={"COLDSPAN_ASYNC_HANDLER": "true"})
    platform.invoke(b'{"raise": "error"}')
    error = json.loads(platform.posts[0].body)
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "in a coroutine")
    assert "awaited.py" in error["stackTrace"][-1]
    assert "python/coldspan/" not in str(error["stackTrace"])
    assert invocation_documents(platform)[0]["outcome"] == "error"
    platform.invoke(b'{"task": 1}')
    assert json.loads(platform.posts[1].body)["kind"] == "task"
    platform.invoke(b'{"raise": "exit"}')
    assert platform.wait_exit() == 3
    assert [document["outcome"] for document in invocation_documents(platform)] == ["error", "ok", "error"]


# --- off ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["false", "False", "0", "no", "off"])
def test_off_leaves_no_patch_no_thread_and_no_line_promise_7(start, word):
    """The off switch leaves the process as it would be without the layer, but for the modules that read the switch."""
    bare, off = start("looks.handler", layer=None), start("looks.handler", environment={"COLDSPAN_ENABLED": word})
    (without, _), (with_us, _) = answers(bare), answers(off)
    assert without.pop("modules") == []
    with_us.pop("modules")
    assert with_us == without
    assert off.documents == []
    assert off.segments == []


def test_on_is_seen_by_what_off_is_measured_with_promise_7(start):
    """The test above could fail: with the layer on, the same look finds patches and our finder."""
    seen, _ = answers(start("looks.handler"))
    assert any(name.endswith(".wait_next_invocation") for name in seen["changed"])
    assert any(name.startswith("coldspan") for name in seen["finders"])


@pytest.mark.parametrize("word", ["", "maybe", "2"])
def test_an_unreadable_switch_is_on_and_is_told(start, word):
    """A typing error in the switch neither turns the recorder off silently nor breaks the function."""
    platform = start("ways.handler", environment={"COLDSPAN_ENABLED": word})
    answers(platform)
    document = invocation_documents(platform)[0]
    assert document.get("settings_refused", []) == (["COLDSPAN_ENABLED"] if word else [])


def test_on_starts_no_thread_promise_2(start):
    """The recorder runs in the runtime's own thread: there is nothing of ours that could go on by itself."""
    bare, on = start("looks.handler", layer=None), start("looks.handler")
    (without, _), (with_us, _) = answers(bare), answers(on)
    for name in ("threads", "hooks", "stdout", "excepthook", "trace", "recursion"):
        assert with_us[name] == without[name], name
