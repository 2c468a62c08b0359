"""`coldspan pull -` and `coldspan pull FILE...`: what comes in is in the store, once."""

import gzip
import io
import json
import os
import subprocess
import sys
import threading

import pytest

from coldspan_console import cli
from coldspan_console.store import Store
from store_lines import invocation, platform, tool

FIRST, SECOND = "6f1c2a90-7b3d-4e55-9a10-000000000001", "6f1c2a90-7b3d-4e55-9a10-000000000002"
LINES = [
    f"START RequestId: {FIRST} Version: $LATEST",
    "a log line",
    json.dumps(invocation(FIRST, calls=[("dynamodb", "PutItem", "error")])),
    json.dumps(tool(FIRST, "dynamodb", "PutItem")),
    f"END RequestId: {FIRST}",
    json.dumps(platform(FIRST)),
    "\x1b[33m" + json.dumps(invocation(SECOND, outcome="timeout")) + "\x1b[0m\r",
]
TEXT = "\n".join(LINES) + "\n"


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The path of a store that commands use."""
    path = tmp_path / "store.db"
    monkeypatch.setenv("COLDSPAN_STORE", str(path))
    return path


@pytest.fixture
def pull(capsys, monkeypatch):
    """Run the command with a text on stdin; give its exit code, its JSON or text, and what it said on stderr."""

    def run(*words, stdin=""):
        capsys.readouterr()
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        code = cli.main(["pull", *words])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out.startswith("{") else out, err

    return run


def test_a_stream_is_in_the_store_with_its_log_lines(store, pull):
    """`sam local invoke ... 2>&1 | coldspan pull -` is the way in without an account."""
    code, told, _ = pull("-", "--json", stdin=TEXT)
    assert code == 0
    assert (told["lines"], told["records"], told["invocations"], told["torn"]) == (len(LINES), 2, 2, 0)
    assert told["request_ids"] == [FIRST, SECOND]
    with Store.open(store) as opened:
        (document,) = opened.get(FIRST)
        assert document["calls"][0]["tool"] == "dynamodb"
        assert document["platform"]
        assert [line["text"] for line in opened.log_lines(FIRST)] == ["a log line"]
        assert {one["source"] for one in opened.find()} == {"stdin"}


def test_a_second_time_adds_nothing(store, pull):
    """A log is piped in again and again while one works."""
    pull("-", "--json", stdin=TEXT)
    code, told, _ = pull("-", "--json", stdin=TEXT)
    assert code == 0
    assert (told["records"], told["added"], told["invocations"]) == (2, 0, 0)
    assert told["known"] == 4


@pytest.mark.parametrize("shape", ["plain", "gz", "folder"])
def test_files_are_read_as_they_are_exported(store, pull, tmp_path, shape):
    """CloudWatch exports are folders of .gz."""
    folder = tmp_path / "export" / "0123"
    folder.mkdir(parents=True)
    file = folder / ("000000.gz" if shape != "plain" else "log.txt")
    file.write_bytes(TEXT.encode() if shape == "plain" else gzip.compress(TEXT.encode()))
    code, told, _ = pull(str(tmp_path / "export" if shape == "folder" else file), "--json")
    assert code == 0
    assert told["invocations"] == 2


def test_compressed_stdin_is_read_too(store, pull):
    """`aws s3 cp s3://.../000000.gz - | coldspan pull -`."""
    code, told, _ = pull("-", "--json", stdin=gzip.compress(TEXT.encode()))
    assert (code, told["invocations"]) == (0, 2)


def test_the_picture_counts_what_came(store, pull):
    """On a terminal, and in a pipe."""
    code, text, _ = pull("-", stdin=TEXT + '{"_aws": {}, "request_id": "torn\n')
    assert code == 0
    assert "2 new invocations, 8 lines read" in text
    assert "1 line looked like a record and could not be read" in text
    _, text, _ = pull("-", stdin=TEXT)
    assert "0 new invocations, 2 known before" in text


def test_a_terminal_gets_the_trees(store, pull, monkeypatch):
    """What came is what one wants to look at."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    _, text, _ = pull("-", stdin=TEXT)
    assert "dynamodb PutItem" in text
    assert "timeout" in text


REPORT = (
    "REPORT RequestId: 4b0656ad-22db-44d5-99e0-eb2e21e0af6b\tInit Duration: 0.06 ms\tDuration: 27.48 ms\t"
    "Billed Duration: 28 ms\tMemory Size: 512 MB\tMax Memory Used: 512 MB\t\n"
)


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        ("", "2>&1"),
        (REPORT, "2>&1"),
        ("some\nother\nlog\n", "2>&1"),
        (LINES[2][:300] + "\n", "torn"),
        ("orders  cold  init_error  2 ms\n└── request   coldspan's own time 0.4 ms\n", "COLDSPAN_LOCAL: emf"),
        ("orders  cold  ok  2 ms\n└── request r1-2  coldspan's own time 0.4 ms\n" + REPORT, "COLDSPAN_LOCAL: emf"),
        (b"\x00\x01\xff" * 1_000, "no record"),
    ],
)
def test_a_stream_without_a_record_says_why_it_may_be(store, pull, stdin, said):
    """Silence would leave the user to guess."""
    code, _, err = pull("-", stdin=stdin)
    assert code == 1
    assert said in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["no-such-file"], 3, "No such file"),
        (["broken.gz"], 3, "compression is broken"),
        (["empty-folder"], 3, "no file in it"),
        (["-", "--function", "orders"], 2, "not for files"),
        ([], 2, "--function"),
    ],
)
def test_bad_input_says_what_to_do(store, pull, tmp_path, monkeypatch, words, code, said):
    """No traceback, and the exit code of its kind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.gz").write_bytes(gzip.compress(TEXT.encode())[:60])
    (tmp_path / "empty-folder").mkdir()
    got, _, err = pull(*words)
    assert got == code, err
    assert said in err
    assert "Traceback" not in err


def test_what_has_come_is_kept_while_the_stream_goes_on(tmp_path):
    """`sam local start-api 2>&1 | coldspan pull -` runs for hours."""
    path = tmp_path / "store.db"
    code = "import sys; from coldspan_console.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "pull", "-", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "COLDSPAN_STORE": str(path)},
    )  # fmt: skip
    try:
        process.stdin.write(TEXT.encode())
        process.stdin.flush()
        waiting, found = threading.Event(), 0
        for _ in range(300):  # of a tenth of a second each: a busy machine
            if path.exists():
                with Store.open(path, write=False) as opened:
                    found = opened.count()
            if found == 2:
                break
            waiting.wait(0.1)
        assert found == 2
        assert process.poll() is None
        out, _ = process.communicate(timeout=60)
        assert json.loads(out)["invocations"] == 2
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
