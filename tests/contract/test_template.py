"""template.yaml, samconfig.toml and events/, held against the samples and against what the recorder emits."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

from coldspan.core.emf import CALL_METRICS, METRICS
from coldspan_console import demo_resources

ROOT = Path(__file__).parents[2]
TEMPLATE = demo_resources.load()
RESOURCES = TEMPLATE["Resources"]
GLOBALS = TEMPLATE["Globals"]["Function"]


def of_type(kind):
    """{logical id: properties} of the resources of a type."""
    return {name: each.get("Properties", {}) for name, each in RESOURCES.items() if each["Type"] == kind}


FUNCTIONS = of_type("AWS::Serverless::Function")
ALARMS = of_type("AWS::CloudWatch::Alarm")
EVENTS = sorted((ROOT / "events").rglob("*.json"))
OURS = {"Ref": "MetricsNamespace"}

# The dimension sets of DESIGN: one line an invocation, one line a (tool, operation).
OF_INVOCATION = ("function_name",)
OF_CALL = ("function_name", "tool", "operation")


def by_hand():
    """Names of the metrics that the samples emit by coldspan.metric."""
    return {
        call.args[0].value
        for file in (ROOT / "functions").glob("*/app.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "coldspan.metric"
    }


def dashboard():
    """The dashboard's body, with what `!Sub` replaces replaced."""
    text = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Sub"]
    text = text.replace("${!", "${").replace("${MetricsNamespace}", "coldspan")
    return json.loads(re.sub(r"\$\{AWS::\w+\}", "x", text))


def searches():
    """(dimension names, metric name, statistic, period) of each search on the dashboard."""
    expressions = [
        metric[0]["expression"]
        for widget in dashboard()["widgets"]
        for metric in widget["properties"].get("metrics", [])
    ]
    pattern = re.compile(r"""SEARCH\('\{"coldspan",([\w,]+)\} MetricName="(\w+)"', '(\w+)', (\d+)\)""")
    found = [pattern.search(expression) for expression in expressions]
    assert None not in found, expressions[found.index(None)]
    return [(tuple(each[1].split(",")), each[2], each[3], int(each[4])) for each in found]


def alarm_metrics():
    """(alarm, dimension names, metric name) of each alarm on a metric of coldspan's namespace."""
    for name, alarm in ALARMS.items():
        stats = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
        for metric in stats or [alarm]:
            if metric["Namespace"] == OURS:
                yield name, tuple(each["Name"] for each in metric["Dimensions"]), metric["MetricName"]


def statements(name):
    """The policy statements written out for a function."""
    return [each for policy in FUNCTIONS[name]["Policies"] for each in policy["Statement"]]


def as_list(value):
    return value if isinstance(value, list) else [value]


