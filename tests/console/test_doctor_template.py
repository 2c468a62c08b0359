"""The doctor on a template: its role, its log group, and what is in packages and layers."""

import json
import shutil
import zipfile

import pytest

from coldspan_console import cli

RECORDER = {"python/coldspan/__init__.py": "", "python/coldspan/boot/start.py": "", "python/coldspan.pth": "import x"}
GROUP = "AWS::Logs::LogGroup"


def elf(machine):
    """The header of a compiled file."""
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(44)


X86, ARM = elf(0x3E), elf(0xB7)


def distribution(name, version, *modules):
    """Files of an installed distribution, as pip leaves them."""
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    files = {f"{module}/__init__.py": "" for module in modules}
    record = "".join(f"{path},,\n" for path in [*files, f"{folder}/METADATA", "../../bin/tool"])
    return {**files, f"{folder}/METADATA": f"Name: {name}\nVersion: {version}\n\nWords.", f"{folder}/RECORD": record}


def under(folder, *parts):
    """The same files in a folder."""
    return {f"{folder}{name}": content for part in parts for name, content in part.items()}


@pytest.fixture
def place(tmp_path, monkeypatch, capsys):
    """Write files, a template with one function and layers, and examine it: {id: what}."""
    monkeypatch.chdir(tmp_path)

    def write(root, files):
        shutil.rmtree(tmp_path / root, ignore_errors=True)
        for name, content in files.items():
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def examined(own=(), layers=(), others=None, metadata=None, kind="AWS::Serverless::Function", **properties):
        write("code", {"app.py": "def handler(event, context): pass", **dict(own)})
        resources = dict(others or {})
        write("recorder", RECORDER)
        for name, files in (("recorder", RECORDER), *dict(layers).items()):
            write(name, files)
            resources[f"{name.title()}Layer"] = {
                "Type": "AWS::Serverless::LayerVersion",
                "Properties": {"ContentUri": name, **(metadata or {}).get(name, {})},
            }
        code = "CodeUri" if kind == "AWS::Serverless::Function" else "Code"
        named = [{"Ref": f"{name.title()}Layer"} for name in ("recorder", *dict(layers))]
        resources["F"] = {"Type": kind, "Properties": {
            code: "code", "Handler": "app.handler", "Runtime": "python3.13", "Layers": named,
            **({"Tracing": "Active"} if code == "CodeUri" else {"TracingConfig": {"Mode": "Active"}}), **properties,
        }}  # fmt: skip
        template = {"Transform": "AWS::Serverless-2016-10-31", "Resources": resources}
        (tmp_path / "template.json").write_text(json.dumps(template))
        assert cli.main(["doctor", "--json"]) in {0, 1}
        found = json.loads(capsys.readouterr().out)["findings"]
        assert len({each["id"] for each in found}) == len(found)
        return {each["id"]: each["what"] for each in found if each["id"] != "CS111"}

    return examined


def test_a_good_function_has_nothing(place):
    """A false alarm is worse than none: the recorder's layer, a package, another layer with other modules."""
    own = {**distribution("rich", "13.0", "rich"), "lib/numbers.py": "", "tests/test_app.py": ""}
    layers = {"shared": {**under("python/", distribution("six", "1.16", "six")), "extensions/watch": "#!/bin/sh\n"}}
    assert place(own, layers, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "ERROR"}) == {}


# --- log groups and levels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "logging"),
    [
        ({"LogGroupName": "/aws/lambda/F"}, {}),
        ({"LogGroupName": "/shop"}, {"LoggingConfig": {"LogGroup": "/shop"}}),
        ({"LogGroupName": "/shop"}, {"LoggingConfig": {"LogGroup": {"Ref": "Group"}}}),
        ({}, {"LoggingConfig": {"LogGroup": {"Ref": "Group"}}}),
        ({"LogGroupName": {"Fn::Sub": "/aws/lambda/${F}"}}, {}),
    ],
)
def test_a_log_group_of_infrequent_access_is_found(place, group, logging):
    """By its name, or by what LoggingConfig says; and not when it is of the Standard class."""
    for kind, fires in (("INFREQUENT_ACCESS", True), ("STANDARD", False)):
        others = {"Group": {"Type": GROUP, "Properties": {"LogGroupClass": kind, **group}}}
        assert ("CS116" in place(others=others, **logging)) == fires


def test_a_log_group_of_another_function_does_not_matter(place):
    """It has nothing to do with this one."""
    others = {"Group": {"Type": GROUP, "Properties": {"LogGroupClass": "INFREQUENT_ACCESS", "LogGroupName": "/else"}}}
    assert place(others=others) == {}


