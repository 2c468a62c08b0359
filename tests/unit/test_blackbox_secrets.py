"""Keys that are kept in SSM and Secrets Manager."""

import logging

import boto3
import pytest
from moto.server import ThreadedMotoServer

from coldspan_blackbox.exporting.exporter import ConfigurationError
from coldspan_blackbox.exporting.secrets import Secrets

KEY = "k3y-that-nobody-may-see"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-west-1"}


@pytest.fixture(scope="module")
def aws():
    """AWS, with a parameter and three secrets."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    named = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "endpoint_url": url}
    ssm = boto3.client("ssm", "eu-west-1", **named)
    ssm.put_parameter(Name="/otlp/key", Value=KEY, Type="SecureString", Overwrite=True)
    kept = boto3.client("secretsmanager", "eu-west-1", **named)
    arn = kept.create_secret(Name="plain", SecretString=KEY)["ARN"]
    kept.create_secret(Name="json", SecretString='{"api-key": "%s", "number": 7}' % KEY)
    kept.create_secret(Name="binary", SecretBinary=KEY.encode())
    yield {"arn": arn, "kept": kept, "environ": {**CREDENTIALS, "AWS_ENDPOINT_URL": url}}
    for client in (ssm, kept):
        client.close()
    server.stop()


@pytest.fixture
def secrets(aws):
    made = Secrets(aws["environ"])
    yield made
    made.close()


@pytest.mark.parametrize(
    "reference",
    [
        "ssm:/otlp/key",
        " ssm:/otlp/key ",
        "secretsmanager:plain",
        "secretsmanager:json#api-key",
        "secretsmanager:binary",
    ],
)
def test_a_reference_is_what_it_refers_to(secrets, reference):
    """The reference itself would be sent as the key."""
    assert secrets(reference) == KEY


def test_a_secret_may_be_named_by_its_arn(secrets, aws):
    """Another account's secret could not be named."""
    assert secrets("secretsmanager:" + aws["arn"]) == KEY


def test_a_word_may_stand_before_it(secrets):
    """`Bearer ssm:...` was sent as it stands."""
    assert secrets("Bearer ssm:/otlp/key") == f"Bearer {KEY}"


def test_a_secret_of_another_region_is_asked_for_there(aws):
    """Its ARN says where; the function's own region has none of that name."""
    named = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    there = boto3.client("secretsmanager", "us-west-2", endpoint_url=aws["environ"]["AWS_ENDPOINT_URL"], **named)
    arn = there.create_secret(Name="elsewhere", SecretString=KEY)["ARN"]
    there.close()
    made = Secrets(aws["environ"])
    assert made(f"secretsmanager:{arn}") == KEY
    with pytest.raises(ConfigurationError, match="secretsmanager:elsewhere"):
        made("secretsmanager:elsewhere")
    made.close()


def test_what_is_no_reference_stands_for_itself(secrets):
    """A plain key would be looked for in AWS."""
    assert [secrets(text) for text in ("", " a key ", "https://ssm:443/", "number=7")] == [
        "",
        " a key ",
        "https://ssm:443/",
        "number=7",
    ]


def test_a_member_that_is_no_text_is_json(secrets):
    """A number could not be a header's value."""
    assert secrets("secretsmanager:json#number") == "7"


def test_each_is_read_once(secrets, aws):
    """Each exporter and each signal would ask again, during init."""
    aws["kept"].create_secret(Name="changing", SecretString=KEY)
    assert secrets("secretsmanager:changing") == KEY
    aws["kept"].put_secret_value(SecretId="changing", SecretString="another")
    assert secrets("secretsmanager:changing") == KEY


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("ssm:/not/there", "ParameterNotFound"),
        ("secretsmanager:not-there", "ResourceNotFoundException"),
        ("secretsmanager:json#other", "no JSON object with this key"),
        ("secretsmanager:plain#key", "no JSON object with this key"),
        ("ssm:", "ValidationException|ParameterNotFound"),
    ],
)
def test_what_cannot_be_read_is_named_and_nothing_else_told(secrets, caplog, reference, text):
    """Nobody would know what to grant; or a log would show the key."""
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigurationError, match=text) as raised:
        secrets(reference)
    assert str(raised.value).startswith(reference)
    assert KEY not in str(raised.value)
    assert raised.value.__cause__ is None


def test_nothing_of_ours_logs_a_value(secrets, caplog):
    """A key would stand in CloudWatch."""
    secrets("ssm:/otlp/key")
    assert not [record for record in caplog.records if record.name.startswith("coldspan")]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "MaxRetryError"),
        ({"AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:1"}, "MaxRetryError"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "KeyError"),
        ({"AWS_REGION": None}, "KeyError"),
    ],
)
def test_a_service_that_cannot_be_asked_is_said(aws, changes, text):
    """The start would end with an error of a library's, or hang."""
    environ = {name: value for name, value in {**aws["environ"], **changes}.items() if value is not None}
    secrets = Secrets(environ)
    with pytest.raises(ConfigurationError, match=text):
        secrets("ssm:/otlp/key")
    secrets.close()


def test_where_the_services_are():
    """A function in China, or with an endpoint of its own, could read nothing."""
    assert Secrets({})._url("ssm", "eu-west-1") == "https://ssm.eu-west-1.amazonaws.com/"
    assert Secrets({})._url("secretsmanager", "cn-north-1") == "https://secretsmanager.cn-north-1.amazonaws.com.cn/"
    own = {"AWS_ENDPOINT_URL_SECRETS_MANAGER": "https://vpce-1.example/", "AWS_ENDPOINT_URL": "http://localhost:1"}
    assert Secrets(own)._url("secretsmanager", "eu-west-1") == "https://vpce-1.example/"
    assert Secrets(own)._url("ssm", "eu-west-1") == "http://localhost:1/"
