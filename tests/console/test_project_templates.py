"""Templates as people write them: what is read from them, and how each value comes about."""

import os
import shutil
from pathlib import Path

import pytest

from coldspan_console.project import Project

TEMPLATES = Path(__file__).parents[1] / "data" / "templates"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shop():
    """The shop's template with its defaults."""
    return Project.load(TEMPLATES / "shop")


@pytest.fixture
def copied(tmp_path):
    """A copy of a template's folder, free to be changed."""

    def copy(name):
        return Path(shutil.copytree(TEMPLATES / name, tmp_path / name))

    return copy


def test_the_template_of_sam_init_is_read():
    """The first template that anybody has."""
    project = Project.load(TEMPLATES / "hello")
    function = project.function()
    assert (function.logical_id, function.handler, function.runtime) == (
        "HelloWorldFunction", "app.lambda_handler", "python3.13",
    )  # fmt: skip
    assert function.code == TEMPLATES / "hello" / "hello_world"
    assert (function.timeout_s, function.memory_mb, function.log_format) == (3, 128, "JSON")
    assert function.events["HelloWorld"]["Type"] == "Api"


def test_the_template_is_found_above_the_current_folder(monkeypatch):
    """`coldspan run` in a function's own folder."""
    monkeypatch.chdir(TEMPLATES / "shop" / "src" / "orders")
    assert Project.load().path == TEMPLATES / "shop" / "template.yaml"


def test_this_repositorys_functions_are_read():
    """The samples of the README."""
    project = Project.load(ROOT)
    assert {name: function.problem for name, function in project.functions.items()} == dict.fromkeys(
        ["OrdersFunction", "PaymentsFunction", "StreamFunction", "ReportFunction", "McpFunction", "AgentCoreFunction"],
        "",
    )
    layers = project.function("PaymentsFunction").layers
    assert [layer.name for layer in layers] == ["RecorderLayer", "BlackBoxLayer"]
    if not (ROOT / ".aws-sam").exists():  # what `sam build` has built is taken as it is
        assert [layer.build_method for layer in layers] == ["makefile"] * 2


VARIABLES = {
    "STAGE": "dev",
    "LEVEL": "DEBUG",
    "TABLE": "dev-orders",
    "TABLE_ARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/dev-orders",
    "STREAM_ARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/dev-orders/stream/local",
    "QUEUE": "https://sqs.eu-west-1.amazonaws.com/123456789012/dev-jobs-south",
    "TOPIC": "arn:aws:sns:eu-west-1:123456789012:Topic",
    "FILES": "files",
    "BUS": "dev-jobs-south-bus",
    "HOST": "dev.example.com",
    "ZONE": "north",
    "LAST": "c",
    "COUNT": "3",
    "RATIO": "0.5",
    "FLAG": "true",
    "DATE": "2024-01-01",
    "LITERAL": "${NotAVariable}-eu-west-1",
    "OWN": "Topic/dev",
    "SHARED": "imported-network-vpc",
    "API": "https://ServerlessRestApi.execute-api.eu-west-1.amazonaws.com/Prod",
    "ENCODED": "ZGV2IQ==",
    "ROLE": "arn:aws:iam::123456789012:role/dev-orders-apiRole",
    "FALLBACK": "none.example.com",
}


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_a_variable_has_the_value_that_its_intrinsic_function_gives(shop, name):
    """A function would look for a table that is called otherwise."""
    assert shop.function("OrdersFunction").environment[name] == VARIABLES[name]


def test_every_other_variable_is_said_not_to_be_known(shop):
    """A secret and a misspelt name are not set to their own text; AWS::NoValue takes a global one away."""
    function = shop.function("OrdersFunction")
    assert set(function.environment) == set(VARIABLES)
    assert sorted(function.unresolved) == ["PASSWORD", "TYPO"]


def test_globals_hold_where_the_function_says_nothing_else(shop):
    """Memory, timeout and tracing of all functions are usually written once; AWS::NoValue is the service's default."""
    assert shop.function("SnapFunction").memory_mb == 256
    function = shop.function("OrdersFunction")
    assert (function.memory_mb, function.timeout_s, function.tracing) == (128, 5, "Active")
    assert function.properties["EphemeralStorage"] == {"Size": 1024}
    assert function.reserved_concurrency == 5
    assert function.invoke_config == {"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 60}


def test_parameters_of_the_command_line_decide_conditions_and_mappings():
    """-P Stage=prod is the other stage, with the function that only it has."""
    project = Project.load(TEMPLATES / "shop", parameters={"Stage": "prod"})
    function = project.function("OrdersFunction")
    assert (function.name, function.memory_mb, function.timeout_s) == ("prod-orders-api", 1024, 30)
    assert function.environment["LEVEL"] == "WARN"
    assert "ProdOnlyFunction" in project.functions


def test_a_function_whose_condition_is_false_is_not_there(shop):
    """It would not be deployed."""
    assert "ProdOnlyFunction" not in shop.functions


def test_a_function_is_known_by_its_name_too(shop):
    """The log group has the name, the template the logical id."""
    assert shop.function("dev-orders-api") is shop.function("OrdersFunction")


def test_parameters_without_a_value_are_named(shop):
    """An empty password would be a riddle."""
    assert shop.missing_parameters == ("Secret",)


def test_events_have_their_sources_resolved(shop):
    """The poller needs the queue's ARN."""
    events = shop.function("OrdersFunction").events
    assert events["Jobs"]["Properties"]["Queue"] == "arn:aws:sqs:eu-west-1:123456789012:dev-jobs-south"
    assert events["Changes"]["Properties"]["Stream"].endswith("table/dev-orders/stream/local")


@pytest.mark.parametrize(
    ("name", "init_type", "workers"),
    [
        ("OrdersFunction", "on-demand", None),
        ("SnapFunction", "snap-start", None),
        ("ProvisionedFunction", "provisioned-concurrency", None),
        ("ManagedFunction", "lambda-managed-instances", 3),
    ],
)
def test_how_a_function_starts_is_what_the_template_says(shop, name, init_type, workers):
    """Each start shows other hooks and other figures."""
    function = shop.function(name)
    assert (function.init_type, function.max_concurrency) == (init_type, workers)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NodeFunction", "nodejs22.x"),
        ("ImageFunction", "container image"),
        ("BucketFunction", "S3"),
        ("LostFunction", "missing"),
    ],
)
def test_a_function_that_cannot_run_here_says_why_and_harms_no_other(shop, name, words):
    """A template of many is not refused for one."""
    assert words in shop.functions[name].problem
    assert name not in {function.logical_id for function in shop.runnable}


