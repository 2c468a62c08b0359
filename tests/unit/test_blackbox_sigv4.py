"""Signatures for AWS's OTLP endpoints, checked where they arrive, by botocore's own way to make them."""

import http.server
import json
import re
import threading

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from coldspan.core.emf import EmfEncoder
from coldspan_blackbox.exporting import otlp, sigv4
from coldspan_blackbox.exporting.exporter import Sent
from coldspan_blackbox.exporting.record import parse
from support.collector import Collector
from support.records import call, invocation, results

ENVIRON = {
    "AWS_LAMBDA_FUNCTION_NAME": "orders",
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "an invented key",
    "AWS_SESSION_TOKEN": "an invented token",
}


def signature_of(request, url, secret):
    """The signature that botocore makes of a request as it arrived, and the one that it carries."""
    told = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/([\w-]+)/(\w+)/aws4_request, "
        r"SignedHeaders=([\w;-]+), Signature=(\w+)",
        request.headers["authorization"],
    )
    key, _, region, service, names, signature = told.groups()
    auth = SigV4Auth(Credentials(key, secret), service, region)
    again = AWSRequest("POST", url, data=request.body)
    for name in names.split(";"):
        again.headers[name] = request.headers[name]
    again.context["timestamp"] = request.headers["x-amz-date"]
    canonical = auth.canonical_request(again)
    return auth.signature(auth.string_to_sign(again, canonical), again), signature, names.split(";"), (service, region)


def sent(collector, service="xray", environ=ENVIRON, **variables):
    """Send one invocation's spans to a collector that stands in for AWS."""
    url = collector.url + "/v1/traces"
    made = otlp.create({**environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url, **variables}, str)
    made._signals[0].transport.sign = sigv4.SigV4(service, "eu-west-1", environ)
    owner = invocation()
    call(owner)
    records = [parse(line) for line in EmfEncoder("coldspan", "orders").invocation_lines(owner, results(owner), {})]
    result = made.export(records, 10.0)
    made.close()
    return result


@pytest.mark.parametrize("service", ["xray", "logs", "monitoring"])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_the_signature_holds_for_what_arrives(service, compression):
    """AWS would answer 403 to everything."""
    with Collector() as collector:
        headers = "x-aws-log-group=/a/b,x-aws-log-stream=c"
        variables = {"OTEL_EXPORTER_OTLP_HEADERS": headers, "OTEL_EXPORTER_OTLP_COMPRESSION": compression}
        result = sent(collector, service, **variables)
        (request,) = collector.requests
    assert result.state is Sent.SENT
    made, carried, names, scope = signature_of(request, collector.url + "/v1/traces", ENVIRON["AWS_SECRET_ACCESS_KEY"])
    assert made == carried
    assert scope == (service, "eu-west-1")
    assert {"host", "x-amz-date", "x-amz-security-token", "x-aws-log-group", "content-type"} <= set(names)
    assert request.headers["x-amz-security-token"] == "an invented token"
    wrong, *_ = signature_of(request, collector.url + "/v1/traces", "another key")
    assert wrong != carried


def test_the_body_is_signed():
    """What is changed on the way would be taken."""
    with Collector() as collector:
        sent(collector)
        (request,) = collector.requests
    request.body += b"x"
    made, carried, *_ = signature_of(request, collector.url + "/v1/traces", ENVIRON["AWS_SECRET_ACCESS_KEY"])
    assert made != carried


def test_credentials_are_read_for_each_request():
    """An environment that lives on would sign with what has expired."""
    environ = dict(ENVIRON)
    signer = sigv4.SigV4("xray", "eu-west-1", environ)
    url = "https://xray.eu-west-1.amazonaws.com/v1/traces"
    first = signer("POST", url, {}, b"")
    environ["AWS_ACCESS_KEY_ID"] = "AKIDANOTHER"
    assert "AKIDEXAMPLE" in first["Authorization"]
    assert "AKIDANOTHER" in signer("POST", url, {}, b"")["Authorization"]


@pytest.fixture
def endpoint():
    """Where an environment under SnapStart asks for its credentials; `.asked` are the tokens it was given."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers["Authorization"])
            body = json.dumps(
                {
                    "AccessKeyId": f"ASIA{len(asked)}",
                    "SecretAccessKey": "x",
                    "Token": "t",
                    "Expiration": "2126-01-01T00:00:00Z",
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.asked = asked
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_under_snapstart_the_credentials_are_those_of_the_environments_endpoint(endpoint):
    """There are no variables with them: nothing could be signed, and no secret read."""
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{endpoint.server_port}/2021-04-23/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a token",
    }
    signer = sigv4.SigV4("xray", "eu-west-1", environ)
    for _ in range(3):
        signed = signer("POST", "https://xray.eu-west-1.amazonaws.com/v1/traces", {}, b"")
        assert "ASIA1/" in signed["Authorization"]
        assert signed["X-Amz-Security-Token"] == "t"
    assert endpoint.asked == ["a token"]


def test_without_credentials_it_is_tried_again_later():
    """The thread would end with a KeyError."""
    with Collector() as collector:
        result = sent(collector, environ={"AWS_LAMBDA_FUNCTION_NAME": "orders"})
        assert collector.requests == []
    assert (result.state, result.reason) == (Sent.RETRY, "unsigned_KeyError")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://xray.eu-west-1.amazonaws.com/v1/traces", ("xray", "eu-west-1")),
        ("https://logs.us-gov-west-1.amazonaws.com/v1/logs", ("logs", "us-gov-west-1")),
        ("https://monitoring.cn-north-1.amazonaws.com.cn/v1/metrics", ("monitoring", "cn-north-1")),
        ("https://xray.eu-west-1.amazonaws.com:443/v1/traces", ("xray", "eu-west-1")),
        ("http://xray.eu-west-1.amazonaws.com/v1/traces", None),
        ("https://xray.eu-west-1.amazonaws.com.example.org/v1/traces", None),
        ("https://s3.eu-west-1.amazonaws.com/v1/traces", None),
        ("https://collector.example.org/xray.eu-west-1.amazonaws.com/", None),
    ],
)
def test_only_awss_own_endpoints_are_signed_for(url, expected):
    """The session token would be sent to somebody else."""
    assert sigv4.endpoint(url) == expected


def test_a_bearer_token_goes_before_a_signature():
    """CloudWatch's API keys could not be used."""
    own = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "https://logs.eu-west-1.amazonaws.com/v1/logs"}
    signed = otlp.create({**ENVIRON, **own}, str)
    bearer = otlp.create({**ENVIRON, **own, "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20x"}, str)
    assert signed._signals[0].transport.sign is not None
    assert bearer._signals[0].transport.sign is None
    signed.close()
    bearer.close()
