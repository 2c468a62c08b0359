"""`coldspan list`, `show` and `store` by their own interface, on good and bad input."""

import json
import os
import subprocess
import sys
import time

import pytest

from coldspan_console import cli
from coldspan_console.store import Store
from coldspan_console.tree import MARKS
from store_lines import AT_MS, call, invocation, last_words, late, part, platform, span_of, tool

HOSTILE = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>[bold]x[/bold]\u202e\r\x00{}'\";--"


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A store with something of every sort, the default one of this folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLDSPAN_STORE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    now_ms = time.time_ns() // 1_000_000
    stack = {"thread": "MainThread", "frames": ["/var/task/app.py:7 handler"]}
    with Store.open() as store:
        calls = [("dynamodb", "PutItem", "ok"), ("sqs", "SendMessage", "throttled")]
        cold = {"start": "cold", "InitDuration": 140.5, "tenant_id": "a", "annotations": {"tier": "gold"}}
        killed = {"outcome": "timeout", "told_by": "black_box", "evidence": ["platform"], "stacks": [stack]}
        store.add([
            invocation("aa-1", at_ms=now_ms - 372_000, calls=calls, **cold), late("aa-1", ("api", "GET", "ok")),
            platform("aa-1", at_ms=now_ms - 371_990), part("aa-1", 1, [("s3", "GetObject", "ok")]),
            invocation("aa-2", at_ms=now_ms - 312_000, Duration=3000.0, calls=[("api", "GET", "in_flight")], **killed),
            invocation("bb-1", at_ms=now_ms - 252_000, calls=None, Calls=2),
            tool("bb-1", "sqs", "SendMessage", durations=[1.0, 2.0]), last_words("cc-1"),
        ])  # fmt: skip
        store.logs("aa-1", ["hello", HOSTILE])
    return tmp_path / ".coldspan" / "store.db"


def coldspan(capsys, *words):
    """Run the command; its exit code, stdout, stderr."""
    code = cli.main([*words])
    done = capsys.readouterr()
    return code, done.out, done.err


def as_json(capsys, *words):
    code, out, _ = coldspan(capsys, *words, "--json")
    assert code == 0
    return json.loads(out)


@pytest.mark.usefixtures("path")
def test_the_list_shows_what_one_asks_first(capsys):
    """Outcome with a mark, age, duration, start, calls, and a line for all."""
    code, out, err = coldspan(capsys, "list")
    assert (code, err) == (0, "")
    first, killed, cold = (next(line for line in out.splitlines() if name in line) for name in ("bb-1", "aa-2", "aa-1"))
    assert first.split()[:4] == ["✓", "ok", "4", "min"]
    assert "⌛  timeout" in killed
    assert "3.00 s" in killed
    assert "cold 140 ms" in cold
    assert f"4 {MARKS['error'][0]}1" in cold
    assert "4 invocations" in out.splitlines()[-1]


@pytest.mark.usefixtures("path")
def test_a_list_that_is_cut_says_so(capsys):
    """One would think that there is no more."""
    out = coldspan(capsys, "list", "-n", "1")[1]
    assert "the newest 1 of them" in out
    assert len(as_json(capsys, "list", "-n", "0")["invocations"]) == 4
    assert len(as_json(capsys, "list", "-n", "3")["invocations"]) == 3


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("group", ["function", "outcome", "start", "version", "source", "tenant", "tool", "message"])
def test_groups_have_counts_and_percentiles(capsys, group):
    """As a table and as JSON."""
    assert coldspan(capsys, "list", "--group", group)[0] == 0
    groups = as_json(capsys, "list", "--group", group)["groups"]
    assert sum(each["count"] for each in groups) >= 1