def test_inline_code_is_kept(shop):
    """CloudFormation's ZipFile has no folder."""
    assert "def handler" in shop.function("InlineFunction").inline_code


def test_loops_are_unrolled_with_the_values_given():
    """Fn::ForEach over a list parameter makes a function of each."""
    project = Project.load(TEMPLATES / "loops", parameters={"Names": "One,Two"})
    assert sorted(project.functions) == ["OneFunction", "TwoFunction"]
    assert project.function("TwoFunction").environment == {
        "WHO": "Two", "WHERE": "Two-eu-west-1", "LIMITS": '{"region":"eu-west-1","most":3}', "COUNT": "2",
    }  # fmt: skip


def test_what_the_cdk_synthesises_is_read():
    """Its code and layers are assets beside the template."""
    project = Project.load(TEMPLATES / "cdk" / "Stack.template.json")
    function = project.function()
    assert (function.code, function.environment) == (TEMPLATES / "cdk" / "asset.5e1f", {"TABLE": "ItemsTable2A"})
    assert [layer.folder for layer in function.layers] == [TEMPLATES / "cdk" / "asset.77aa", None]


def test_layers_are_those_of_the_template_and_names_of_others():
    """An ARN is on no developer's machine."""
    layers = Project.load(TEMPLATES / "layers").function().layers
    assert [(layer.name, layer.folder is not None, layer.build_method) for layer in layers[:2]] == [
        ("WordsLayer", True, "python3.13"), ("MadeLayer", True, "makefile"),
    ]  # fmt: skip
    assert layers[2].name.startswith("arn:aws:lambda:")
    assert layers[2].folder is None


@pytest.mark.parametrize(
    "overrides",
    ['"Stage=prod Size=512"', '["Stage=prod", "Size=512"]', '{Stage = "prod", Size = 512}', "\"Stage='prod' Size=512\"",
     '"ParameterKey=Stage,ParameterValue=prod ParameterKey=Size,ParameterValue=512"'],
)  # fmt: skip
def test_samconfigs_parameter_overrides_are_taken(copied, overrides):
    """`sam deploy` and `coldspan run` would run different functions."""
    folder = copied("shop")
    (folder / "samconfig.toml").write_text(f"[default.deploy.parameters]\nparameter_overrides = {overrides}\n")
    function = Project.load(folder).function("InlineFunction")
    assert Project.load(folder).function("OrdersFunction").name == "prod-orders-api"
    assert Project.load(folder).function("SnapFunction").memory_mb == 512
    assert Project.load(folder, parameters={"Stage": "dev"}).function("OrdersFunction").name == "dev-orders-api"
    assert function.runtime == "python3.12"


def build(folder):
    """What `sam build` leaves behind, as far as it matters."""
    made = folder / ".aws-sam" / "build"
    shutil.copytree(folder / "hello_world", made / "HelloWorldFunction")
    text = (folder / "template.yaml").read_text().replace("CodeUri: hello_world/", "CodeUri: HelloWorldFunction")
    (made / "template.yaml").write_text(text)
    return made


def newest(folder):
    """The time, in ns, of what changed last in a folder."""
    return max(path.stat().st_mtime_ns for path in folder.rglob("*"))


def test_what_sam_build_made_is_taken_while_it_is_current(copied):
    """It has the packages."""
    folder = copied("hello")
    made = build(folder)
    function = Project.load(folder).function()
    assert (function.code, function.built) == (made / "HelloWorldFunction", True)
    assert "sam build" in function.notes[0]


@pytest.mark.parametrize("changed", ["hello_world/app.py", "template.yaml"])
def test_what_sam_build_made_is_left_when_something_changed_since(copied, changed):
    """An edit would not be seen, and nobody would know why."""
    folder = copied("hello")
    build(folder)
    later = newest(folder) + 1_000_000_000
    os.utime(folder / changed, ns=(later, later))
    function = Project.load(folder).function()
    assert (function.code, function.built) == (folder / "hello_world", False)
    assert [note for note in function.notes if "older" in note] or changed == "template.yaml"
