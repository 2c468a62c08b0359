"""Saved filters, and who is told when something new is so."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from coldspan_console import cli
from coldspan_console.output import ConsoleError
from coldspan_console.store import Filter, Store, notifying, saved
from store_lines import invocation, last_words, platform

TOPIC = "arn:aws:sns:eu-west-1:123456789012:failures"


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def told(tmp_path):
    """What the command `note` was given: summary and JSON of each time."""
    file = tmp_path / "told"

    def read():
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    read.command = f"cat >> {file}; echo >> {file}"
    return read


def add(path, *lines, **more):
    """Add lines as a console does, and wait for its notifications; what it said on stderr."""
    said = []
    with Store.open(path) as store:
        store.warn = said.append
        store.add(lines, **more)
    return said


def test_a_new_invocation_that_is_so_is_told_of_once(path, told):
    """Nobody would know, or everybody would be told at each pull."""
    saved.save("killed", path, Filter(outcome="timeout"), command=told.command)
    lines = [invocation("r1", outcome="timeout"), invocation("r2")]
    assert add(path, *lines) == []
    assert add(path, *lines, source="pull") == []
    assert add(path, platform("r1")) == []
    (given,) = told()
    assert (given["filter"], given["count"]) == ("killed", 1)
    assert given["invocations"][0]["request_id"] == given["document"]["request_id"] == "r1"
    assert given["summary"] == "orders timeout after 12 ms (r1)"


def test_the_command_has_the_facts_as_variables_and_runs_nothing_of_them(path, tmp_path):
    """A function's name or an error's text would be run by the shell."""
    file = tmp_path / "said"
    line = invocation(
        "r1", outcome="error", error_type="$(touch /tmp/never)`id`", error_message="a\x1b[2Jb\x00\n'; rm x"
    )
    names = " ".join(f'"$COLDSPAN_{name}"' for name in ("FILTER", "REQUEST_ID", "OUTCOME", "SUMMARY"))
    command = f'printf "%s|%s|%s|%s" {names} > {file}'
    saved.save("bad", path, Filter(failed=True), command=command)
    assert add(path, line) == []
    name, request_id, outcome, summary = file.read_text().split("|")
    assert (name, request_id, outcome) == ("bad", "r1", "error")
    assert "$(touch /tmp/never)`id`" in summary
    assert "\x1b" not in summary


def test_what_is_not_told_yet_waits_for_its_record(path, told):
    """Somebody would be told of a timeout that was none, or without its calls."""
    saved.save("all", path, Filter(failed=True), command=told.command)
    add(path, last_words("r1"), platform("r1", status="timeout"))
    assert told() == []
    add(path, invocation("r1", outcome="timeout", told_by="platform", calls=[("api", "GET", "in_flight")]))
    assert [given["invocations"][0]["calls"] for given in told()] == [1]


def test_two_consoles_tell_once(path, told):
    """A run and a pull at the same time would both tell."""
    saved.save("all", path, Filter(failed=True), command=told.command)
    lines = [invocation(f"r{number}", outcome="error") for number in range(5)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: add(path, *lines), range(3)))
    assert sorted(given["document"]["request_id"] for given in told()) == [f"r{number}" for number in range(5)]


def test_many_are_told_of_together(path, told):
    """A pull of a bad day would start a thousand commands."""
    saved.save("all", path, Filter(failed=True), command=told.command)
    assert add(path, *[invocation(f"r{number:03}", outcome="error") for number in range(100)]) == []
    given = told()
    assert len(given) == notifying.PER_MINUTE + 1
    assert (given[-1]["count"], given[-1]["document"]) == (100 - notifying.PER_MINUTE, None)
    add(path, invocation("r999", outcome="error"))
    assert told()[-1]["count"] == 1
    assert told()[-1]["document"] is None


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo no way >&2; exit 3", "the command ended with 3: no way"),
        ("/no/such/program", "ended with 127"),
        ("kill -9 $$", "ended with -9"),
    ],
)
def test_a_command_that_fails_is_said_and_costs_nothing_else(path, command, words):
    """The records would not be kept because somebody could not be told of them."""
    saved.save("all", path, Filter(failed=True), command=command)
    (said,) = add(path, invocation("r1", outcome="error"))
    assert said.startswith("filter all: ")
    assert words in said
    with Store.open(path) as store:
        assert store.count() == 1


def test_a_command_that_does_not_end_is_ended(path, monkeypatch):
    """A console would never come back."""
    monkeypatch.setattr(notifying, "COMMAND_S", 0.2)
    saved.save("all", path, Filter(failed=True), command="exec sleep 60")
    (said,) = add(path, invocation("r1", outcome="error"))
    assert "did not end within" in said


def test_adding_does_not_wait_for_a_notification(path, tmp_path):
    """A slow command would hold up every invocation of a local function."""
    gate = tmp_path / "gate"
    import os

    os.mkfifo(gate)
    saved.save("all", path, Filter(failed=True), command=f"cat {gate}")
    store = Store.open(path)
    assert store.add([invocation("r1", outcome="error")]) == 1
    assert store.count() == 1
    opener = threading.Thread(target=lambda: gate.open("w").close())
    opener.start()
    store.close()
    opener.join()


def test_an_unreadable_file_of_filters_is_said_and_costs_nothing_else(path):
    """A broken file of settings would lose records."""
    saved.place().parent.mkdir(parents=True)
    saved.place().write_text("{torn")
    (said,) = add(path, invocation("r1"))
    assert "saved filters cannot be read" in said
    with Store.open(path) as store:
        assert store.count() == 1


def test_a_filter_watches_its_own_store_alone(path, tmp_path, told):
    """A project's commands would run for every other one's failures."""
    saved.save("all", path, Filter(failed=True), command=told.command)
    add(tmp_path / "other.db", invocation("r1", outcome="error"))
    assert told() == []


def test_a_store_brings_no_commands(path, tmp_path, told, monkeypatch):
    """A store that somebody sends would run what its sender likes."""
    saved.save("all", path, Filter(failed=True), command=told.command)
    add(path, invocation("r1", outcome="error"))
    assert len(told()) == 1
    assert told.command.encode() not in path.read_bytes()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "of another user"))
    add(path, invocation("r2", outcome="error"))
    assert len(told()) == 1


def test_a_topic_gets_what_a_command_gets_without_payloads(path, monkeypatch):
    """What a payload holds would leave for whoever has subscribed."""
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        sns, sqs = boto3.client("sns", "eu-west-1"), boto3.client("sqs", "eu-west-1")
        topic = sns.create_topic(Name="failures")["TopicArn"]
        queue = sqs.create_queue(QueueName="q")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        saved.save("bad", path, Filter(failed=True), topic=topic)
        line = invocation(
            "r1", outcome="error", calls=[("api", "GET", "error")], error_type="Fehler", error_message="ü" * 200
        )
        line["calls"][0]["payload"] = {"request": "secret words"}
        assert add(path, line) == []
        (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    envelope = json.loads(message["Body"])
    told = json.loads(envelope["Message"])
    assert (told["filter"], told["count"], told["invocations"][0]["request_id"]) == ("bad", 1, "r1")
    assert "secret" not in message["Body"]
    assert envelope["Subject"].startswith("coldspan bad: orders error")
    assert len(envelope["Subject"]) <= 100


def test_a_topic_that_is_not_there_is_said(path, monkeypatch):
    """Nobody would know that nobody is told."""
    from moto import mock_aws

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        saved.save("bad", path, Filter(failed=True), topic=TOPIC)
        (said,) = add(path, invocation("r1", outcome="error"))
    assert "SNS did not take it" in said


@pytest.mark.parametrize("arn", ["topic", "arn:aws:sqs:eu-west-1:123456789012:q", TOPIC + " ", "arn:aws:sns::1:x"])
def test_what_is_no_topic_is_refused_when_it_is_saved(path, arn):
    """It would fail at night, and not now."""
    with pytest.raises(ConsoleError, match="not the ARN"):
        saved.save("bad", path, Filter(failed=True), topic=arn)


def test_filters_of_several_consoles_are_all_saved(path):
    """Two that save at once would lose one."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: saved.save(f"f{number}", path, Filter(slower_ms=number)), range(24)))
    assert len(saved.saved_filters(path)) == 24


