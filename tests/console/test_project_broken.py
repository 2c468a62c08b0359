"""Templates that are wrong: each is told in words, with its place."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldspan_console.output import ConsoleError
from coldspan_console.project import Project

FUNCTION = "Type: AWS::Serverless::Function, Properties: {Runtime: python3.13, Handler: app.handler, InlineCode: 'x=1'}"


def refusal(folder, text, name="template.yaml", **options):
    """How a template is refused."""
    (folder / name).write_text(text)
    with pytest.raises(ConsoleError) as found:
        Project.load(folder / name, **options)
    return found.value


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("Resources:\n  A: [1\n  B: 2\n", "is no YAML", "template.yaml:3:"),
        ("Resources:\n\tA: 1\n", "is no YAML", "template.yaml:2:1"),
        ("- a\n- b\n", "no Resources", "template.yaml"),
        ("", "no Resources", "template.yaml"),
        ("Resources: 3\n", "no Resources", "template.yaml"),
        ("Parameters: [a]\nResources: {}\n", "Parameters", "template.yaml"),
        ("Resources:\n  A: text\n", "resource A", "template.yaml"),
        ("Resources:\n  A: {Type: T, Properties: {P: !Fnord x}}\n", "Fn::Fnord", "Resources.A.Properties.P"),
        ("Resources:\n  A: {Type: T, Properties: {P: {'Fn::Joins': [a]}}}\n", "Fn::Joins", "Resources.A.Properties.P"),
        ("Globals: {Function: {NoSuch: 1}}\nResources: {}\n", "NoSuch", "template.yaml"),
        (f"Resources:\n  A: &a {{{FUNCTION}, Metadata: *a}}\n", "contains itself", "template.yaml"),
        (
            ("Resources:\n  A: {Type: AWS::SQS::Queue, Properties: {QueueName: !GetAtt B.QueueName}}\n"
            "  B: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub '${A}-dead'}}\n"),
            "A, B refer to each other in a circle", "template.yaml",
        ),
        (
            "Conditions: {One: !Not [!Condition Two], Two: !Not [!Condition One]}\nResources: {}\n",
            "One, Two refer to each other in a circle", "template.yaml",
        ),
    ],
)  # fmt: skip
def test_a_broken_template_is_refused_with_its_place(tmp_path, text, what, where):
    """Not a traceback of a library."""
    error = refusal(tmp_path, text)
    assert what in error.message
    assert where in error.where


def test_broken_json_is_refused_with_line_and_column(tmp_path):
    """The CDK's templates are JSON."""
    error = refusal(tmp_path, '{"Resources": {\n  "A": }', "template.json")
    assert "is no JSON" in error.message
    assert error.where.endswith("template.json:2:8")


def test_an_unknown_intrinsic_function_has_a_suggestion(tmp_path):
    """Most are misspelt."""
    assert "Fn::Join" in refusal(tmp_path, "Resources: {A: {Type: T, Properties: {P: !Joins [a, [b]]}}}\n").todo


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    """Saved by another editor."""
    (tmp_path / "template.yaml").write_bytes(b"Resources: \xff\n")
    with pytest.raises(ConsoleError, match="UTF-8"):
        Project.load(tmp_path)


def test_a_template_that_is_not_there_is_not_looked_for_elsewhere(tmp_path, monkeypatch):
    """A misspelt --template would run another project's function."""
    (tmp_path / "template.yaml").write_text(f"Resources: {{A: {{{FUNCTION}}}}}\n")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    for missing in (tmp_path / "tempalte.yaml", tmp_path / "below"):
        with pytest.raises(ConsoleError) as found:
            Project.load(missing)
        assert found.value.where == str(missing)


@pytest.mark.parametrize(
    ("parameters", "what", "todo"),
    [({"Stag": "dev"}, "Stag", "did you mean Stage?"), ({"Stage": "staging"}, "'staging'", "dev, prod")],
)
def test_a_parameter_that_is_wrong_is_refused(tmp_path, parameters, what, todo):
    """It would be ignored, and the default would run."""
    text = "Parameters: {Stage: {Type: String, Default: dev, AllowedValues: [dev, prod]}}\nResources: {}\n"
    error = refusal(tmp_path, text, parameters=parameters)
    assert what in error.message
    assert todo in error.todo


def test_a_loop_over_a_parameter_without_a_value_is_refused(tmp_path):
    """The library would make names up."""
    text = (
        "Transform: AWS::LanguageExtensions\nParameters: {Names: {Type: CommaDelimitedList}}\nResources:\n"
        "  Fn::ForEach::All: [Name, !Ref Names, {'${Name}Function': {" + FUNCTION + "}}]\n"
    )
    assert "-P Names=" in refusal(tmp_path, text).todo


@pytest.mark.parametrize("toml", ["[default", '[default.deploy.parameters]\nparameter_overrides = "a=\'"\n'])
def test_a_broken_samconfig_is_refused(tmp_path, toml):
    """Its values would be missing without a word."""
    (tmp_path / "samconfig.toml").write_text(toml)
    error = refusal(tmp_path, f"Resources: {{A: {{{FUNCTION}}}}}\n")
    assert error.where.endswith("samconfig.toml")


@pytest.mark.parametrize(
    ("name", "what"), [(None, "which function?"), ("Alhpa", "no function called Alhpa"), ("Beta", "nodejs20.x")]
)
def test_a_function_that_is_not_meant_by_a_name_is_refused_with_the_names(tmp_path, name, what):
    """None, misspelt, or one that cannot run here."""
    text = f"Resources:\n  Alpha: {{{FUNCTION}}}\n  Gamma: {{{FUNCTION}}}\n  Beta: {{{FUNCTION}}}\n"
    (tmp_path / "template.yaml").write_text("nodejs20.x".join(text.rsplit("python3.13", 1)))
    with pytest.raises(ConsoleError) as found:
        Project.load(tmp_path).function(name)
    assert what in found.value.message
    assert name == "Beta" or "Alpha" in found.value.todo


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["Ref", "Fn::Sub", "Fn::If", "Fn::Join", "Fn::GetAtt", "Variables", "Type", "ApplyOn", "x"]),
        inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
PROPERTIES = [
    "Environment", "Layers", "Timeout", "MemorySize", "CodeUri", "Architectures", "SnapStart", "LoggingConfig",
    "Events", "FunctionName", "CapacityProviderConfig", "InlineCode", "Tracing", "Runtime", "PackageType",
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(PROPERTIES), JSON, max_size=4))
def test_properties_of_any_shape_are_read_or_refused(tmp_path, properties):
    """A template is what somebody typed: no shape of it ends in a traceback."""
    import json

    base = {"Runtime": "python3.13", "Handler": "app.handler", **properties}
    template = {"Resources": {"A": {"Type": "AWS::Serverless::Function", "Properties": base}}}
    (tmp_path / "template.json").write_text(json.dumps(template))
    try:
        project = Project.load(tmp_path)
    except ConsoleError:
        return
    assert set(project.functions) == {"A"}
