"""attach, detach and status, by the real boto3 against moto's real server."""

import json

import pytest

from coldspan_console import cli
from coldspan_console.demo import Moto
from support.account import REGION, TestAccount, zip_of

ARN = "arn:aws:lambda:eu-west-1:123456789012:layer:"


@pytest.fixture(scope="module")
def moto():
    """Moto's server, for all tests of this file."""
    with Moto() as server:
        yield server


@pytest.fixture
def account(moto, monkeypatch):
    """An empty account, and a shell that is logged in to it."""
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(moto.url + "/moto-api/reset", method="POST"), timeout=20).close()
    for name, value in {
        "AWS_ENDPOINT_URL": moto.url, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)

    class Front:
        url = moto.url

    return TestAccount(Front)


def run(capsys, *words):
    """(exit code, the document, stderr)."""
    code = cli.main([*words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def test_attach_adds_the_layer_and_detach_gives_back_what_was_before(account, capsys):
    """In its order, and nothing else is touched."""
    other = account.layer("shared", zip_of({"python/shared.py": ""}))
    ours = account.layer()
    account.function(Layers=[other], Environment={"Variables": {"A": "b"}}, Timeout=7)
    before = account.lambda_.get_function_configuration(FunctionName="orders")
    assert run(capsys, "attach", "orders", "--layer", ours, "--yes")[0] == 0
    assert account.layers() == [other, ours]
    after = account.lambda_.get_function_configuration(FunctionName="orders")
    same = ("Environment", "Timeout", "Handler", "Runtime", "MemorySize", "Role")
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    assert run(capsys, "detach", "orders", "--yes")[0] == 0
    assert account.layers() == [other]
    assert account.tags() == {}


def test_a_second_attach_changes_the_version_only(account, capsys):
    """An update is attach again."""
    first = account.layer()
    account.function()
    run(capsys, "attach", "orders", "--layer", first, "--yes")
    second = account.layer()
    assert second != first
    assert run(capsys, "attach", "orders", "--layer", second, "--yes")[0] == 0
    assert account.layers() == [second]
    run(capsys, "detach", "orders", "--yes")
    assert account.layers() == []


def test_a_dry_run_changes_nothing(account, capsys):
    """The plan, and the function as it was."""
    ours = account.layer()
    account.function()
    code, _, _ = run(capsys, "attach", "orders", "--layer", ours, "--dry-run")
    assert (code, account.layers()) == (0, [])


def test_all_functions_of_a_pattern_get_it(account, capsys):
    """And the others do not."""
    ours = account.layer()
    for name in ("shop-a", "shop-b", "else"):
        account.function(name)
    assert run(capsys, "attach", "--pattern", "shop-*", "--layer", ours, "--yes")[0] == 0
    assert [account.layers(name) for name in ("shop-a", "shop-b", "else")] == [[ours], [ours], []]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"Runtime": "nodejs22.x"}, "nodejs22.x"),
        ({"Environment": {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument"}}}, "wrapper"),
        ({"Environment": {"Variables": {"PYTHONPATH": "/opt/lib"}}}, "PYTHONPATH"),
    ],
)
def test_what_would_break_is_refused_with_the_reason(account, capsys, options, words):
    """And is not changed."""
    ours = account.layer()
    account.function(**options)
    code, found, said = run(capsys, "attach", "orders", "--layer", ours, "--yes")
    assert code == 1
    assert words in json.dumps(found) + said
    assert account.layers() == []


def test_five_layers_are_the_most(account, capsys):
    """A sixth would be refused by the service, in the middle of many functions."""
    others = [account.layer(f"other{number}", zip_of({"python/x.py": ""})) for number in range(5)]
    ours = account.layer()
    account.function(Layers=others)
    code, found, _ = run(capsys, "attach", "orders", "--layer", ours, "--yes")
    assert (code, found["functions"][0]["action"]) == (1, "refuse")
    assert account.layers() == others


def test_what_others_have_changed_since_stays(account, capsys):
    """Detach then takes only ours away."""
    ours = account.layer()
    account.function()
    run(capsys, "attach", "orders", "--layer", ours, "--yes")
    new = account.layer("new", zip_of({"python/new.py": ""}))
    account.lambda_.update_function_configuration(FunctionName="orders", Layers=[ours, new])
    assert run(capsys, "detach", "orders", "--yes")[0] == 0
    assert account.layers() == [new]


def test_status_tells_who_has_which_version(account, capsys):
    """Attached and not."""
    ours = account.layer()
    account.function("with", Layers=[ours])
    account.function("without")
    code, found, _ = run(capsys, "status")
    assert code == 0
    text = json.dumps(found)
    assert "with" in text
    assert ours in text or ours.rpartition(":")[2] in text


def test_publish_makes_the_layer_first(account, capsys, tmp_path):
    """From the zip that `make layer` makes."""
    from support.account import RECORDER_ZIP

    file = tmp_path / "coldspan-recorder.zip"
    file.write_bytes(RECORDER_ZIP)
    account.function()
    assert run(capsys, "attach", "orders", "--publish", str(file), "--yes")[0] == 0
    (arn,) = account.layers()
    assert arn.startswith(ARN)


@pytest.mark.parametrize(
    "words",
    [
        ["attach", "nobody", "--layer", ARN + "coldspan-recorder:1", "--yes"],
        ["attach", "orders", "--layer", "no-arn", "--yes"],
        ["attach", "orders", "--publish", "nothing.zip", "--yes"],
        ["attach", "--yes", "--layer", ARN + "coldspan-recorder:1"],
        ["detach", "nobody", "--yes"],
    ],
)
def test_bad_input_is_told_and_changes_nothing(account, capsys, words):
    """What, where, what to do; no traceback."""
    account.function()
    code = cli.main(words)
    said = capsys.readouterr()
    assert code in {1, 2, 3, 4}
    assert (said.err + said.out).strip()
    assert "Traceback" not in said.err + said.out
    assert account.layers() == []


def test_without_a_region_or_credentials_it_says_so(account, capsys, monkeypatch):
    """Before anything is asked of AWS."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("HOME", "/nonexistent")
    assert cli.main(["status"]) in {3, 4}
    assert "region" in capsys.readouterr().err
