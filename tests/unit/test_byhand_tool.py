"""Functions marked by `coldspan.tool` stay what they are, and each of their calls is recorded."""

import asyncio
import functools
import gc
import inspect
import traceback

import pytest

import coldspan
from coldspan.core.record import Invocation
from coldspan.core.result import to_result
from coldspan.hot import scope as scope_module


@pytest.fixture
def invocation(scope, monkeypatch):
    """A live invocation in a recorder that runs."""
    monkeypatch.setattr(scope_module, "active", scope)
    invocation = Invocation("invocation", "1", scope.new_id(), scope.clock(), scope.wall())
    scope.current.set(invocation)
    return invocation


@pytest.fixture(params=["recorded", "off"])
def either(request):
    """The same test with a live invocation, and where no recorder runs."""
    return request.getfixturevalue("invocation") if request.param == "recorded" else None


def records(invocation):
    return [to_result(call) for call in invocation.calls]


def test_tool_on_a_plain_function_records_name_and_function(invocation):
    """The name given is the tool, the function the operation."""

    @coldspan.tool("pricing")
    def quote(order, *, vip=False):
        """Say the price."""
        return (order, vip)

    assert quote(7, vip=True) == (7, True)
    (record,) = records(invocation)
    assert (record.tool, record.operation, record.status) == ("pricing", "quote", "ok")
    assert quote.__doc__ == "Say the price."
    assert str(inspect.signature(quote)) == "(order, *, vip=False)"
    assert quote.__wrapped__ is not None


@pytest.mark.parametrize(
    ("decorate", "names"),
    [
        (coldspan.tool, ("quote", "quote")),
        (coldspan.tool(), ("quote", "quote")),
        (coldspan.tool("pricing", "ask"), ("pricing", "ask")),
        (coldspan.tool(name="pricing", operation="ask"), ("pricing", "ask")),
    ],
)
def test_tool_bare_and_with_names(invocation, decorate, names):
    """Every spelling of the decorator must work."""

    def quote():
        return 1

    assert decorate(quote)() == 1
    assert [(record.tool, record.operation) for record in records(invocation)] == [names]


def test_tool_keeps_the_kind_of_function():
    """Frameworks ask what kind of function they were given."""

    def plain():
        pass

    async def coroutine():
        pass

    def generator():
        yield

    async def async_generator():
        yield

    for function in (plain, coroutine, generator, async_generator):
        wrapped = coldspan.tool("x")(function)
        for ask in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
            assert ask(wrapped) == ask(function), (function.__name__, ask.__name__)


def test_tool_on_methods_of_every_kind(invocation):
    """Self and cls must arrive."""

    class Prices:
        @coldspan.tool("plain")
        def plain(self):
            return self

        @coldspan.tool("class")
        @classmethod
        def of_class(cls):
            return cls

        @coldspan.tool("static")
        @staticmethod
        def of_none():
            return 1

        @classmethod
        @coldspan.tool("inner")
        def inner(cls):
            return cls

    prices = Prices()
    assert prices.plain() is prices
    assert prices.of_class() is Prices
    assert Prices.of_none() == 1
    assert prices.inner() is Prices
    assert [record.tool for record in records(invocation)] == ["plain", "class", "static", "inner"]


def test_tool_on_an_async_function_in_disguise_ends_with_it(scope, invocation, fake_clock):
    """functools.partial and callable objects hide an async function; the call must last as long as it does."""

    async def slow(ms):
        assert scope.position().operation in ("slow", "Slow", "lazy")
        await asyncio.sleep(0)
        fake_clock.advance(ms=ms)
        return ms

    class Slow:
        async def __call__(self, ms):
            return await slow(ms)

    async def handler():
        assert await coldspan.tool("partial", "slow")(functools.partial(slow, 5))() == 5
        assert await coldspan.tool("object")(Slow())(6) == 6
        lazy = coldspan.tool("lambda", "lazy")(lambda ms: slow(ms))  # noqa: PLW0108  # a plain function
        waiting = lazy(7)
        assert scope.position() is invocation
        assert await waiting == 7
        assert scope.position() is invocation

    asyncio.run(handler())
    assert [(record.tool, record.duration_ms) for record in records(invocation)] == [
        ("partial", 5.0),
        ("object", 6.0),
        ("lambda", 7.0),
    ]


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ({"content": [], "isError": True}, "error"),
        ({"content": [], "isError": False}, "ok"),
        ({"content": [], "isError": "true"}, "ok"),
        ({"content": [], "isError": 1}, "ok"),
        (type("CallToolResult", (), {"is_error": True})(), "error"),
        (type("CallToolResult", (), {"isError": True})(), "error"),
        (type("Other", (), {"isError": True})(), "ok"),
    ],
)
def test_tool_that_answers_with_an_error_has_failed(invocation, result, status):
    """A tool call that failed inside a successful answer must not count as a success."""
    assert coldspan.tool("mcp")(lambda: result)() is result
    (record,) = records(invocation)
    assert record.status == status
    assert record.attributes.get("error.type") == (None if status == "ok" else "tool_error")


