"""The report in real Chromium: every view, by click, address and key; hostile data; ten thousand invocations."""

import json

import pytest

from coldspan_console.report.data import page_data
from coldspan_console.report.page import render
from coldspan_console.report.serving import LiveReport
from coldspan_console.store import Filter, Store
from coldspan_console.store.listing import report_link

from .documents import documents

VIEWS = {
    "": "Invocations over time", "list": "what was wrong", "failures": "ids and numbers in messages are folded",
    "map": "how busy", "imports": "Costliest packages",
}  # fmt: skip
HOSTILE = [
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 2'>",
    "\u2028\u2029 \u202eright to left\u202c",
    "half \ud800 a surrogate",
    "${window.broken = 3} {{7*7}} `x`",
    "\"'><svg onload=window.broken=4>",
    "__proto__",
    "a" * 100_000,
]


@pytest.fixture(scope="module")
def many():
    """Two hundred invocations."""
    return documents(200)


def until(page, said, arg=None, timeout=30_000):
    """Wait until an expression, or a function of `arg`, is true in the page; its policy forbids the driver's own way."""
    for _ in range(timeout // 50):
        if page.evaluate(said, arg):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {said}\n{page.inner_text('main')[:2000]}")


def main_text(page):
    """What the page shows."""
    return page.inner_text("main")


@pytest.mark.parametrize(("view", "words"), VIEWS.items())
def test_every_view_opens_by_its_address(open_page, many, view, words):
    """A link that was sent to somebody."""
    page = open_page(many, f"#/{view}")
    assert words in main_text(page)


@pytest.mark.parametrize(("key", "words"), [("1", "over time"), ("2", "what was wrong"), ("3", "folded"), ("4", "how busy"), ("5", "Costliest")])  # fmt: skip
def test_every_view_opens_by_its_key_and_by_its_tab(open_page, many, key, words):
    """For those who do not use a mouse, and for those who do."""
    page = open_page(many)
    page.keyboard.press(key)
    until(page, "words => document.querySelector('main').innerText.includes(words)", arg=words)
    page.locator("nav a").nth(0).click()
    page.locator("nav a").nth(int(key) - 1).click()
    until(page, "words => document.querySelector('main').innerText.includes(words)", arg=words)


def test_an_invocation_is_found_opened_and_left_by_keys_alone(open_page, many):
    """Slash, words, Enter; j, Enter; Esc."""
    page = open_page(many)
    page.keyboard.press("2")
    page.keyboard.press("/")
    page.keyboard.type("Sandbox.Timedout")
    page.keyboard.press("Enter")
    until(page, "location.hash.includes('q=')")
    page.wait_for_selector("#filters button")  # which clears them: the list is that of the search
    page.wait_for_selector(".rows .badge.killed")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".waterfall")
    assert "killed" in main_text(page)
    page.keyboard.press("Escape")
    page.wait_for_selector(".list")


@pytest.mark.parametrize("request_id", ["", "a?b=1&c", "50%/100%25", "#/list?q=x", "é \u2603"])
def test_a_row_opens_its_invocation_whatever_its_id_is(open_page, many, request_id):
    """What has a meaning in an address was taken for it, and the invocation was not found."""
    page = open_page([{**many[0], "request_id": request_id, "tool": "x"}, *many[1:3]], "#/list")
    page.locator(".rows a").nth(0).click()
    page.wait_for_selector(".waterfall")
    page.reload()
    page.wait_for_selector(".waterfall")
    page.evaluate("location.hash = '#/list?q=100%25+%3F'")
    until(page, "document.getElementById('search').value === '100% ?'")
    page.evaluate("location.hash = '#/invocation/100%'")  # typed, and no address
    until(page, "document.querySelector('main').innerText.includes('No invocation 100%')")


def test_the_address_that_show_prints_opens_an_init_that_failed(open_page, many, tmp_path):
    """It was for no request, and the page knew it by another name."""
    failed = {name: value for name, value in many[0].items() if name != "request_id"} | {"outcome": "init_error"}
    with Store.open(tmp_path / "store.db") as store:
        store.add([failed])
        documents = store.get(f"init-{failed['span_id']}")
        page = open_page(list(store.documents()), report_link(documents[-1]).rpartition("then ")[2])
    assert "init_error" in page.inner_text(".waterfall") + main_text(page)
    assert page.locator(".waterfall").count()


