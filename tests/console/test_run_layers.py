"""Layers that a template names by their ARN, in `coldspan run`.

The account is moto's server behind a front, because moto gives no address from which a layer can be fetched; the
package index is a folder with the wheels that a test makes.
"""

import json
import urllib.request
import zipfile

import pytest

from coldspan_console import cli
from coldspan_console.demo import Moto
from coldspan_console.running import interpreter
from support.account import REGION, TestAccount, zip_of
from support.front import Front

TEMPLATE = """\
Resources:
  Function:
    Type: AWS::Serverless::Function
    Properties: {{CodeUri: ., Handler: app.handler, Runtime: python{version}, Layers: ["{arn}"]}}
"""
PUBLISHED = "arn:aws:lambda:eu-west-1:017000801446:layer:AWSLambdaPowertoolsPythonV3-python313-x86_64:7"
EXTENSIONS = "import os\ndef handler(e, c): return os.listdir('/opt/extensions')\n"
NAMES = "import importlib.metadata as m\ndef handler(e, c): return m.version('aws-lambda-powertools')\n"


def run(capsys, *words):
    """Run it with --json: (exit code, the document, stderr)."""
    code = cli.main(["run", *words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


@pytest.fixture
def declare(place, tmp_path, monkeypatch):
    """Write the template of a function with one layer, and give it a cache of its own."""
    monkeypatch.setenv("COLDSPAN_CACHE", str(tmp_path / "own-cache"))

    def write(arn, app="import shared\ndef handler(e, c): return shared.NAME\n"):
        (place / "template.yaml").write_text(TEMPLATE.format(version=interpreter.own_version(), arn=arn))
        (place / "app.py").write_text(app)

    return write


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index with two versions of Powertools."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version in ("2.43.1", "3.99.0"):
        stem = f"aws_lambda_powertools-{version}"
        with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("aws_lambda_powertools/__init__.py", "")
            wheel.writestr(
                f"{stem}.dist-info/METADATA",
                f"Metadata-Version: 2.1\nName: aws-lambda-powertools\nVersion: {version}\nProvides-Extra: all\n",
            )
            wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{stem}.dist-info/RECORD", "")
    for name, value in {"PIP_NO_INDEX": "1", "UV_NO_INDEX": "1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(name, str(folder))
    return folder


@pytest.fixture(scope="module")
def front():
    """Moto's server behind a front."""
    with Moto() as server, Front(server.url) as made:
        yield made


@pytest.fixture
def account(front, monkeypatch, place):
    """A shell that is logged in to an empty account."""
    front.clear()
    urllib.request.urlopen(urllib.request.Request(front.url + "/moto-api/reset", method="POST"), timeout=20).close()
    for name, value in {
        "AWS_ENDPOINT_URL": front.url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    return TestAccount(front)


def test_a_layer_of_the_account_is_brought_once(capsys, account, front, declare):
    """As `sam local` does; without it the function could not be run here."""
    content = zip_of({"python/shared.py": "NAME = 'from the account'\n"})
    arn = account.layer("shared", content)
    front.files["/shared"] = content

    def located(answer):
        answer["Content"]["Location"] = f"{front.url}/shared"
        return answer

    front.change("GET /2018-10-31/layers/", located)
    declare(arn)
    code, found, said = run(capsys, "--aws", "account", "--region", REGION)
    assert (code, found["invocations"][0]["answer"], said) == (0, "from the account", "")
    front.clear()  # nothing is to be had there any more
    for words in (["--aws", "account", "--region", REGION], ["--aws", "none"]):
        assert run(capsys, *words)[1]["invocations"][0]["answer"] == "from the account"


def test_the_region_is_the_shells_and_that_of_a_layer_its_own(capsys, account, front, declare, monkeypatch):
    """A function would be run in a region where nobody has its tables."""
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    content = zip_of({"python/shared.py": "import os\nNAME = os.environ['AWS_REGION']\n"})
    front.files["/shared"] = content
    front.change("GET /2018-10-31/layers/", lambda answer: {**answer, "Content": {"Location": f"{front.url}/shared"}})
    declare(account.layer("shared", content))
    _, found, _ = run(capsys, "--aws", "account")
    assert found["invocations"][0]["answer"] == "us-west-2"
    _, found, _ = run(capsys, "--aws", "account", "--region", REGION)
    assert found["invocations"][0]["answer"] == REGION


def test_a_layer_that_the_account_does_not_have_is_an_error(capsys, account, declare):
    """The function would fail later, and for another reason."""
    declare(f"arn:aws:lambda:{REGION}:123456789012:layer:gone:3")
    assert cli.main(["run", "--aws", "account", "--region", REGION]) == 3
    said = capsys.readouterr().err
    assert "no such layer version" in said
    assert "layer:gone:3" in said


def test_without_the_account_it_is_said_what_would_bring_it(capsys, declare):
    """And what the function then lacks."""
    declare("arn:aws:lambda:eu-west-1:210987654321:layer:company-base:7")
    _, found, said = run(capsys)
    assert found["invocations"][0]["error_type"] == "Runtime.ImportModuleError"
    assert "company-base:7 is not on this machine, and is left out (--aws account brings it)" in said
    assert "shared is neither in the code nor in a layer that is here" in said
    assert "requirements.txt (there is none yet)" in said


@pytest.mark.parametrize(
    ("arn", "version"), [(PUBLISHED, "3.99.0"), (PUBLISHED.replace("V3-python313-x86_64", "V2-Arm64"), "2.43.1")]
)
def test_a_published_layer_is_what_the_package_index_has_in_its_place(capsys, declare, index, arn, version):
    """Most functions with Powertools have it as a layer, and could not be run without an account."""
    declare(arn, NAMES)
    for _ in range(2):
        _, found, said = run(capsys)
        assert found["invocations"][0]["answer"] == version
        assert f"aws-lambda-powertools {version} of the package index stands for layer AWSLambdaPowertools" in said


def test_where_nothing_may_be_installed_or_nothing_is_there_it_is_left_out(capsys, declare, index, monkeypatch):
    """A function that does not need it runs all the same."""
    declare(PUBLISHED, "def handler(e, c): return 1\n")
    _, found, said = run(capsys, "--no-install")
    assert (found["invocations"][0]["answer"], "left out (--no-install)" in said) == (1, True)
    for wheel in index.iterdir():
        wheel.unlink()
    for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    for name in ("UV_NO_INDEX", "PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    _, found, said = run(capsys)
    assert found["invocations"][0]["answer"] == 1
    assert "could not be installed" in said


def test_our_own_layers_are_the_ones_of_this_checkout(capsys, declare):
    """A template that is deployed with the published ARN would be run without them."""
    declare("arn:aws:lambda:eu-west-1:123456789012:layer:coldspan-blackbox:4", EXTENSIONS)
    _, found, said = run(capsys)
    assert (found["invocations"][0]["answer"], said) == (["coldspan-blackbox"], "")
    declare("arn:aws:lambda:eu-west-1:123456789012:layer:coldspan-recorder:4", "def handler(e, c): return 1\n")
    _, found, said = run(capsys)
    assert (found["invocations"][0]["record"]["outcome"], said) == ("ok", "")


def test_a_layer_of_the_template_whose_content_is_missing_is_named_with_its_place(capsys, declare, place):
    """It would be looked for in an account."""
    declare("Shared", "def handler(e, c): return 1\n")
    with (place / "template.yaml").open("a") as template:
        template.write("  Shared: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: package/.}}\n")
    _, _, said = run(capsys)
    assert f"layer Shared is left out: its content is missing: {place}/package" in said
    cli.main(["doctor", "--json"])
    assert f"its content is missing: {place}/package" in capsys.readouterr().out