def boom():
    raise LookupError("no such order")


def fails():
    boom()


async def fails_later():
    await asyncio.sleep(0)
    boom()


def fails_between():
    yield 1
    boom()


async def fails_between_later():
    yield 1
    boom()


def run_all(function):
    """Run a function of any kind to its end."""
    if inspect.isgeneratorfunction(function):
        return list(function())
    if inspect.isasyncgenfunction(function):

        async def drain():
            return [item async for item in function()]

        return asyncio.run(drain())
    return asyncio.run(function()) if inspect.iscoroutinefunction(function) else function()


@pytest.mark.parametrize("function", [fails, fails_later, fails_between, fails_between_later])
def test_exception_leaves_a_tool_as_it_was_promise_1(either, function):
    """Promise 1: the exception is the same object with the same traceback as without us, recorded or not."""
    texts = []
    for run in (function, coldspan.tool("x")(function)):
        with pytest.raises(LookupError, match="no such order") as caught:
            run_all(run)
        frames = traceback.extract_tb(caught.value.__traceback__)
        texts.append([(frame.filename, frame.name, frame.lineno) for frame in frames][2:])
        assert caught.value.__context__ is None
    assert texts[0] == texts[1]
    if either is not None:
        (record,) = records(either)
        assert (record.status, record.message) == ("error", "LookupError: no such order")


def test_generator_is_one_call_and_leaves_the_position_between_steps(scope, either, fake_clock):
    """The consumer's own calls must not become children of a generator it reads."""

    @coldspan.tool("rows")
    def rows():
        for number in range(3):
            with coldspan.call("db", "fetch"):
                fake_clock.advance(ms=1)
            yield number
        return "end"

    outer = scope.current.get()
    found = []
    stream = rows()
    for number in stream:
        found.append(number)
        assert scope.current.get() is outer
        with coldspan.call("api", "send"):
            fake_clock.advance(ms=1)
    assert found == [0, 1, 2]
    if either is not None:
        fetches = [call for call in either.calls if call.tool == "db"]
        sends = [call for call in either.calls if call.tool == "api"]
        (whole,) = [call for call in either.calls if call.tool == "rows"]
        assert [call.parent for call in fetches] == [whole] * 3
        assert [call.parent for call in sends] == [either] * 3
        assert to_result(whole).duration_ms == 6.0


def conversation():
    log = []
    try:
        while True:
            try:
                log.append((yield len(log)))
            except KeyError as error:
                log.append(error)
    except ValueError as error:
        return [*log, error]
    finally:
        log.append("closed")


def test_generator_takes_send_throw_and_return_value(either):
    """A coroutine of the old kind must go on working."""
    talk = coldspan.tool("talk")(conversation)()
    key, value = KeyError("k"), ValueError("v")
    assert next(talk) == 0
    assert talk.send("a") == 1
    assert talk.throw(key) == 2
    with pytest.raises(StopIteration) as stop:
        talk.throw(value)
    assert stop.value.value == ["a", key, value]

    def outer():
        return (yield from coldspan.tool("talk")(conversation)())

    through = outer()
    next(through)
    with pytest.raises(StopIteration) as stop:
        through.throw(value)
    assert stop.value.value == [value]
    if either is not None:
        assert [record.status for record in records(either)] == ["ok", "ok"]


def test_generator_that_is_left_early_is_closed_and_recorded(scope, either):
    """A generator must be able to clean up, and its call must end."""
    cleaned = []

    @coldspan.tool("rows")
    def rows():
        try:
            yield 1
            yield 2
        finally:
            cleaned.append(scope.current.get())

    for _ in rows():
        break
    gc.collect()
    early = rows()
    next(early)
    early.close()
    rows().close()  # never begun
    assert len(cleaned) == 2
    if either is not None:
        assert [record.status for record in records(either)] == ["ok", "ok"]
        assert cleaned[1] is either.calls[1]
        assert either.open == {}
        assert scope.current.get() is either