def test_what_is_typed_into_the_search_outlives_a_change_of_the_view(open_page, many):
    """The view may change, or something new may come, while somebody types."""
    page = open_page(many)
    page.keyboard.press("/")
    page.keyboard.type("Sandbox.")
    page.evaluate("location.hash = '#/list'")
    page.wait_for_selector(".list")
    page.keyboard.type("Timedout")
    assert page.input_value("#search") == "Sandbox.Timedout"
    page.keyboard.press("Enter")
    until(page, "location.hash.includes('q=Sandbox.Timedout')")
    page.wait_for_selector("#filters button")
    assert page.evaluate("document.activeElement === document.body")


def test_the_waterfall_shows_what_happened_and_what_was_in_flight(open_page, many):
    """The killed invocation: its calls, the one that was open, the stacks, who told."""
    killed = next(one for one in many if one["outcome"] == "timeout")
    page = open_page(
        many, f"#/invocation/{killed['request_id']}", logs={killed["request_id"]: [{"text": "my log line"}]}
    )
    text = main_text(page)
    for words in (
        "in_flight",
        "app.py:22 place_order",
        "told by next init",
        "Sandbox.Timedout",
        "my log line",
        "61 MB",
    ):
        assert words in text or page.locator(f".s-{words}").count(), words
    assert page.locator(".wbars > i.call").count() == len(killed["calls"])


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0 ms"), (0.1, "0.1 ms"), (10, "10 ms"), (500, "500 ms"), (1_000, "1 s"), (2_500, "2.5 s"), (10_000, "10 s"),
     (100_000, "1.7 min")],
)  # fmt: skip
def test_a_time_at_an_axis_is_the_time_that_it_stands_at(open_page, value, words):
    """A second that says ten: 1.00 s without its first `.0`."""
    assert open_page([]).evaluate("value => tick(value)", value) == words


def test_the_scale_of_a_killed_invocation_is_that_of_its_bars(open_page, many):
    """Three seconds in flight are not twenty, and who told of them stands beside no bar."""
    began = many[0]["_aws"]["Timestamp"] - 3_000
    calls = [{**many[0]["calls"][0], "status": "in_flight", "duration_ms": 2_990.0, "timestamp": began + 8}]
    killed = {
        **many[0],
        "start": "warm",
        "Duration": 3_000.0,
        "Overhead": 0,
        "outcome": "timeout",
        "told_by": "next_init",
        "calls": calls,
    }
    page = open_page([killed], f"#/invocation/{killed['request_id']}", viewport={"width": 1100, "height": 800})
    assert page.locator(".scale span").all_inner_texts() == ["0 ms", "1 s", "2 s", "3 s"]
    assert page.inner_text(".wrow.end .wname") == "◆ killed: timeout told by next init"
    assert page.inner_text(".wrow.end .wlength") == "3.00 s"
    cells = "cells => cells.some(cell => cell.scrollWidth > cell.clientWidth)"
    assert not page.locator(".wrow.end > .wname, .wrow.end > .wlength").evaluate_all(cells)


@pytest.mark.parametrize(("before_ms", "first"), [(1, "0 ms"), (900, "\u2212900 ms")])
def test_a_call_begins_with_its_handler_when_only_rounding_is_between_them(open_page, many, before_ms, first):
    """Moments are whole milliseconds: half a one before 0 ms would be written over 0 ms, and the handler would seem to be late."""
    began = many[0]["_aws"]["Timestamp"] - 1_000
    calls = [{**many[0]["calls"][0], "duration_ms": 900.0, "timestamp": began - before_ms}]
    one = {**many[0], "start": "warm", "Duration": 1_000.0, "Overhead": 0, "calls": calls}
    page = open_page([one], f"#/invocation/{one['request_id']}")
    words = page.locator(".scale span").all_inner_texts()
    assert (words[0], words.count("0 ms")) == (first, 1)
    handler, call = (page.locator(f".wbars > i.{kind}").bounding_box()["x"] for kind in ("handler", "call"))
    assert call == pytest.approx(handler, abs=1) if before_ms == 1 else call < handler