@pytest.mark.parametrize(
    ("own", "layers", "logging", "fires"),
    [
        ({"requirements.txt": "aws-lambda-powertools[tracer]>=3\n"}, {}, ("JSON", "WARN"), True),
        ({"aws_embedded_metrics/__init__.py": ""}, {}, ("JSON", "FATAL"), True),
        ({}, {"p": {"python/aws_lambda_powertools/__init__.py": ""}}, ("JSON", "ERROR"), True),
        ({"requirements.txt": "aws-lambda-powertools"}, {}, ("JSON", "INFO"), False),
        ({"requirements.txt": "aws-lambda-powertools"}, {}, ("Text", ""), False),
        ({"requirements.txt": "# aws-lambda-powertools\nrequests"}, {}, ("JSON", "ERROR"), False),
    ],
)
def test_a_log_level_that_drops_the_metrics_of_others_is_found(place, own, layers, logging, fires):
    """The recorder's own lines carry the level that lets them through."""
    form, level = logging
    config = {"LogFormat": form, **({"ApplicationLogLevel": level} if level else {})}
    assert ("CS112" in place(own, layers, LoggingConfig=config)) == fires


def test_a_system_log_level_that_drops_reports_is_told(place):
    """`coldspan pull` would miss them."""
    assert "CS113" in place(LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "WARN"})
    assert "CS113" not in place(LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "INFO"})


# --- the role -----------------------------------------------------------------------------------------------------


def role(*managed, **properties):
    """A role of the template."""
    arns = [f"arn:aws:iam::aws:policy/{name}" for name in managed]
    return {"Role": {"Type": "AWS::IAM::Role", "Properties": {"ManagedPolicyArns": arns, **properties}}}


GET_ROLE = {"Fn::GetAtt": ["Role", "Arn"]}
BASIC = "service-role/AWSLambdaBasicExecutionRole"
WRITES = {"Statement": [{"Effect": "Allow", "Action": ["xray:Put*"], "Resource": "*"}]}


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (role(BASIC), {"CS117"}),
        (role("AWSXRayDaemonWriteAccess"), {"CS119"}),
        (role(BASIC, "AWSXRayDaemonWriteAccess"), set()),
        (role(BASIC, Policies=[{"PolicyName": "p", "PolicyDocument": WRITES}]), set()),
        ({**role(BASIC), "More": {"Type": "AWS::IAM::Policy", "Properties": {
            "PolicyDocument": WRITES, "Roles": [{"Ref": "Role"}]}}}, set()),
        (role("AWSXRayDaemonWriteAccess", Policies=[{"PolicyName": "p", "PolicyDocument": {"Statement": [{
            "Effect": "Allow", "Action": "logs:*", "Resource": "arn:aws:logs:us-east-1:111122223333:*"}]}}]), set()),
        (role(BASIC, "MadeByHand"), {"CS118"}),
        (role(BASIC, PermissionsBoundary="arn:aws:iam::aws:policy/X"), {"CS118"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["AWS::Serverless::Function", "AWS::Lambda::Function"])
def test_a_role_of_the_template_is_examined(place, others, expected, kind):
    """What it may not is an error, what is not known a note."""
    assert set(place(others=others, kind=kind, Role=GET_ROLE)) == expected


def test_a_role_from_elsewhere_is_a_note(place):
    """Nobody here knows what it may."""
    found = place(Role="arn:aws:iam::123456789012:role/shop")
    assert set(found) == {"CS118"}
    assert "shop" in found["CS118"]


# --- machines and Pythons -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "layer", "whose"),
    [
        ({"fast.so": ARM}, {}, "the function's package"),
        ({"pkg/_fast.cpython-313-aarch64-linux-gnu.so": ARM}, {}, "the function's package"),
        ({}, {"python/pkg/libx.so.6": ARM}, "layer NumbersLayer"),
        ({}, {"extensions/agent": ARM}, "layer NumbersLayer"),
        ({"pkg/x86_64/a.so": X86, "pkg/arm64/a.so": ARM, "plain.so": X86, "bad.so": b"\x7fEL"}, {}, None),
        ({".venv/lib/a.so": ARM, "env/pyvenv.cfg": "", "env/a.so": ARM, "data/elf": ARM}, {}, None),
    ],
)
def test_what_is_compiled_for_another_machine_is_found(place, own, layer, whose):
    """By its ELF header, in the package and in layers; packages that bring both are fine."""
    found = place(own, {"numbers": layer} if layer else {})
    assert ("CS123" in found) == (whose is not None)
    assert whose is None or found["CS123"].endswith(f"of {whose}")


