"""What a template says, in the styles in which templates are written, and broken."""

import re
from pathlib import Path

import pytest

from coldspan_console.output import ConsoleError
from coldspan_console.project import Project

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "tests" / "data" / "templates"


def project(name, **options):
    """A template of the test data."""
    return Project.load(TEMPLATES / name, **options)


def written(tmp_path, text, name="template.yaml"):
    """A template with this text."""
    path = tmp_path / name
    path.write_text(text)
    return path


def refusal(path):
    """What is said of a template that cannot be read."""
    with pytest.raises(ConsoleError) as caught:
        Project.load(path)
    return caught.value


def test_what_sam_init_makes_is_read():
    """The first template that a newcomer has."""
    found = project("hello-world.yaml").function()
    assert (found.logical_id, found.name, found.handler) == (
        "HelloWorldFunction",
        "HelloWorldFunction",
        "app.lambda_handler",
    )
    assert (found.timeout_s, found.memory_mb, found.log_format, found.problem) == (3, 128, "JSON", "")
    assert found.code == TEMPLATES / "hello_world"
    assert found.events["HelloWorld"]["Properties"]["Path"] == "/hello"


def test_intrinsic_functions_are_resolved():
    """The function would get {"Fn::Sub": ...} as its variable."""
    found = project("intrinsics.yaml").function("Worker")
    assert (found.name, found.memory_mb, found.timeout_s) == ("worker-dev", 256, 5)
    assert found.environment == {
        "STAGE": "dev", "LEVEL": "DEBUG", "TABLE": "orders-dev", "PORT": "8080", "DEBUG": "true", "BOTH": "yes",
        "TABLE_ARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/orders-dev",
        "QUEUE": "https://sqs.eu-west-1.amazonaws.com/123456789012/Jobs",
        "QUEUE_ARN": "arn:aws:sqs:eu-west-1:123456789012:Jobs",
        "TOPIC": "arn:aws:sns:eu-west-1:123456789012:news-dev",
        "JOINED": "a-dev-eu-west-1", "SPLIT": "two", "SUB_LIST": "dev/xy/${Literal}", "BASE": "dGV4dA==",
        "SHARED": "imported-other-stack-Url",
    }  # fmt: skip
    assert found.unresolved == ("UNKNOWN",)
    assert "return event" in found.inline_code


def test_parameters_of_the_command_line_decide():
    """The other branch of each condition."""
    found = project("intrinsics.yaml", parameters={"Stage": "prod"}).function("worker-prod")
    assert (found.timeout_s, found.environment["LEVEL"], found.environment["GONE"]) == (60, "WARN", "there")


def test_parameters_of_samconfig_are_used(tmp_path):
    """Sam would use them, too."""
    path = written(tmp_path, (TEMPLATES / "intrinsics.yaml").read_text())
    (tmp_path / "samconfig.toml").write_text(
        '[default.deploy.parameters]\nparameter_overrides = "Stage=\\"prod\\" Port=1"\n'
    )
    assert Project.load(path).function("Worker").environment["STAGE"] == "prod"


def test_what_the_cdk_synthesises_is_read():
    """Code as an asset beside it, and inline."""
    found = project("cdk.json")
    handler = found.function("Handler886CB40B")
    assert (handler.code, handler.runtime, handler.tracing) == (TEMPLATES / "asset.code", "python3.12", "Active")
    assert handler.environment == {"TABLE": "Table0CD2A2A3"}
    assert found.function("Zip").inline_code.startswith("def handler")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Node", "its runtime is nodejs22.x"), ("Image", "container image"), ("Gone", "its code is missing"),
        ("Remote", "in S3"), ("NoHandler", "no Handler"),
    ],
)  # fmt: skip
def test_a_function_that_cannot_run_here_is_refused_with_the_reason(name, why):
    """The others of the template run all the same."""
    found = project("several.yaml")
    with pytest.raises(ConsoleError) as caught:
        found.function(name)
    assert why in caught.value.message
    assert {each.logical_id for each in found.runnable} == {"Snap", "Warm"}


def test_how_environments_start_and_which_layers_they_have_is_known():
    """A layer that is an ARN is not on this machine."""
    found = project("several.yaml")
    snap = found.function("Snap")
    assert (snap.init_type, found.function("Warm").init_type) == ("snap-start", "provisioned-concurrency")
    assert [(layer.name.rpartition(":")[2], layer.folder) for layer in snap.layers] == [
        ("7", None), ("Shared", TEMPLATES / "shared"),
    ]  # fmt: skip


def test_every_function_of_our_own_template_can_run():
    """The samples are what a reader tries first."""
    found = Project.load(ROOT / "template.yaml")
    assert len(found.runnable) == len(found.functions) == 6
    assert not any(function.unresolved for function in found.runnable)


def test_the_template_is_found_from_a_folder_below(monkeypatch):
    """A user is in the folder of the code."""
    monkeypatch.chdir(ROOT / "functions" / "orders")
    assert Project.load().path == ROOT / "template.yaml"


def test_a_function_is_named_by_what_is_near(monkeypatch):
    """The names, and the one that was meant."""
    with pytest.raises(ConsoleError) as caught:
        Project.load(ROOT / "template.yaml").function("OrderFunction")
    assert "did you mean OrdersFunction?" in caught.value.todo
    with pytest.raises(ConsoleError) as caught:
        Project.load(ROOT / "template.yaml").function()
    assert "PaymentsFunction" in caught.value.todo


def test_code_that_sam_has_built_is_taken_where_it_is_newer(tmp_path):
    """It has the packages; but not when the template has changed since."""
    path = written(tmp_path, (TEMPLATES / "hello-world.yaml").read_text())
    (tmp_path / "hello_world").mkdir()
    build = tmp_path / ".aws-sam" / "build"
    (build / "HelloWorldFunction").mkdir(parents=True)
    made = (TEMPLATES / "hello-world.yaml").read_text().replace("CodeUri: hello_world/", "CodeUri: HelloWorldFunction")
    written(build, made)
    found = Project.load(path).function()
    assert (found.built, found.code) == (True, build / "HelloWorldFunction")
    stamp = (build / "template.yaml").stat().st_mtime_ns
    import os

    os.utime(path, ns=(stamp + 10**9, stamp + 10**9))
    assert Project.load(path).function().code == tmp_path / "hello_world"


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        ("Resources: [", "is no YAML", ":1:13"),
        ("Resources:\n  A: {Type: 'x'\n", "is no YAML", ":3:1"),
        ("just text", "no Resources", "template.yaml"),
        ("Resources: 7", "no Resources", "template.yaml"),
        ("Resources: {A: 7}", "resource A is no resource", "template.yaml"),
        ("", "no Resources", "template.yaml"),
        (
            "Resources: {A: {Type: 'AWS::Serverless::Function'}}\nGlobals: {Function: {Nonsense: 1}}",
            "Nonsense",
            "template.yaml",
        ),
        ("a: !Ref\n\tb: 1", "is no YAML", ":2:1"),
    ],
)
def test_a_broken_template_is_told_with_its_place(tmp_path, text, said, where):
    """No traceback of a parser."""
    error = refusal(written(tmp_path, text))
    assert said in error.message
    assert re.search(re.escape(where), error.where)


def test_broken_json_is_told_with_its_place(tmp_path):
    """The line and the column."""
    error = refusal(written(tmp_path, '{"Resources": {\n  x', "template.json"))
    assert error.where.endswith("template.json:2:3")


def test_a_missing_template_says_what_to_do(tmp_path):
    """Two ways out."""
    error = refusal(tmp_path)
    assert error.message == "no template.yaml"
    assert "--handler" in error.todo