def test_the_frames_of_the_function_stand_out_in_a_stack(open_page, many):
    """Two lines of the reader's own code among twenty of botocore; folders of no use are left out, and are in the title."""
    frames = {
        "/var/lang/lib/python3.13/socket.py:719 SocketIO.readinto": "python3.13/socket.py:719 SocketIO.readinto",
        "/var/lang/lib/python3.13/site-packages/idna/core.py:3 encode": "idna/core.py:3 encode",
        "/var/runtime/botocore/client.py:606 _api_call": "botocore/client.py:606 _api_call",
        "/opt/python/shared/queue.py:9 take": "shared/queue.py:9 take",
        "/var/task/shop/orders.py:22 place": "shop/orders.py:22 place",
        "<frozen runpy>:88 _run_code": "<frozen runpy>:88 _run_code",
    }
    one = {**many[0], "outcome": "timeout", "stacks": [{"thread": "MainThread", "frames": list(frames)}]}
    page = open_page([one], f"#/invocation/{one['request_id']}")
    assert page.locator(".stack pre div").all_inner_texts() == list(frames.values())
    assert page.locator(".stack pre .own").all_inner_texts() == ["shop/orders.py:22 place"]
    assert page.locator(".stack pre div").nth(0).get_attribute("title") == next(iter(frames))


def test_what_failed_is_told_in_full_in_the_overview(open_page, many):
    """A message of a few words, in half the window."""
    message = "InvalidParameter: Message is not valid JSON."
    calls = [{**many[0]["calls"][0], "status": "partial", "message": message}]
    page = open_page([{**many[0], "calls": calls}], viewport={"width": 1100, "height": 800})
    shown = page.locator(".failures .message", has_text=message)
    assert shown.evaluate("box => box.scrollHeight <= box.clientHeight && box.scrollWidth <= box.clientWidth")


def test_the_statuses_of_calls_differ_by_more_than_colour(open_page, many):
    """Each has a mark of its own, and a bar whose pattern is its own."""
    calls = [{**many[0]["calls"][0], "span_id": f"{number:016x}", "status": status, "message": "why"}
             for number, status in enumerate(["ok", "partial", "throttled", "timeout", "rejected", "error", "in_flight"])]  # fmt: skip
    page = open_page([{**many[0], "calls": calls}], f"#/invocation/{many[0]['request_id']}")
    marks = page.locator(".waterfall .mark").all_inner_texts()
    assert len(set(marks)) == len(calls)
    looks = page.eval_on_selector_all(
        ".wbars > i.call",
        "bars => bars.map(bar => { const s = getComputedStyle(bar); return [s.backgroundImage, s.borderStyle, s.borderRightStyle, s.backgroundColor].join() })",
    )
    assert len(set(looks)) == len(calls)


def test_filters_narrow_every_view_and_are_in_the_address(open_page, many):
    """A filtered view can be sent on; the back button takes it away."""
    page = open_page(many)
    page.select_option("#filters select >> nth=0", "OrdersFunction")
    until(page, "location.hash.includes('function=OrdersFunction')")
    orders = sum(one["function_name"] == "OrdersFunction" for one in many)
    assert page.inner_text(".count") == f"{orders} of 200 invocations"
    page.go_back()
    until(page, "document.querySelector('.count').innerText.startsWith('200 of')")


def test_the_service_map_leads_to_the_invocations_of_an_edge(open_page, many):
    """From a red edge to what is behind it."""
    page = open_page(many, "#/map")
    page.locator(".map .edge-text").first.click()
    page.wait_for_selector(".list")
    assert "tool=" in page.url


def test_the_import_tree_is_drawn_and_searched(open_page, many):
    """A module is found by a part of its name."""
    page = open_page(many, "#/imports")
    assert page.locator(".flame canvas").count() == 1
    page.fill("[placeholder='find a module']", "botocore")
    assert page.locator(".flame canvas").count() == 1


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_names_and_texts_are_texts_whatever_is_in_them(open_page, many, text):
    """Function, tool, message, error, log, annotation: nothing of it is markup, script or a hang."""
    call = {**many[0]["calls"][0], "tool": text, "operation": text, "message": text, "status": "error",
            "attributes": {text[:50]: text}, "payload": {text[:50]: [text]}}  # fmt: skip
    one = {**many[0], "function_name": text, "calls": [call], "outcome": "error", "error_type": text, "error_message": text,
           "annotations": {text[:50]: text}, "stacks": [{"thread": text, "frames": [text]}],
           "init": {"import_ms": 1, "packages": [[text, text, 5.0, 1]], "tree_us": [[text, 0, 5_000, 5_000]], "split": {text: 1}}}  # fmt: skip
    page = open_page([one, many[1]], "#/", logs={one["request_id"]: [{"text": text}]})
    for view in ("list", "failures", "map", "imports", f"invocation/{one['request_id']}", ""):
        page.evaluate("view => { location.hash = '#/' + view }", view)
        until(
            page,
            "view => document.querySelector('main').className === 'v-' + (view.split('/')[0] || 'overview')",
            arg=view,
        )
    assert page.evaluate("window.broken") is None
    assert page.locator("main img, main script, main svg[onload]").count() == 0


