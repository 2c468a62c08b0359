"""What is in the layer is enough: the exporters' process with the vendored folder alone."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from support.collector import Collector
from support.exporting import ChildProcess, lines

HOME = Path(__file__).parents[2] / "layer" / "blackbox"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "an invented key"}


@pytest.fixture(scope="module")
def vendored(tmp_path_factory):
    """The folder of the extra otlp, as the build makes it; skipped where its packages cannot be had."""
    spec = importlib.util.spec_from_file_location("blackbox_vendor", HOME / "vendor.py")
    vendor = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vendor)
    into = tmp_path_factory.mktemp("vendor")
    try:
        vendor.vendor(into, ["otlp"], "x86_64", sys.executable)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"pip could not install what requirements/otlp.txt names: {error}")
    return into


@pytest.fixture
def aws(monkeypatch):
    """Where SSM and Secrets Manager are, with a key in each."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    ssm, kept = (boto3.client(name, "eu-west-1", endpoint_url=url) for name in ("ssm", "secretsmanager"))
    ssm.put_parameter(Name="/otlp/key", Value="the first", Type="SecureString", Overwrite=True)
    kept.create_secret(Name="otlp", SecretString='{"key": "the second"}')
    yield url
    ssm.close()
    kept.close()
    server.stop()


def test_the_vendored_folder_can_export(vendored, aws):
    """A module that was trimmed away would be missed in the cloud only; or a key be sent as its reference."""
    with Collector() as collector:
        headers = "api-key=ssm:/otlp/key,x-other=secretsmanager:otlp#key"
        variables = {
            "COLDSPAN_EXPORT": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": collector.url + "/v1/logs",
            "OTEL_EXPORTER_OTLP_HEADERS": headers,
            "AWS_ENDPOINT_URL": aws,
            **CREDENTIALS,
        }
        with ChildProcess(vendor=vendored, **variables) as exporters:
            assert exporters.ready == ("ready", {"exporters": ["otlp"], "refused": {}, "problems": []})
            exporters.tell(*lines(metrics=[("Orders", 2, "Count")]))
            assert exporters.settled() == (3, {})
        assert {request.path for request in collector.requests} == {"/v1/traces", "/v1/metrics", "/v1/logs"}
        assert {request.headers["api-key"] for request in collector.requests} == {"the first"}
        assert {request.headers["x-other"] for request in collector.requests} == {"the second"}


def test_the_vendored_folder_can_sign(vendored):
    """X-Ray's endpoint could not be used from the layer."""
    endpoint = "https://xray.eu-west-1.amazonaws.com/v1/traces"
    variables = {"COLDSPAN_EXPORT": "otlp", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint, **CREDENTIALS}
    with ChildProcess(vendor=vendored, **variables) as exporters:
        assert exporters.ready[0] == "ready"


def test_a_key_that_cannot_be_read_is_a_refusal_that_names_it(vendored):
    """Everything would be refused by the destination, and nobody know why."""
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=ssm:/otlp/key", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    with ChildProcess(vendor=vendored, COLDSPAN_EXPORT="otlp", **headers, **CREDENTIALS) as exporters:
        kind, told = exporters.ready
        assert (kind, told["reason"]) == ("refused", "configuration")
        assert re.match(r"ssm:/otlp/key could not be read \(MaxRetryError\): allow", told["exporters"]["otlp"])