def test_an_empty_list_says_what_to_do(capsys, tmp_path, monkeypatch):
    """A newcomer's first command would be a dead end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLDSPAN_STORE", raising=False)
    code, out, _ = coldspan(capsys, "list")
    assert (code, "no store at .coldspan/store.db yet" in out, "coldspan run" in out) == (0, True, True)
    assert as_json(capsys, "list")["invocations"] == []
    with Store.open():
        pass
    assert "nothing in .coldspan/store.db yet" in coldspan(capsys, "list")[1]
    assert "todo" in as_json(capsys, "list", "--failed")


@pytest.mark.usefixtures("path")
def test_a_list_of_which_nothing_is_so_says_what_was_asked(capsys):
    """One would take a typing error for good news."""
    code, out, _ = coldspan(capsys, "list", "-f", "ordres")
    assert code == 0
    assert "nothing in the store is so" in out
    assert "ordres" in out


@pytest.mark.usefixtures("path")
def test_a_tenant_is_all_that_is_shown(capsys):
    """`--tenant` would be one filter among others."""
    assert [each["request_id"] for each in as_json(capsys, "list", "--tenant", "a")["invocations"]] == ["aa-1"]
    assert as_json(capsys, "list", "--tenant", "b")["invocations"] == []
    code, _, err = coldspan(capsys, "show", "aa-2", "--tenant", "a")
    assert (code, "no request id begins with aa-2" in err) == (1, True)
    assert as_json(capsys, "show", "aa-1", "--tenant", "a")["logs"]


@pytest.mark.usefixtures("path")
def test_an_invocation_is_shown_with_all_that_is_known(capsys):
    """Its calls wherever they were told, the platform's facts, its log."""
    code, out, err = coldspan(capsys, "show", "aa-1")
    assert (code, err) == (0, "")
    for words in ("orders aa-1  cold  ok", "dynamodb PutItem", "sqs SendMessage  throttled", "api GET", "s3 GetObject",
                  "ended after the invocation", "billed 13 ms", "memory 40 of 128 MB", "annotations: tier gold",
                  "tenant a",
                  "coldspan's own time", "hello", f"#/invocation/aa-1.{span_of('aa-1')}"):  # fmt: skip
        assert words in out


@pytest.mark.usefixtures("path")
def test_what_is_known_in_part_is_shown_as_that(capsys):
    """A killed one has its stack, one without detail its counts, last words what was open."""
    out = coldspan(capsys, "show", "aa-2")[1]
    assert "MainThread was in app.py:7 handler" in out
    assert "told by black_box: platform" in out
    out = coldspan(capsys, "show", "bb-1")[1]
    assert "sqs SendMessage: 2 calls not told in detail, 3.0 ms in all" in out
    out = coldspan(capsys, "show", "cc-1")[1]
    assert "unfinished" in out
    assert "told by last_words" in out


@pytest.mark.usefixtures("path")
def test_one_is_chosen_by_how_it_stands_among_the_others(capsys):
    """Nobody wants to copy a request id."""
    assert as_json(capsys, "show", "--slowest")["request_id"] == "aa-2"
    assert as_json(capsys, "show", "--last")["request_id"] == "cc-1"
    assert as_json(capsys, "show", "--failed", "-f", "orders")["request_id"] == "cc-1"
    assert as_json(capsys, "show", "b")["request_id"] == "bb-1"


@pytest.mark.usefixtures("path")
def test_a_prefix_of_several_names_them(capsys):
    """One would have to guess which."""
    code, _, err = coldspan(capsys, "show", "aa")
    assert code == 2
    assert "aa-1" in err
    assert "aa-2" in err
    with Store.open() as store:
        store.add([invocation("aa")])
    assert as_json(capsys, "show", "aa")["request_id"] == "aa"


@pytest.mark.usefixtures("path")
def test_raw_is_what_was_printed(capsys):
    """What is sent on as a bug report would be our reading of it."""
    code, out, _ = coldspan(capsys, "show", "aa-1", "--raw")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(lines) == 4
    with Store.open(write=False) as store:
        assert lines == store.lines("aa-1") == as_json(capsys, "show", "aa-1", "--raw")


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["show"], 2, "name one invocation"),
        (["show", "aa", "--last"], 2, "name one invocation"),
        (["show", "zz"], 1, "no request id begins with zz"),
        (["show", "--last", "-f", "x"], 1, "no invocation to show"),
        (["show", "%"], 1, "no request id begins with %"),
        (["list", "--since", "foo"], 2, "no moment is 'foo'"),
        (["list", "--slower", "x"], 2, "--slower cannot be 'x'"),
        (["list", "--outcome", "good"], 2, "good"),
        (["list", "--status", "bad"], 2, "no status is called 'bad'"),
        (["list", "--payload", "["], 2, "no question about payloads"),
        (["list", "--filter", "x"], 3, "no filter is called 'x'"),
        (["list", "--sort", "x"], 2, "x"),
        (["list", "-n", "-1"], 2, "-1"),
        (["list", "--store", "/dev/null/x"], 0, ""),
        (["list", "--store", __file__], 3, "no store of coldspan"),
        (["store", "prune"], 2, "--older or --keep"),
        (["store", "prune", "--older", "x"], 2, "no moment"),
    ],
)
def test_bad_input_is_told_clearly(capsys, words, code, says):
    """A traceback, or a result that is none."""
    given, out, err = coldspan(capsys, *words)
    assert given == code, err
    assert says in err
    assert "Traceback" not in out + err


