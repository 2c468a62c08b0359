"""docs/sam.md: from `sam init` to a report, word for word, with the real `sam init`."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAM = ROOT / ".venv-sam" / "bin" / "sam"
COLDSPAN = Path(sys.executable).with_name("coldspan")

pytestmark = pytest.mark.skipif(not SAM.exists(), reason="no AWS SAM CLI in .venv-sam (make e2e installs it)")


def test_three_commands_lead_from_sam_init_to_a_report(tmp_path):
    """What a new user types; `sam init` takes the template that SAM brings where it cannot fetch a newer one."""
    runtime = "python%d.%d" % sys.version_info[:2]  # of whoever follows the page
    block = re.search(r"```console\n(.+?)```", (ROOT / "docs" / "sam.md").read_text(), re.DOTALL)[1]
    lines = [
        line.removeprefix("$ ").removesuffix(" --open").replace("python3.13", runtime)
        for line in block.strip().splitlines()
    ]
    assert [shlex.split(line)[0] for line in lines] == ["sam", "cd", "coldspan", "coldspan"]
    folders = os.pathsep.join([str(SAM.parent), str(COLDSPAN.parent), os.environ["PATH"]])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COLDSPAN_"))}
    environment |= {"PATH": folders, "SAM_CLI_TELEMETRY": "0", "COLDSPAN_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        ["bash", "-euc", "\n".join(lines)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HelloWorldFunction" in done.stdout
    assert "answer" in done.stdout
    page = tmp_path / "hello" / "coldspan-report.html"
    assert page.stat().st_size > 100_000
    listed = subprocess.run(
        [COLDSPAN, "list", "--json"], cwd=tmp_path / "hello", capture_output=True, text=True, check=True, timeout=60
    )
    assert "HelloWorldFunction" in json.dumps(json.loads(listed.stdout))