def test_ten_thousand_invocations_make_no_larger_a_page_than_a_hundred(open_page):
    """What is drawn is what is seen: the elements of each view are bounded, and so is the file."""
    sizes = {}
    for count in (100, 10_000):
        made = documents(count)
        sizes[count] = len(render(page_data(made, title="x")))
        page = open_page(made)
        sizes[count, "elements"] = {}
        for view in ("overview", "list", "failures", "map"):
            page.evaluate("view => { location.hash = '#/' + view }", view)
            until(page, "view => document.querySelector('main').className === 'v-' + view", arg=view)
            sizes[count, "elements"][view] = page.evaluate("document.querySelectorAll('main *').length")
    for view, few in sizes[100, "elements"].items():
        assert sizes[10_000, "elements"][view] < 3 * few + 500, view
    assert sizes[10_000] - sizes[100] < 10_000 * 700  # bytes of one, compressed and in base64


def test_the_list_shows_the_rows_that_are_scrolled_to(open_page):
    """The last of ten thousand."""
    page = open_page(documents(5_000), "#/list")
    page.evaluate("document.querySelector('.list').scrollTop = 1e9")
    until(page, "[...document.querySelectorAll('.row')].some(row => row.getAttribute('aria-rowindex') === '5000')")
    assert page.locator(".rows .row").count() <= 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_system_and_its_own_switch(open_page, many, scheme):
    """And keeps what was chosen."""
    page = open_page(many, color_scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") != scheme


def test_a_narrow_window_needs_no_sideways_scrolling(open_page, many):
    """A phone."""
    page = open_page(many, viewport={"width": 390, "height": 800})
    for view in ("overview", "list", "failures", "map", "imports", f"invocation/{many[0]['request_id']}"):
        page.evaluate("view => { location.hash = '#/' + view }", view)
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), view


def test_an_empty_page_and_a_filter_without_hits_say_what_to_do(open_page, many):
    """No white page."""
    assert "coldspan run" in main_text(open_page([]))
    page = open_page(many, "#/list?q=nothing-is-called-so")
    page.click("text=Show everything")
    page.wait_for_selector(".rows .row")


def test_the_served_page_follows_the_store_and_leaves_the_reader_where_he_is(open_page, tmp_path):
    """What is added elsewhere appears, without reloading."""
    made = documents(30)
    with Store.open(tmp_path / "s.db") as store:
        store.add(made[5:], source="run")
    report = LiveReport(tmp_path / "s.db", Filter(), 1_000, "live")
    try:
        page = open_page(url=report.address, fragment="#/list")
        until(page, "document.querySelector('#live').innerText.includes('live')")
        assert page.inner_text(".count") == "25 of 25 invocations"
        page.evaluate("window.stayed = true")
        with Store.open(tmp_path / "s.db") as store:
            store.add(made[:5], source="run")
        until(page, "document.querySelector('.count').innerText.startsWith('30 of')", timeout=30_000)
        assert page.evaluate("window.stayed") is True
        page.goto("about:blank")
    finally:
        report.close()


def test_the_data_are_those_of_the_store(open_page, many):
    """Copied as JSON, an invocation is what was recorded."""
    page = open_page(many)
    one = json.loads(page.evaluate("JSON.stringify(state.all.find(each => each.rid === state.all[0].rid))"))
    record = next(each for each in many if each["request_id"] == one["rid"])
    assert (one["ms"], one["outcome"], len(one["calls"])) == (
        record["Duration"],
        record["outcome"],
        len(record["calls"]),
    )