def test_an_arm_function_wants_arm_files(place):
    """The other way round."""
    assert "compiled for x86_64" in place({"fast.so": X86}, Architectures=["arm64"])["CS123"]
    assert place({"fast.so": ARM}, Architectures=["arm64"]) == {}


def test_a_layer_declared_for_another_architecture_is_found(place):
    """It says so itself."""
    fits = {"numbers": {"CompatibleArchitectures": ["x86_64"]}}
    layers = {"numbers": {"python/numbers_of_ours.py": ""}}
    assert set(place(layers=layers, metadata=fits, Architectures=["arm64"])) == {"CS122"}
    assert place(layers=layers, metadata=fits) == {}


@pytest.mark.parametrize(
    ("files", "fires"),
    [
        (["pkg/_a.cpython-312-x86_64-linux-gnu.so"], True),
        (["pkg/_a.cpython-312-x86_64-linux-gnu.so", "pkg/_a.cpython-313-x86_64-linux-gnu.so"], False),
        (["pkg/_a.cpython-312-x86_64-linux-gnu.so", "pkg/_a.abi3.so"], False),
        (["pkg/_a.cpython-313-x86_64-linux-gnu.so"], False),
    ],
)
def test_modules_for_another_python_only_are_found(place, files, fires):
    """The import fails; a package may bring a file for each Python."""
    assert set(place(dict.fromkeys(files, X86))) == ({"CS124"} if fires else set())


# --- what hides what ----------------------------------------------------------------------------------------------


def test_two_versions_in_package_and_layer_are_found(place):
    """/var/task comes first."""
    layers = {"shared": under("python/", distribution("PyYAML", "5.4", "yaml"))}
    found = place(distribution("PyYAML", "6.0", "yaml"), layers)
    assert set(found) == {"CS310"}
    assert found["CS310"].startswith("PyYAML 6.0 is in the function's package and PyYAML 5.4 in layer SharedLayer")


def test_the_same_version_twice_is_a_note(place):
    """Only weight; and where versions are unknown, nothing worse can be said."""
    six, words = distribution("six", "1.16", "six"), {"python/words.py": ""}
    layers = {"shared": {**under("python/lib/python3.13/site-packages/", six)}}
    assert place({**six, "words.py": ""}, layers).keys() == {"CS311"}
    assert place({**six, "words.py": ""}, {"more": words}).keys() == {"CS311"}


def test_the_site_packages_of_another_python_do_not_count(place):
    """The runtime does not look there."""
    layers = {"shared": under("python/lib/python3.12/site-packages/", distribution("six", "1.15", "six"))}
    assert place(distribution("six", "1.16", "six"), layers) == {}


def test_what_requirements_pin_counts_before_sam_build(place):
    """The package as it will be."""
    layers = {"shared": under("python/", distribution("PyYAML", "5.4", "yaml"))}
    assert set(place({"requirements.txt": "pyyaml==6.0\n"}, layers)) == {"CS310"}
    assert set(place({"requirements.txt": "other==6.0\n"}, layers)) == set()


def test_a_layers_package_hides_a_folder_of_the_function_without_init(place):
    """The one case where the layer wins."""
    layers = {"shared": {"python/helpers/__init__.py": ""}}
    found = place({"helpers/dates.py": ""}, layers)
    assert set(found) == {"CS312"}
    assert "helpers of layer SharedLayer hides the function's own helpers.dates" in found["CS312"]


def test_folders_without_init_on_both_sides_are_merged(place):
    """As google.* are: nothing is hidden."""
    layers = {"shared": {"python/google/protobuf/__init__.py": ""}}
    assert place({"google/auth/__init__.py": ""}, layers) == {}


def test_a_package_of_the_function_hides_parts_of_a_layer(place):
    """The layer's google.protobuf cannot be imported any more."""
    layers = {"shared": {"python/google/protobuf/__init__.py": ""}}
    assert set(place({"google/__init__.py": ""}, layers)) == {"CS313"}


def test_a_layer_over_the_standard_library_is_found(place):
    """Backports of old Pythons."""
    assert set(place(layers={"old": {"python/dataclasses.py": "", "python/typing_extensions.py": ""}})) == {"CS314"}


