"""The doctor in an account: moto's server, with a front for what moto does not keep; each docstring says which."""

import json
import re
import urllib.request
from pathlib import Path

import boto3
import pytest

from coldspan_console import cli
from coldspan_console.demo import Moto
from coldspan_console.doctor import sampling
from support.account import CREDENTIALS, RECORDER_ZIP, REGION, TestAccount, zip_of
from support.front import Front

PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
TRACES = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
LOGS = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
GROUP = f"arn:aws:logs:{REGION}:123456789012:log-group:/aws/lambda/orders"
RULES = {"SamplingRuleRecords": [{"SamplingRule": {
    "RuleName": "Default", "Priority": 10000, "FixedRate": 0.05, "ReservoirSize": 1, "ServiceName": "*",
    "ServiceType": "*", "Host": "*", "HTTPMethod": "*", "URLPath": "*", "ResourceARN": "*", "Version": 1}}]}  # fmt: skip


def policy(*actions, effect="Allow", resource="*"):
    """A policy's document."""
    return {"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": list(actions), "Resource": resource}]}


@pytest.fixture(scope="module")
def front():
    """Moto's server behind a front, for all tests of this file."""
    with Moto() as server, Front(server.url) as made:
        yield made


@pytest.fixture
def account(front, monkeypatch):
    """An account with a role that may all that is needed, and a shell that is logged in to it."""
    front.clear()
    urllib.request.urlopen(urllib.request.Request(front.url + "/moto-api/reset", method="POST"), timeout=20).close()
    for name, value in {
        "AWS_ENDPOINT_URL": front.url, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    made = TestAccount(front)
    made.iam = boto3.client("iam", region_name=REGION, endpoint_url=front.url, **CREDENTIALS)
    may(made, policy(*TRACES, *LOGS))
    front.give("POST /GetSamplingRules", 200, json.dumps(RULES).encode())
    return made


def may(account, document, name="records"):
    """Give the role a policy of its own, in the place of one of the name."""
    account.iam.put_role_policy(RoleName="fn", PolicyName=name, PolicyDocument=json.dumps(document))


def good(account, **options):
    """A function that records; its layer is ours."""
    return account.function(**{"Layers": [account.layer()], "TracingConfig": {"Mode": "Active"}, **options})


def examine(capsys, *words):
    """(exit code, {id: finding}, the document, stderr)."""
    code = cli.main(["doctor", *words, "--json"])
    said = capsys.readouterr()
    found = json.loads(said.out) if said.out else {"findings": []}
    return code, {each["id"]: each for each in found["findings"]}, found, said.err


def configured(front, **members):
    """Let every configuration have these members, which moto does not keep."""

    def change(answer):
        (answer.get("Configuration") or answer).update(members)
        return answer

    front.change(r"GET /2015-03-31/functions/orders(/configuration)?$", change)


def test_a_good_function_has_nothing_but_the_note_of_x_rays_own_rate(account, capsys):
    """A false alarm is worse than none."""
    good(account)
    code, found, document, _ = examine(capsys, "orders", "--account")
    assert (code, set(found), document["failed"]) == (0, {"CS111"}, [])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"Layers": []}, "CS101"),
        ({"Environment": {"Variables": {"PYTHONPATH": "/opt/lib"}}}, "CS102"),
        ({"Environment": {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument"}}}, "CS103"),
        ({"Handler": "coldspan.handler"}, "CS104"),
        ({"Environment": {"Variables": {"COLDSPAN_DETIAL": "1"}}}, "CS105"),
        ({"TracingConfig": {"Mode": "PassThrough"}}, "CS110"),
        ({"Handler": "datadog_lambda.handler.handler"}, "CS114"),
        ({"Runtime": "nodejs22.x"}, "CS100"),
    ],
)
def test_what_a_template_would_show_is_found_in_the_account_too(account, capsys, options, expected):
    """By the same rules, from the function's configuration."""
    good(account, **options)
    code, found, _, _ = examine(capsys, "orders", "--account")
    severity = re.search(rf"\| {expected} \| (\w+) ", PAGE).group(1)
    assert (expected in found, code) == (True, int(severity == "error"))


def test_a_layer_for_another_architecture_is_found(account, capsys):
    """It is attached without complaint, and cannot be loaded."""
    other = account.layer("numbers", zip_of({"python/n.py": ""}), CompatibleArchitectures=["x86_64"])
    both = account.layer("words", zip_of({"python/w.py": ""}), CompatibleArchitectures=["x86_64", "arm64"])
    good(account, Layers=[account.layer(), other, both], Architectures=["arm64"])
    _, found, _, _ = examine(capsys, "orders", "--account")
    assert "layer numbers:1 is for x86_64; the function is arm64" in found["CS122"]["what"]


def test_a_layer_of_another_vendor_is_told(account, capsys):
    """Both may trace."""
    good(account, Layers=[account.layer(), account.layer("Datadog-Python313", zip_of({"python/d.py": ""}))])
    assert "Datadog" in examine(capsys, "orders", "--account")[1]["CS115"]["what"]


@pytest.mark.parametrize(("kind", "fires"), [("INFREQUENT_ACCESS", True), ("DELIVERY", True), ("STANDARD", False)])
def test_a_log_group_whose_class_has_no_metrics_is_found(account, front, capsys, kind, fires):
    """Moto keeps no class: the front puts it in."""
    good(account)
    logs = boto3.client("logs", region_name=REGION, endpoint_url=front.url, **CREDENTIALS)
    for name in ("/aws/lambda/orders", "/aws/lambda/orders-other"):
        logs.create_log_group(logGroupName=name)

    def change(answer):
        for group in answer["logGroups"]:
            other = {"INFREQUENT_ACCESS": "STANDARD"}.get(kind, "INFREQUENT_ACCESS")
            group["logGroupClass"] = kind if group["logGroupName"] == "/aws/lambda/orders" else other
        return answer

    front.change("DescribeLogGroups", change)
    code, found, _, _ = examine(capsys, "orders", "--account")
    assert ("CS116" in found, code) == (fires, int(fires))


def test_a_log_group_by_another_name_is_the_one_that_is_looked_at(account, front, capsys):
    """LoggingConfig names it; moto keeps none."""
    good(account)
    configured(front, LoggingConfig={"LogGroup": "/shop", "LogFormat": "Text"})
    logs = boto3.client("logs", region_name=REGION, endpoint_url=front.url, **CREDENTIALS)
    logs.create_log_group(logGroupName="/shop")

    def change(answer):
        for group in answer["logGroups"]:
            group["logGroupClass"] = "INFREQUENT_ACCESS"
        return answer

    front.change("DescribeLogGroups", change)
    assert "/shop" in examine(capsys, "orders", "--account")[1]["CS116"]["what"]


def test_log_levels_that_leave_something_out_are_found(account, front, capsys):
    """Moto keeps no LoggingConfig; the recorder's own lines carry their level, Powertools' do not."""
    powertools = zip_of({"python/aws_lambda_powertools/__init__.py": ""})
    files(front, account, layers={"powertools": powertools})
    configured(front, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "ERROR", "SystemLogLevel": "WARN"})
    _, found, _, _ = examine(capsys, "orders", "--account", "--contents")
    assert {"CS112", "CS113"} <= set(found)
    assert "aws-lambda-powertools" in found["CS112"]["what"]
    front.changes.pop()
    configured(front, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"})
    assert not {"CS112", "CS113"} & set(examine(capsys, "orders", "--account", "--contents")[1])


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (policy(*LOGS), {"CS117"}),
        (policy("xray:Put*"), {"CS119"}),
        (policy("xray:*", "logs:*", resource=f"{GROUP}:*"), {"CS117"}),
        (policy("logs:Put*", "logs:Create*", resource=f"{GROUP}:log-stream:*"), {"CS117"}),
        (policy("logs:*", resource=GROUP.replace("orders", "payments") + ":*"), {"CS117", "CS119"}),
        (policy("logs:*", resource="arn:aws:logs:*:*:*"), {"CS117"}),
        (policy("*"), set()),
        (policy("XRAY:puttrace*", "xray:PutTelemetryRecords", "logs:*"), set()),
        (policy("xray:*", "logs:*", effect="Deny"), {"CS117", "CS119"}),
        ({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}}, set()),
        ({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "NotAction": "xray:*", "Resource": "*"}}, {"CS117"}),
    ],
)  # fmt: skip
def test_what_the_role_may_not_is_found(account, capsys, document, expected):
    """By its inline policies."""
    may(account, document)
    good(account)
    code, found, _, _ = examine(capsys, "orders", "--account")
    assert (set(found) & {"CS117", "CS119"}, code) == (expected, int(bool(expected)))


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        *[({"Resource": form}, {"CS119"}) for form in (GROUP, f"{GROUP}:*", f"{GROUP}:log-stream:*", f"{GROUP}*")],
        ({"Resource": GROUP.replace("orders", "payments") + ":*"}, set()),
        ({"Resource": f"{GROUP}:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}, set()),
        ({"NotResource": f"{GROUP}:*"}, set()),
        ({"NotResource": GROUP.replace("orders", "payments") + ":*"}, {"CS119"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", ["role", "boundary"])
def test_a_refusal_of_any_form_of_the_log_groups_name_counts(account, capsys, refusal, expected, side):
    """Another form was allowed, and so nothing was said; a refusal with a condition is not judged."""
    refused = {"Effect": "Deny", "Action": "logs:*", **refusal}
    document = {"Version": "2012-10-17", "Statement": [*statements(policy("*")), refused]}
    may(account, document if side == "role" else policy("*"))
    if side == "boundary":
        bound = account.iam.create_policy(PolicyName="b", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
        account.iam.put_role_permissions_boundary(RoleName="fn", PermissionsBoundary=bound)
    good(account)
    assert set(examine(capsys, "orders", "--account")[1]) & {"CS117", "CS119"} == expected


def statements(document):
    """Of a policy, as a list."""
    found = document["Statement"]
    return found if isinstance(found, list) else [found]


def test_attached_policies_and_a_boundary_count(account, capsys):
    """Allowed by one, and then not by the boundary; a second version of the policy is the one that holds."""
    may(account, policy("s3:GetObject"))
    made = account.iam.create_policy(PolicyName="p", PolicyDocument=json.dumps(policy("s3:*")))["Policy"]["Arn"]
    account.iam.create_policy_version(
        PolicyArn=made, PolicyDocument=json.dumps(policy(*TRACES, *LOGS)), SetAsDefault=True
    )
    account.iam.attach_role_policy(RoleName="fn", PolicyArn=made)
    good(account)
    assert not {"CS117", "CS119"} & set(examine(capsys, "orders", "--account")[1])
    bound = account.iam.create_policy(PolicyName="b", PolicyDocument=json.dumps(policy("logs:*")))["Policy"]["Arn"]
    account.iam.put_role_permissions_boundary(RoleName="fn", PermissionsBoundary=bound)
    assert {"CS117", "CS119"} & set(examine(capsys, "orders", "--account")[1]) == {"CS117"}


def test_without_tracing_no_permission_for_it_is_asked_for(account, capsys):
    """Nor with COLDSPAN_XRAY=off."""
    may(account, policy(*LOGS))
    good(account, TracingConfig={"Mode": "PassThrough"})
    assert "CS117" not in examine(capsys, "orders", "--account")[1]
    account.lambda_.update_function_configuration(
        FunctionName="orders", TracingConfig={"Mode": "Active"}, Environment={"Variables": {"COLDSPAN_XRAY": "off"}}
    )
    assert "CS117" not in examine(capsys, "orders", "--account")[1]


def rule(**members):
    """The rules of an account: the default one and this."""
    first = {**RULES["SamplingRuleRecords"][0]["SamplingRule"], "RuleName": "mine", "Priority": 10, **members}
    return {"SamplingRuleRecords": [*RULES["SamplingRuleRecords"], {"SamplingRule": first}]}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"FixedRate": 0.5, "ServiceName": "ord*"}, "CS303"),
        ({"FixedRate": 0.0, "ReservoirSize": 0, "ServiceType": "AWS::Lambda::Function"}, "CS304"),
        ({"FixedRate": 0.0, "ReservoirSize": 0, "ServiceName": "payments"}, None),
        ({"FixedRate": 0.0, "ReservoirSize": 0, "URLPath": "/health"}, None),
        ({"FixedRate": 0.0, "ReservoirSize": 0, "ServiceType": "AWS::ApiGateway::Stage"}, None),
        ({}, None),
    ],
)
def test_the_sampling_rule_that_a_request_meets_is_told(account, front, capsys, members, expected):
    """Moto has no rules: the front gives them."""
    good(account)
    front.answers.clear()
    front.give("POST /GetSamplingRules", 200, json.dumps(rule(**members)).encode())
    _, found, _, _ = examine(capsys, "orders", "--account")
    assert set(found) & {"CS303", "CS304"} == ({expected} if expected else set())


def test_of_two_rules_the_lower_priority_decides():
    """The order of the answer does not matter."""
    rules = [{"RuleName": "b", "Priority": 20}, {"RuleName": "a", "Priority": 3}, {"RuleName": "c"}]
    assert sampling.first(rules, {"ServiceName": "orders"})["RuleName"] == "a"
    assert sampling.first([], {"ServiceName": "orders"}) is None


@pytest.mark.parametrize(
    "members",
    [
        {"State": "Failed", "StateReason": "no such key"},
        {"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "no such key"},
    ],
)
def test_a_function_that_cannot_run_at_all_is_found(account, front, capsys, members):
    """Moto knows no such state."""
    good(account)
    configured(front, **members)
    code, found, _, _ = examine(capsys, "orders", "--account")
    assert (code, "no such key" in found["CS302"]["what"]) == (1, True)


@pytest.mark.parametrize(
    ("action", "pattern"),
    [
        ("logs:DescribeLogGroups", None),
        ("iam:ListAttachedRolePolicies", None),
        ("iam:ListRolePolicies", None),
        ("iam:GetRole", None),
        ("xray:GetSamplingRules", None),
        ("lambda:GetLayerVersion", r"GET /2018-10-31/layers/"),
        ("lambda:GetFunction", r"GET /2015-03-31/functions/orders$"),
    ],
)
def test_what_may_not_be_asked_is_a_note_with_the_permission(account, front, capsys, action, pattern):
    """Everything else is examined all the same."""
    good(account)
    front.answers.clear()
    front.deny(action, pattern)
    front.give("POST /GetSamplingRules", 200, json.dumps(RULES).encode())
    code, found, document, _ = examine(capsys, "orders", "--account")
    assert (code, document["failed"]) == (0, [])
    assert found["CS301"]["severity"] == "note"
    assert action in found["CS301"]["todo"]
    assert "CS111" in found


def test_a_service_that_is_not_there_is_a_note(account, front, capsys):
    """Moto itself has no sampling rules, and answers with a page of HTML."""
    good(account)
    front.answers.clear()
    code, found, _, _ = examine(capsys, "orders", "--account")
    assert (code, set(found)) == (0, {"CS111", "CS301"})


def test_variables_that_cannot_be_decrypted_are_a_note(account, front, capsys):
    """A key of somebody else's; moto encrypts nothing."""
    good(account)
    configured(front, Environment={"Error": {"ErrorCode": "AccessDenied", "Message": "kms says no"}})
    code, found, _, _ = examine(capsys, "orders", "--account")
    assert (code, "kms says no" in found["CS301"]["what"]) == (0, True)


def files(front, account, layers, code=None):
    """A function whose code and layers can be fetched: moto gives no address that answers, so the front does."""
    arns = [account.layer()]
    front.files["/coldspan-recorder"] = RECORDER_ZIP
    for name, content in layers.items():
        arns.append(account.layer(name, content))
        front.files[f"/{name}"] = content
    front.files["/orders"] = code or zip_of({"app.py": "def handler(event, context): return 1"})

    def layer(answer):
        answer["Content"]["Location"] = f"{front.url}/{answer['LayerVersionArn'].split(':')[6]}"
        return answer

    def function(answer):
        answer["Code"] = {"Location": f"{front.url}/orders"}
        return answer

    front.change("GET /2018-10-31/layers/", layer)
    front.change(r"GET /2015-03-31/functions/orders$", function)
    good(account, Layers=arns)


def test_what_layers_hide_is_found_only_where_it_is_asked_for(account, front, capsys):
    """It costs traffic."""
    shared = zip_of({"python/six.py": "", "python/six-1.16.0.dist-info/METADATA": "Name: six\nVersion: 1.16.0\n"})
    own = zip_of({"app.py": "", "six.py": "", "six-1.17.0.dist-info/METADATA": "Name: six\nVersion: 1.17.0\n"})
    files(front, account, {"shared": shared}, own)
    assert "CS310" not in examine(capsys, "orders", "--account")[1]
    assert not set(front.asked) & set(front.files)
    _, found, _, _ = examine(capsys, "orders", "--account", "--contents")
    assert set(found) == {"CS111", "CS310"}
    assert "six 1.17.0 is in the function's package and six 1.16.0 in layer shared:1" in found["CS310"]["what"]


def test_a_deployed_package_is_what_it_is_whatever_its_requirements_say(account, front, capsys):
    """`sam build` leaves requirements.txt in it, and the layer may be where they are."""
    shared = zip_of({"python/six.py": "", "python/six-1.16.0.dist-info/METADATA": "Name: six\nVersion: 1.16.0\n"})
    files(front, account, {"shared": shared}, zip_of({"app.py": "", "requirements.txt": "six==1.17.0"}))
    assert set(examine(capsys, "orders", "--account", "--contents")[1]) == {"CS111"}


def test_a_compiled_file_for_another_machine_is_found_in_what_is_deployed(account, front, capsys):
    """By its ELF header, in the zip."""
    arm = b"\x7fELF\x02\x01\x01" + bytes(11) + (0xB7).to_bytes(2, "little") + bytes(44)
    files(front, account, {"numbers": zip_of({"python/n.so": arm})})
    code, found, _, _ = examine(capsys, "orders", "--account", "--contents")
    assert (code, "of layer numbers:1" in found["CS123"]["what"]) == (1, True)


def test_a_recorder_by_another_name_is_known_by_its_content(account, front, capsys):
    """Somebody has put it into a layer of theirs."""
    files(front, account, {"ours": RECORDER_ZIP})
    account.lambda_.update_function_configuration(FunctionName="orders", Layers=account.layers()[1:])
    assert "CS101" in examine(capsys, "orders", "--account")[1]
    assert "CS101" not in examine(capsys, "orders", "--account", "--contents")[1]


def test_content_that_cannot_be_fetched_is_a_note(account, capsys):
    """Moto's own addresses are none."""
    good(account)
    code, found, _, _ = examine(capsys, "orders", "--account", "--contents")
    assert (code, "CS301" in found) == (0, True)


def test_all_python_functions_of_a_pattern_are_examined_and_the_others_are_not(account, front, capsys):
    """Roles and layers that they have in common are asked for once."""
    layer = account.layer()
    for name in ("shop-a", "shop-b", "else"):
        account.function(name, Layers=[layer], Environment={"Variables": {"PYTHONPATH": "/x"}})
    account.function("shop-node", Runtime="nodejs22.x")
    front.asked.clear()
    code, _, document, _ = examine(capsys, "--pattern", "shop-*")
    assert (code, {each["where"] for each in document["findings"]}) == (1, {"shop-a", "shop-b"})
    assert front.asked.count("ListAttachedRolePolicies") == 1
    assert sum(name.startswith("GET /2018-10-31/layers/") for name in front.asked) == 1


def test_the_picture_tells_once_what_functions_have_in_common(account, capsys):
    """And that it has not looked into packages."""
    for name in ("a", "b"):
        account.function(name, Layers=[account.layer()], Environment={"Variables": {"PYTHONPATH": "/x"}})
    assert cli.main(["doctor", "--account"]) == 1
    said = capsys.readouterr()
    assert said.out.count("error CS102  a, b: ") == 1
    assert "--contents" in said.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nobody", "--account"], 3),
        (["orders", "--account", "--run"], 2),
        (["orders", "--account", "--template", "template.yaml"], 2),
        (["orders", "--profile", "nobody"], 3),
    ],
)
def test_bad_input_is_told(account, capsys, words, code):
    """What, where, what to do."""
    good(account)
    assert cli.main(["doctor", *words]) == code
    assert "error: " in capsys.readouterr().err


def test_a_function_that_may_not_be_read_at_all_is_told(account, front, capsys):
    """Both operations are refused; the permission is named."""
    good(account)
    front.deny("lambda:GetFunction", r"GET /2015-03-31/functions/orders")
    assert cli.main(["doctor", "orders", "--account"]) == 4
    assert "lambda:GetFunction" in capsys.readouterr().err