# -- by the command -------------------------------------------------------------------------------------------------


def coldspan(capsys, *words):
    """Run the command; its exit code, stdout, stderr."""
    code = cli.main([*words])
    done = capsys.readouterr()
    return code, done.out, done.err


def test_a_filter_is_saved_listed_used_tested_and_removed(path, told, capsys):
    """The commands as the documentation has them."""
    add(path, invocation("r1", outcome="timeout"), invocation("r2"))
    place = ("--store", str(path))
    options = ("--outcome", "timeout", "--slower", "5ms", "--notify-command", told.command)
    code, out, _ = coldspan(capsys, "filter", "save", "killed", *options, *place)
    assert (code, "1 invocations in the store are so" in out) == (0, True)
    code, out, _ = coldspan(capsys, "filter", "list", "--json", *place)
    (entry,) = json.loads(out)
    assert (entry["name"], entry["wanted"], entry["invocations"]) == (
        "killed",
        {"outcome": ["timeout"], "slower_ms": 5.0},
        1,
    )
    assert "--outcome timeout --slower 5ms" in coldspan(capsys, "filter", "list", *place)[1]
    listed = json.loads(coldspan(capsys, "list", "--filter", "killed", "--json", *place)[1])
    assert [each["request_id"] for each in listed["invocations"]] == ["r1"]
    assert (
        json.loads(coldspan(capsys, "list", "--filter", "killed", "--outcome", "ok", "--json", *place)[1])["totals"][
            "count"
        ]
        == 1
    )
    assert coldspan(capsys, "filter", "test", "killed", *place)[0] == 0
    assert told()[-1]["document"]["request_id"] == "r1"
    assert coldspan(capsys, "filter", "remove", "killed", *place)[0] == 0
    code, _, err = coldspan(capsys, "filter", "remove", "killed", *place)
    assert (code, "no filter is called 'killed'" in err) == (3, True)


def test_testing_says_what_went_wrong(path, capsys):
    """A notification that cannot be sent would be found out too late."""
    add(path)
    coldspan(capsys, "filter", "save", "bad", "--failed", "--notify-command", "exit 7", "--store", str(path))
    code, out, _ = coldspan(capsys, "filter", "test", "bad", "--json", "--store", str(path))
    assert code == 1
    assert json.loads(out)["failures"] == ["the command ended with 7"]


@pytest.mark.parametrize("words", [("save", "x"), ("save", "a b", "--failed"), ("save", "x", "--payload", "[")])
def test_a_filter_that_makes_no_sense_is_wrong_use(words, capsys, path):
    """It would be saved, and mean everything or nothing."""
    assert coldspan(capsys, "filter", *words, "--store", str(path))[0] == 2