def test_generator_that_fails_while_closing_says_so(invocation):
    """An error in a finally block is an error."""

    @coldspan.tool("rows")
    def rows():
        try:
            yield 1
        finally:
            boom()

    early = rows()
    next(early)
    with pytest.raises(LookupError):
        early.close()
    assert [record.status for record in records(invocation)] == ["error"]


def test_two_generators_interleaved_do_not_mix(invocation):
    """Steps of two generators in turn must each find their own position."""

    @coldspan.tool("rows")
    def rows(name):
        for _ in range(3):
            with coldspan.call("db", name):
                pass
            yield name

    assert list(zip(rows("a"), rows("b"), strict=True)) == [("a", "b")] * 3
    first, second = [call for call in invocation.calls if call.tool == "rows"]
    assert first.parent is second.parent is invocation
    by_name = {name: {call.parent for call in invocation.calls if call.operation == name} for name in "ab"}
    assert sorted(map(len, by_name.values())) == [1, 1]
    assert by_name["a"] | by_name["b"] == {first, second}


def test_async_generator_takes_asend_athrow_and_aclose(scope, either):
    """The protocol of an async generator must go through unchanged."""
    closed = []

    @coldspan.tool("feed")
    async def feed():
        got = None
        try:
            while True:
                await asyncio.sleep(0)
                try:
                    got = yield got
                except KeyError as error:
                    got = error
        finally:
            await asyncio.sleep(0)
            closed.append(got)

    async def handler():
        outer = scope.current.get()
        stream = feed()
        key = KeyError("k")
        assert await stream.asend(None) is None
        assert await stream.asend("a") == "a"
        assert await stream.athrow(key) is key
        assert scope.current.get() is outer
        await stream.aclose()
        other = feed()
        await other.asend(None)
        with pytest.raises(ValueError, match="v"):
            await other.athrow(ValueError("v"))
        async for _ in (early := feed()):
            break
        await early.aclose()

    asyncio.run(handler())
    assert len(closed) == 3
    if either is not None:
        assert [record.status for record in records(either)] == ["ok", "error", "ok"]
        assert either.open == {}


def test_cancelled_tool_is_cancelled(invocation):
    """A task that is cancelled has not failed."""

    @coldspan.tool("slow")
    async def slow():
        await asyncio.Event().wait()

    async def handler():
        task = asyncio.create_task(slow())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(handler())
    assert [record.status for record in records(invocation)] == ["cancelled"]


@pytest.mark.parametrize(
    ("payloads", "fails", "kept"),
    [("off", True, False), ("errors", False, False), ("errors", True, True), ("all", False, True)],
)
def test_tool_payload_is_kept_only_when_asked_promise_6(settings, invocation, payloads, fails, kept):
    """Promise 6: arguments and answers stay where they are unless asked for, and then they are masked."""
    settings.payloads = payloads

    @coldspan.tool("pricing")
    def quote(order, password):
        return {"isError": fails, "order": order}

    quote(7, password="hunter2")
    expected = {"request": {"args": [7], "kwargs": {"password": "***"}}, "response": {"isError": fails, "order": 7}}
    assert records(invocation)[0].payload == (expected if kept else None)


@pytest.mark.expects_drops("arguments_refused")
def test_tool_on_what_cannot_be_wrapped_gives_it_back(scope, invocation):
    """A class must stay a class; nothing that is decorated may be lost."""

    @coldspan.tool
    class Order:
        pass

    assert isinstance(Order, type)
    assert coldspan.tool("x")(None) is None
    assert coldspan.tool("x", "y", "z")(boom) is not None
    assert scope.buffer.drops == {"arguments_refused": 3}


def test_tool_marked_before_the_recorder_starts_records_when_it_runs(scope, monkeypatch):
    """Decorators run at import, perhaps before the recorder does."""
    quote = coldspan.tool("pricing")(lambda: 1)
    assert quote() == 1
    monkeypatch.setattr(scope_module, "active", scope)
    invocation = Invocation("invocation", "1", scope.new_id(), scope.clock(), scope.wall())
    scope.current.set(invocation)
    assert quote() == 1
    assert len(invocation.calls) == 1


def test_tool_keeps_no_reference_to_arguments_and_results(invocation):
    """Nothing of ours holds the customer's objects after the call."""

    class Big:
        pass

    quote = coldspan.tool("pricing")(lambda big: big)
    stream = coldspan.tool("rows")

    @stream
    def rows(big):
        yield big

    big = Big()
    before = len(gc.get_referrers(big))
    quote(big)
    list(rows(big))
    gc.collect()
    assert len(gc.get_referrers(big)) == before
    assert len(invocation.calls) == 2