def test_template_has_one_function_for_each_sample():
    """A sample that is not deployed, or a function without code, is a claim."""
    folders = {file.parent.name for file in (ROOT / "functions").glob("*/app.py")}
    assert {Path(each["CodeUri"]).name for each in FUNCTIONS.values()} == folders
    assert len(FUNCTIONS) == len(folders)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_the_layer_and_tracing_and_code_that_can_be_built(name):
    """The layer alone does it: a function that overrides the global list would go unrecorded."""
    properties = {**GLOBALS, **FUNCTIONS[name]}
    layers = [*as_list(GLOBALS["Layers"]), *as_list(FUNCTIONS[name].get("Layers", []))]  # SAM adds lists up
    assert layers[0] == {"Ref": "RecorderLayer"}
    assert properties["Tracing"] == "Active"
    assert properties["Runtime"] == "python3.13"
    folder = ROOT / properties["CodeUri"]
    assert (folder / "requirements.txt").exists()
    module, _, handler = properties["Handler"].partition(".")
    tree = ast.parse((folder / f"{module}.py").read_text())
    assert handler in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_layer_is_built_from_the_recorder_for_every_python_it_supports():
    """The layer in the template is the recorder in this repository."""
    layer = RESOURCES["RecorderLayer"]
    assert layer["Type"] == "AWS::Serverless::LayerVersion"
    assert layer["Metadata"] == {"BuildMethod": "makefile"}
    assert layer["Properties"]["CompatibleRuntimes"] == ["python3.11", "python3.12", "python3.13", "python3.14"]
    makefile = (ROOT / layer["Properties"]["ContentUri"] / "Makefile").read_text()
    assert re.search(r"^build-RecorderLayer:", makefile, re.MULTILINE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_given_each_variable_it_reads_and_no_other(name):
    """A missing variable is an import error in production; one too many is a lie about the sample."""
    properties = FUNCTIONS[name]
    source = (ROOT / properties["CodeUri"] / "app.py").read_text()
    read = set(re.findall(r"""os\.environ\[["'](\w+)["']\]""", source))
    given = {key for key in demo_resources.variables({"Properties": properties}) if not key.startswith("POWERTOOLS_")}
    assert given == read


@pytest.mark.parametrize("name", FUNCTIONS)
def test_policies_name_their_actions_and_their_resources(name):
    """Least privilege: no wildcard action, and no resource that is everything."""
    for statement in statements(name):
        assert all("*" not in action for action in as_list(statement["Action"]))
        for resource in as_list(statement["Resource"]):
            target = resource.get("GetAtt") or resource.get("Sub", "")
            assert re.fullmatch(r"(\w+\.Arn|\$\{\w+\.Arn\}/rates/\*)", target), resource


def test_roles_name_their_actions_and_their_resources():
    """The same for the roles that are written out."""
    for role in of_type("AWS::IAM::Role").values():
        for statement in [each for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"]]:
            assert all("*" not in action for action in as_list(statement["Action"]))
            assert "*" not in as_list(statement["Resource"])


def test_batch_functions_report_item_failures_and_their_queues_have_dead_letters():
    """Partial batch failures count only where the event source asks for them."""
    sources = [
        event["Properties"]
        for function in FUNCTIONS.values()
        for event in function.get("Events", {}).values()
        if event["Type"] in {"SQS", "DynamoDB", "Kinesis"}
    ]
    assert len(sources) == 2
    assert all(each["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for each in sources)
    queues = of_type("AWS::SQS::Queue")
    assert [name for name, each in queues.items() if "RedrivePolicy" not in each] == ["DeadLetters"]
    assert queues["PaymentsQueue"]["VisibilityTimeout"] >= 6 * FUNCTIONS["PaymentsFunction"]["Timeout"]


def test_every_metric_on_dashboard_and_alarms_is_one_that_is_emitted():
    """An alarm on a metric that does not exist, or has other dimensions, never rings."""
    known = {(OF_INVOCATION, name) for name in {*METRICS, *by_hand()}} | {(OF_CALL, name) for name in CALL_METRICS}
    named = {each[:2] for each in searches()} | {each[1:] for each in alarm_metrics()}
    assert named - known == set()


def test_every_metric_that_is_emitted_is_on_the_dashboard():
    """What coldspan measures must be seen without building a dashboard first."""
    shown = {each[:2] for each in searches()}
    assert shown == {(OF_INVOCATION, name) for name in METRICS} | {(OF_CALL, name) for name in CALL_METRICS}


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_rings_somewhere_and_not_for_silence(name):
    """An alarm without an action is decoration; one that breaches on missing data rings every quiet night."""
    assert ALARMS[name]["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    assert ALARMS[name]["TreatMissingData"] == "notBreaching"
    assert ALARMS[name]["AlarmDescription"]


def test_dashboard_widgets_do_not_overlap_and_stay_on_the_grid():
    """CloudWatch's grid is 24 wide; widgets that overlap are moved about by the console."""
    taken = set()
    for widget in dashboard()["widgets"]:
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_dashboard_ids_are_unique_in_each_widget():
    """CloudWatch refuses a widget with two metrics of one id."""
    for widget in dashboard()["widgets"]:
        ids = [metric[0]["id"] for metric in widget["properties"].get("metrics", [])]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"[a-z]\w*", each) for each in ids)


@pytest.mark.parametrize("file", [file for file in EVENTS if file.parent.name != "malformed"], ids=lambda f: f.stem)
def test_event_is_a_json_object(file):
    """An event that does not decode belongs into malformed/."""
    assert isinstance(json.loads(file.read_text()), dict)


def test_samconfig_has_defaults_for_build_local_validate_and_deploy():
    """`sam build && sam local invoke NAME` must work without options."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert config["version"] == 0.1
    ways = ("local_invoke", "local_start_api", "local_start_lambda")
    assert set(config["default"]) >= {"build", "validate", "deploy", *ways}
    assert (ROOT / config["default"]["local_invoke"]["parameters"]["event"]).is_file()
    for name in ("region", "env_vars", "add_host"):
        assert len({str(config["default"][way]["parameters"][name]) for way in ways}) == 1, name
    assert config["default"]["local_invoke"]["parameters"]["region"] == demo_resources.REGION
    assert config["default"]["validate"]["parameters"]["lint"] is True
    local = json.loads((ROOT / config["default"]["local_invoke"]["parameters"]["env_vars"]).read_text())
    declared = {key for each in FUNCTIONS.values() for key in demo_resources.variables({"Properties": each})}
    # sam local ignores a variable that the template does not declare
    assert set(local["Parameters"]) <= declared | set(GLOBALS["Environment"]["Variables"])
