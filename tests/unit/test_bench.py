"""The bench's own arithmetic: a benchmark that miscounts is worse than none."""

import ast
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # `bench` is a package of the repository, not of the distribution

from bench import profile, table
from bench.clock import summary
from bench.count import first_dump, total_of
from bench.runtime_api import EndedError, Server, Timing, settle, take_request
from bench.setups import FUNCTIONS, SETUPS

DUMP = """version: 1
events: Ir

fn=outer
cfn=inner
calls=2 10
12 900
+1 7

fn=inner
10 450
* 450

totals: 907
"""


def test_callgrind_total_is_read_from_the_last_lines_of_a_dump(tmp_path):
    """Every count of instructions in the results is this number."""
    (tmp_path / "out.1").write_text(DUMP)
    assert total_of(tmp_path / "out.1") == 907


def test_wrapper_stage_is_its_first_dump_and_leaves_no_file_for_the_next_stage(tmp_path):
    """A second stage that read the first one's dump would count the shell script twice."""
    (tmp_path / "out.1").write_text(DUMP)
    (tmp_path / "out.2").write_text(DUMP.replace("907", "5"))
    assert first_dump(tmp_path) == 907
    with pytest.raises(EndedError, match="started no other program"):
        first_dump(tmp_path)


def test_c_functions_are_charged_with_their_own_instructions_only(tmp_path):
    """The line after `calls=` is the callee's cost; counting it for the caller would count it twice."""
    (tmp_path / "out.1").write_text(DUMP)
    assert profile.functions_of(tmp_path / "out.1") == Counter(outer=7, inner=900)


def test_nested_imports_are_charged_once_and_without_the_cost_of_the_marks():
    """A package's own cost is what remains when the imports inside it are taken off."""
    marks = [("+(nothing)", 50), ("-(nothing)", 10)] * 3
    events = [*marks, ("+outer", 99), ("+inner", 110), ("-inner", 210), ("-outer", 60)]
    assert profile.nested(events) == [("outer", 0, 150, 350), ("inner", 1, 200, 200)]


def test_requests_are_cut_from_the_stream_only_when_they_are_whole():
    """A time stamp belongs to a request that has arrived in full."""
    buffer = bytearray(b"POST /response HTTP/1.1\r\nContent-Length: 4\r\n\r\n{}")
    assert take_request(buffer) is None
    buffer += b"{}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
    assert take_request(buffer) == ("POST", "/response", b"POST /response HTTP/1.1\r\nContent-Length: 4", b"{}{}")
    assert take_request(buffer)[:2] == ("GET", "/next")
    assert buffer == b""


RUNTIME = """
import http.client, json, sys
api = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
for _ in range(2):
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = api.getresponse()
    event = json.loads(answer.read())
    print(answer.headers["Lambda-Runtime-Trace-Id"][-1], flush=True)
    path = "/2018-06-01/runtime/invocation/%s/response" % answer.headers["Lambda-Runtime-Aws-Request-Id"]
    api.request("POST", path, json.dumps(event))
    api.getresponse().read()
"""


@pytest.fixture
def server():
    """A Server, closed with everything that it opened."""
    made = Server()
    yield made
    made.close()


def test_an_invocation_is_timed_from_event_to_response_and_on_to_the_next_request(server):
    """The two times of the results are the two sides of the response, as seen from outside the process."""
    running = server.environment()
    server.start(running, [sys.executable, "-I", "-c", RUNTIME, str(running.port)])
    server.until_next(running, 20)
    settle(server, running)
    timing = server.invoke(running, 1, sampled=True)
    assert timing.caller_ns > 0
    assert timing.after_ns > 0
    assert timing.log_bytes == len("1\n")
    assert json.loads(running.answer) == {"order": "o-1"}
    with pytest.raises(EndedError, match="exit 0"):
        server.invoke(running, 2, sampled=False)
    assert running.log == b"1\n0\n"
    server.stop(running)


def test_added_time_is_the_median_of_the_differences_within_each_round():
    """A slow round slows every setup; the difference of the medians over all rounds would blame one of them."""
    bare = [Timing(caller_ns=value * 1000, after_ns=1000) for value in (100, 900, 110)]
    found = [Timing(caller_ns=(value + 40) * 1000, after_ns=3000) for value in (100, 900, 110)]
    row = summary(found, bare, used_ns=3_000_000)
    assert row["caller_added_us"] == 40
    assert row["total_added_us"] == 42
    assert row["cpu_us"] == 1000


def test_table_shows_the_bare_function_in_full_and_what_the_others_add():
    """A reader compares additions; and what could not be measured is named with its reason."""
    counts = {"init": 130e6, "first": 1e6, "warm_unsampled": 5e5, "hot_unsampled": 3e5, "warm_sampled": 5e5}
    counts["hot_sampled"] = 3e5
    more = {name: count * 1.5 for name, count in counts.items()}
    text = table.markdown(
        {
            "command": "bench/run.py",
            "machine": dict.fromkeys(("date", "revision", "processor", "cores", "system", "python", "valgrind"), "")
            | {"load_average_at_start": 0.0},
            "versions": {"runtime": {"awslambdaric": "4.2.2"}},
            "mounted": True,
            "origin": {},
            "not_measured": {"datadog": "no wheel for this Python"},
            "functions": {"plain": {"bare": {"instructions": counts}, "coldspan": {"instructions": more}}},
            "layers": {},
            "seconds": 1,
        }
    )
    assert "| bare | 130.0 | 131.0 | 0.500 | 0.300 | 0.500 | 0.300 |" in text
    assert "| coldspan | 65.0 | 65.5 | 0.250 | 0.150 | 0.250 | 0.150 |" in text
    assert "Not measured: datadog: no wheel for this Python" in text
    assert "kept from an earlier run" not in text


@pytest.mark.parametrize("name", SETUPS)
def test_setups_name_files_that_exist_and_pin_what_they_install(name):
    """A figure without an exact version cannot be made again."""
    setup = SETUPS[name]
    for function in FUNCTIONS:
        tree = ast.parse((ROOT / "bench" / "functions" / setup.functions / f"{function}.py").read_text())
        assert any(isinstance(node, ast.FunctionDef) and node.name == "handler" for node in tree.body)
    if setup.layer:
        assert (ROOT / "bench" / "layers" / setup.layer).is_dir()
    if setup.requirements:
        lines = (ROOT / "requirements" / setup.requirements).read_text().splitlines()
        assert all("==" in line for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("name", ["powertools", "xray"])
def test_functions_changed_for_a_peer_do_the_same_work_as_the_bare_ones(name):
    """The difference between two functions must be the instrument alone."""
    for function in FUNCTIONS:
        folder = ROOT / "bench" / "functions"
        bare = body_of(folder / "bare" / f"{function}.py")
        theirs = body_of(folder / SETUPS[name].functions / f"{function}.py")
        assert [line for line in theirs if "metrics." not in line] == bare


def body_of(path):
    """The statements of a file's handler, without its docstring."""
    tree = ast.parse(path.read_text())
    handler = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "handler")
    return [ast.unparse(node) for node in handler.body[1:]]


def test_committed_results_say_what_they_were_made_with():
    """No number without its machine, its command and its versions."""
    files = sorted((ROOT / "bench" / "results").glob("*.json"))
    assert files, "bench/results is empty"
    for file in files:
        result = json.loads(file.read_text())
        assert result["command"].startswith("bench/run.py")
        assert result["machine"]["processor"]
        assert result["machine"]["revision"]
        assert result["versions"]["runtime"]["awslambdaric"]
