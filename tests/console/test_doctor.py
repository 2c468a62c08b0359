"""The doctor: every finding by something that has it, and no false alarm."""

import json
import re
import shutil
from pathlib import Path

import pytest

from coldspan_console import cli
from coldspan_console.doctor import cost, findings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "doctor.md").read_text()
HEAD = "Transform: AWS::Serverless-2016-10-31\nResources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n"
GOOD = {
    "_aws": {"Timestamp": 1, "CloudWatchMetrics": [
        {"Namespace": "n", "Dimensions": [["d"]], "Metrics": [{"Name": "m", "Unit": "Count"}]}]},
    "d": "v", "m": 1,
}  # fmt: skip


def ids(capsys, *words):
    """(exit code, the ids that were found)."""
    code = cli.main(["doctor", *words, "--json"])
    return code, {each["id"] for each in json.loads(capsys.readouterr().out)["findings"]}


def changed(**members):
    """A document with another metric directive or other members, as a line."""
    document = json.loads(json.dumps(GOOD))
    directive = members.pop("directive", {})
    document["_aws"]["CloudWatchMetrics"][0].update(directive)
    return json.dumps({**document, **members})


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"Runtime": "nodejs22.x"}, "CS100"),
        ({}, "CS101"),
        ({"PYTHONPATH": "/opt/lib"}, "CS102"),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument"}, "CS103"),
        ({"Handler": "coldspan.handler"}, "CS104"),
        ({"COLDSPAN_ENABLE": "true"}, "CS105"),
        ({"COLDSPAN_DETAIL": "most"}, "CS106"),
        ({"COLDSPAN_ENABLED": "false"}, "CS107"),
        ({"COLDSPAN_EXPORT": "datadog"}, "CS108"),
        ({"COLDSPAN_NAMESPACE": "AWS/mine"}, "CS109"),
        ({"Tracing": "PassThrough"}, "CS110"),
        ({"Tracing": "Active"}, "CS111"),
        ({"Handler": "datadog_lambda.handler.handler"}, "CS114"),
        ({"Layers": ["arn:aws:lambda:eu-west-1:464622532012:layer:Datadog-Python313:9"]}, "CS115"),
        ({"COLDSPAN_EXPORT": "otlp", "MemorySize": "128"}, "CS121"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_template_says_is_found(tmp_path, monkeypatch, capsys, more, found):
    """By its id."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("def handler(event, context): pass\n")
    named = {"CodeUri": ".", "Handler": "app.handler", "Runtime": "python3.13"}
    named |= {name: value for name, value in more.items() if not name.isupper()}
    text = HEAD + "".join(f"      {name}: {json.dumps(value)}\n" for name, value in named.items())
    variables = {name: value for name, value in more.items() if name.isupper()}
    if variables:
        text += f"      Environment: {{Variables: {json.dumps(variables)}}}\n"
    (tmp_path / "template.yaml").write_text(text)
    code, told = ids(capsys)
    assert found in told
    severity = re.search(rf"\| {found} \| (\w+) ", PAGE).group(1)
    assert (code == 1) == (severity == "error" or bool(told & {"CS106"}))


def test_six_layers_are_too_many(tmp_path, monkeypatch, capsys):
    """Lambda takes five."""
    monkeypatch.chdir(tmp_path)
    arns = [f"arn:aws:lambda:eu-west-1:123456789012:layer:l{number}:1" for number in range(6)]
    (tmp_path / "template.yaml").write_text(
        HEAD + f"      CodeUri: .\n      Handler: a.b\n      Runtime: python3.13\n      Layers: {json.dumps(arns)}\n"
    )
    assert "CS120" in ids(capsys)[1]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("[INFO] " + changed(), "CS201"),
        (changed().replace(": 1}", ": NaN"), "CS202"),
        (changed(more="x" * 1_100_000), "CS203"),
        (json.dumps({"_aws": {}}), "CS204"),
        (changed(directive={"Metrics": [{"Name": "m"}] * 101}), "CS205"),
        (changed(directive={"Dimensions": [["d"] * 31]}), "CS206"),
        (changed(d=7), "CS207"),
        (changed(m="much"), "CS208"),
        (changed(m=[1] * 101), "CS209"),
        ("\n".join(changed(d=f"id-{number}") for number in range(60)), "CS210"),
        (changed(directive={"Metrics": [{"Name": "m", "Unit": "Furlongs"}]}), "CS211"),
        (changed() + "\n" + changed(directive={"Metrics": [{"Name": "m", "Unit": "Bytes"}]}), "CS212"),
    ],
    ids=lambda value: value if len(value) == 5 else "",
)  # fmt: skip
def test_what_a_log_says_is_found(tmp_path, capsys, line, found):
    """A line that CloudWatch would drop without a word."""
    (tmp_path / "f.log").write_text(f"START RequestId: x\n{line}\nplain text\n")
    assert ids(capsys, "--log", str(tmp_path / "f.log"))[1] == {found}


def test_a_function_without_a_record_is_found_by_running_it(tmp_path, monkeypatch, capsys):
    """With --run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("def handler(event, context): return 1\n")
    (tmp_path / "template.yaml").write_text(
        HEAD
        + "      CodeUri: .\n      Handler: app.handler\n      Runtime: python3.13\n      Environment: {Variables: {COLDSPAN_ENABLED: false}}\n"
    )
    assert "CS130" in ids(capsys, "F", "--run")[1]
    assert "CS130" not in ids(capsys, "F")[1]


def test_every_id_is_explained_and_every_explained_one_is_tested():
    """The page, the code and these tests name the same."""
    package = ROOT / "console" / "coldspan_console"
    files = [*(package / "doctor").glob("*.py"), package / "commands" / "doctor.py"]
    said = set(re.findall(r'"(CS\d+)"', "".join(path.read_text() for path in files)))
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_doctor*.py"))
    told = re.findall(r"^\| (CS\d+) ", PAGE, re.MULTILINE)
    assert said == set(told) == set(re.findall(r"CS\d+", tests))
    assert told == sorted(told)


def test_a_finding_has_the_severity_of_the_page():
    """A script that waits for errors would wait for others."""
    package = ROOT / "console" / "coldspan_console"
    files = [*(package / "doctor").glob("*.py"), package / "commands" / "doctor.py"]
    code = "".join(path.read_text() for path in files)
    said = set(re.findall(r'Finding\(\s*"(CS\d+)",\s*(ERROR|WARNING|NOTE)', code))
    assert {(number, word.lower()) for number, word in said} == set(
        re.findall(r"^\| (CS\d+) \| (\w+) ", PAGE, re.MULTILINE)
    )


def test_our_own_template_and_that_of_sam_init_are_without_an_error(capsys):
    """A false alarm is worse than none."""
    assert ids(capsys, "--template", str(ROOT / "template.yaml"))[0] == 0
    code, told = ids(capsys, "--template", str(ROOT / "tests" / "data" / "templates" / "hello-world.yaml"))
    assert (code, told <= {"CS100", "CS101", "CS110"}) == (0, True)


def test_a_function_that_brings_coldspan_among_its_packages_needs_no_layer(capsys, tmp_path, monkeypatch):
    """One of the four ways in: @coldspan.instrument."""
    monkeypatch.chdir(tmp_path)
    template = (ROOT / "tests" / "data" / "templates" / "hello-world.yaml").read_text()
    (tmp_path / "template.yaml").write_text(template)
    shutil.copytree(ROOT / "tests" / "data" / "templates" / "hello_world", tmp_path / "hello_world")
    assert "CS101" in ids(capsys)[1]
    (tmp_path / "hello_world" / "coldspan" / "boot").mkdir(parents=True)
    (tmp_path / "hello_world" / "coldspan" / "boot" / "start.py").write_text("")
    assert "CS101" not in ids(capsys)[1]


def test_the_settings_that_it_knows_are_those_of_the_readme():
    """One that is missing here would be called unknown."""
    readme = (ROOT / "README.md").read_text()
    told = set(re.findall(r"^\| `(COLDSPAN_\w+)` \|", readme, re.MULTILINE))
    assert told == set(findings.VARIABLES)


def test_the_cost_is_that_of_its_parts(capsys):
    """Ten requests a second, by hand."""
    found = cost.estimate(10, 4, 3_000)
    assert found["invocations"] == 25_920_000
    assert round(found["metrics"], 2) == 8.70
    assert round(found["logs"], 2) == 38.88
    assert round(found["traces"], 2) == 18.79  # one of the ten, and 5 % of nine: 14.5 %
    assert cost.sampled_share(0.2) == 1.0
    assert cli.main(["doctor", "--template", str(ROOT / "template.yaml"), "--traffic", "10"]) == 0
    assert "a month: 66.37 USD" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["--log", "nothing.log"], ["Nobody", "--template", str(ROOT)], ["--template", "nowhere.yaml"]]
)
def test_bad_input_is_told(capsys, words):
    """No traceback."""
    assert cli.main(["doctor", *words]) == 3
    assert "error: " in capsys.readouterr().err