def hostile_lines():
    """Names and texts from somebody who wishes the reader ill."""
    names = ("error_type", "error_message", "trigger", "told_by", "tenant_id", "trace_id", "function_version", "start")
    line = invocation("hh-1", calls=[(HOSTILE, HOSTILE, "ok")], outcome="error", **dict.fromkeys(names, HOSTILE))
    line["annotations"] = {HOSTILE: HOSTILE}
    line["stacks"] = [{"thread": HOSTILE, "frames": [HOSTILE]}, 7, {}]
    line["init"] = {"ms": "x", "split": {HOSTILE: 3}, "packages": [[HOSTILE, HOSTILE, 9, 1], 3], "calls": [3]}
    line["function_name"] = HOSTILE
    line["calls"][0] |= {"message": HOSTILE, "phases": {HOSTILE: "x"}, "status": HOSTILE, "payload": {"a": HOSTILE}}
    line["calls"] += [
        {},
        {"span_id": "s", "parent_id": "s"},
        {"span_id": "t", "parent_id": "u"},
        {"span_id": "u", "parent_id": "t"},
    ]
    return [line, {**platform("hh-1"), HOSTILE: HOSTILE, "MaxMemoryUsed": "x"}, {**tool("hh-2", HOSTILE, HOSTILE)}]


@pytest.mark.parametrize(
    "words",
    [("list",), ("show", "hh-1", "--payloads"), ("list", "--group", "tool"),
     ("list", "--group", "message"),
     ("list", "--group", "function"), ("store", "info"), ("show", "hh-1", "--raw")],
)  # fmt: skip
def test_what_somebody_else_wrote_moves_no_cursor(capsys, path, words):
    """A log line could clear the screen, rename the window, or hide what follows."""
    with Store.open(path) as store:
        store.add(hostile_lines())
        store.logs("hh-1", [HOSTILE])
    code, out, err = coldspan(capsys, *words)
    assert code == 0, err
    assert not {"\x1b", "\x07", "\u202e", "\x00"} & set(out)
    assert "Traceback" not in err
    if "--raw" not in words and "info" not in words:
        assert "<script>" in out.replace("\n", "")


def test_calls_in_a_circle_are_shown_once(capsys, path):
    """A tree that never ends."""
    parents = {"a": "b", "b": "c", "c": "a", "d": "a"}
    calls = [{**call("r", name, "x", "ok", parent=parents[name]), "span_id": name} for name in parents]
    with Store.open(path) as store:
        store.add([{**invocation("dd-1"), "calls": calls}])
    out = coldspan(capsys, "show", "dd-1")[1]
    assert [out.count(f"{name} x  ok") for name in parents] == [1, 1, 1, 1]


def test_info_and_prune_say_how_much(capsys, path):
    """A user would not know where it is, and why the disk is full."""
    value = as_json(capsys, "store", "info")
    assert (value["invocations"], value["path"], value["exists"]) == (4, str(path), True)
    assert value["bytes"] > 4_096
    assert "format 4" in coldspan(capsys, "store", "info")[1]
    assert "1 invocations removed, 3 left" in coldspan(capsys, "store", "prune", "--older", "5m40s")[1]
    assert as_json(capsys, "store", "prune", "--keep", "1") == {"removed": 2, "left": 1}
    assert as_json(capsys, "store", "prune", "--keep", "1", "--store", "none.db") == {"removed": 0, "left": 0}


def test_the_end_of_a_pipe_is_no_error(path):
    """`coldspan list | head -1` would end in a traceback."""
    with Store.open(path) as store:
        store.add([invocation(f"r{number}") for number in range(3_000)])
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m coldspan_console.cli list -n 0 | head -1'],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, cwd=path.parents[1], capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


def test_spans_of_retries_are_shown_as_attempts(capsys, path):
    """The attempt that failed would be out of sight."""
    with Store.open(path) as store:
        store.add(
            [
                invocation("ee-1", span=span_of(n), at_ms=AT_MS + n * 60_000, outcome=o)
                for n, o in enumerate(["error", "ok"])
            ]
        )
    out = coldspan(capsys, "show", "ee-1")[1]
    assert "attempt 1 of 2" in out
    assert "attempt 2 of 2" in out
    assert "ee-1 #2" in coldspan(capsys, "list", "--request", "ee")[1]
