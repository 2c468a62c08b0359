"""The template, by the real AWS SAM CLI: valid, clean under its linter, and buildable without containers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coldspan_console import demo_resources

ROOT = Path(__file__).parents[2]
OWN = ROOT / ".venv-sam" / "bin" / "sam"
SAM = str(OWN) if OWN.exists() else shutil.which("sam")
FUNCTIONS = {
    name: Path(each["Properties"]["CodeUri"])
    for name, each in demo_resources.load()["Resources"].items()
    if each["Type"] == "AWS::Serverless::Function"
}

needs_sam = pytest.mark.skipif(SAM is None, reason="no AWS SAM CLI in .venv-sam or on PATH (make e2e installs it)")


def sam(*arguments):
    """Run sam in the repository with a region, without credentials and without its telemetry."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAM_CLI_TELEMETRY": "0",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]]),
    }
    return subprocess.run(
        [SAM, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=280
    )


def python_of_the_template():
    """Whether the runtime's own Python, with pip, can be found: sam build needs it."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = shutil.which("python3.13", path=folders)
    return bool(found) and not subprocess.run([found, "-m", "pip", "-V"], capture_output=True, check=False).returncode


@needs_sam
def test_template_is_valid_and_clean_under_the_linter():
    """`sam validate --lint` says nothing but that the template is valid."""
    done = sam("validate", "--lint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is a valid SAM Template" in done.stdout
    assert "[W" not in done.stdout + done.stderr


@needs_sam
@pytest.mark.skipif(not python_of_the_template(), reason="no python3.13 with pip on PATH: sam build needs it")
def test_template_builds_without_containers(tmp_path):
    """`sam build` makes the layer as it is mounted, and each function with what it requires."""
    done = sam("build", "--build-dir", str(tmp_path / "build"), "--no-cached")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "build" / "RecorderLayer" / "python" / "coldspan" / "__init__.py").exists()
    assert (tmp_path / "build" / "RecorderLayer" / "python" / "coldspan.pth").exists()
    for name, code in FUNCTIONS.items():
        built = tmp_path / "build" / name
        assert (built / "app.py").read_text() == (ROOT / code / "app.py").read_text()
        # The layer is what brings coldspan: a copy beside the function's code would be found first.
        assert not (built / "coldspan").exists()
    assert (tmp_path / "build" / "OrdersFunction" / "aws_lambda_powertools").is_dir()