@pytest.mark.parametrize(
    ("modules", "own", "expected"),
    [
        (("urllib3",), (), "CS315"),
        (("boto3", "s3transfer"), (), "CS315"),
        (("boto3", "botocore", "urllib3"), (), "CS316"),
        (("six", "dateutil"), (), None),
        (("urllib3",), ("botocore",), None),
    ],
)
def test_a_layer_over_the_runtimes_sdk_is_found(place, modules, own, expected):
    """A part of it works with the runtime's botocore, which was not made for it."""
    found = place(dict.fromkeys([f"{name}/__init__.py" for name in own], ""), {
        "sdk": under("python/", *(distribution(name, "1.0", name) for name in modules))})  # fmt: skip
    assert set(found) == ({expected} if expected else set())


def test_two_layers_with_two_versions_are_found(place):
    """The later one's files are there."""
    layers = {
        "one": under("python/", distribution("six", "1.15", "six")),
        "two": under("python/", distribution("six", "1.16", "six")),
    }
    found = place(layers=layers)
    assert found["CS317"].startswith("six 1.16 of layer TwoLayer lies over six 1.15 of layer OneLayer")
    layers["two"] = under("python/lib/python3.13/site-packages/", distribution("six", "1.16", "six"))
    for turned in (layers, dict(reversed(layers.items()))):
        assert place(layers=turned)["CS317"].startswith("six 1.16")


def test_a_module_of_the_functions_called_coldspan_is_found(place):
    """It is imported in the place of the recorder."""
    assert "CS318" in place({"coldspan.py": ""})
    assert "CS318" not in place({"coldspan_notes.py": ""})


def test_with_pythonpath_layers_count_as_far_as_it_names_them(place):
    """The runtime does not put /opt/python on the path then."""
    own, layers = distribution("six", "1.16", "six"), {"shared": under("python/", distribution("six", "1.15", "six"))}

    def found(**variables):
        return "CS310" in place(own, layers, Environment={"Variables": variables})

    assert not found(PYTHONPATH="/var/runtime")
    assert found(PYTHONPATH="/opt/python:/var/runtime")
    assert found(PYTHONPATH="/var/runtime", AWS_LAMBDA_EXEC_WRAPPER="/opt/coldspan")


def test_our_own_layer_as_it_is_built_hides_nothing(place, cache, monkeypatch):
    """Promise 5, as the doctor sees it, with everything beside it that a function may have."""
    from coldspan_console import layers

    monkeypatch.setenv("COLDSPAN_CACHE", str(cache))
    built = layers.ours(layers.RECORDER)
    files = {path.relative_to(built).as_posix(): path.read_bytes() for path in built.rglob("*") if path.is_file()}
    own = {**distribution("boto3", "1.40", "boto3"), "core/__init__.py": "", "hot.py": ""}
    assert place(own, {"built": files}) == {}


# --- what a word may be -------------------------------------------------------------------------------------------


def test_a_zip_is_looked_into_as_a_folder_is(place, tmp_path):
    """Code and layers both."""
    for name, files in (("code.zip", {"app.py": "", "six.py": ""}), ("layer.zip", {**RECORDER, "python/six.py": ""})):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for path, text in files.items():
                archive.writestr(path, text)
    found = place(metadata={"recorder": {"ContentUri": "layer.zip"}}, CodeUri="code.zip")
    assert set(found) == {"CS311"}


def test_a_file_that_is_no_zip_is_a_note(place, tmp_path):
    """Not a traceback."""
    (tmp_path / "broken.zip").write_text("no zip")
    assert set(place(layers={"more": {}}, metadata={"more": {"ContentUri": "broken.zip"}})) == {"CS301"}
    assert set(place(CodeUri="broken.zip")) == {"CS301"}


def test_a_layer_that_is_only_in_an_account_is_told(place):
    """What it hides is not known here; ours hides nothing."""
    arn = "arn:aws:lambda:eu-west-1:123456789012:layer:{}:1"
    assert set(place(Layers=[arn.format("coldspan-recorder")])) == set()
    assert "shared:1" in place(Layers=[arn.format("coldspan-recorder"), arn.format("shared")])["CS301"]


@pytest.mark.parametrize("word", ["F", ".", "template.json", "code"])
def test_a_word_is_a_function_a_template_or_a_folder(place, capsys, word):
    """Each of the three."""
    place({"fast.so": ARM})
    assert cli.main(["doctor", word, "--json"]) == 1
    assert "CS123" in capsys.readouterr().out


def test_what_is_none_of_them_is_told(tmp_path, monkeypatch, capsys):
    """Without a template here there is nothing to choose from."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor", "orders"]) == 3
    assert "--account" in capsys.readouterr().err
