"""Keys that are kept in SSM and Secrets Manager."""

import logging

import boto3
import pytest
from moto import mock_aws

from coldspan_blackbox.exporting.exporter import ConfigurationError
from coldspan_blackbox.exporting.secrets import Secrets

KEY = "k3y-that-nobody-may-see"
ENVIRON = {"AWS_REGION": "eu-west-1"}


@pytest.fixture(autouse=True)
def aws(monkeypatch):
    """AWS, with a parameter and two secrets."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        ssm = boto3.client("ssm", region_name="eu-west-1")
        ssm.put_parameter(Name="/otlp/key", Value=KEY, Type="SecureString")
        kept = boto3.client("secretsmanager", region_name="eu-west-1")
        arn = kept.create_secret(Name="plain", SecretString=KEY)["ARN"]
        kept.create_secret(Name="json", SecretString='{"api-key": "%s", "number": 7}' % KEY)
        kept.create_secret(Name="binary", SecretBinary=KEY.encode())
        yield {"arn": arn, "kept": kept, "ssm": ssm}
        for client in (ssm, kept):
            client.close()


@pytest.fixture
def secrets():
    made = Secrets(ENVIRON)
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
    assert secrets("secretsmanager:plain") == KEY
    aws["kept"].put_secret_value(SecretId="plain", SecretString="another")
    assert secrets("secretsmanager:plain") == KEY


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("ssm:/not/there", "ParameterNotFound"),
        ("secretsmanager:not-there", "ResourceNotFoundException"),
        ("secretsmanager:json#other", "no JSON object with this key"),
        ("secretsmanager:plain#key", "no JSON object with this key"),
        ("ssm:", "ParamValidationError"),
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
