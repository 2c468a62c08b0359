"""What is vendored: the locks, and what is taken out."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2] / "layer" / "blackbox"
LOCKS = sorted((HOME / "requirements").glob("*.txt"))


@pytest.fixture(scope="module")
def vendor():
    """layer/blackbox/vendor.py as a module."""
    spec = importlib.util.spec_from_file_location("blackbox_vendor", HOME / "vendor.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_each_package_is_locked_by_version_and_hash(path):
    """The layer would differ from one build to the next, or hold what somebody else put there."""
    text = path.read_text()
    pins = re.findall(r"^([\w.-]+)==[^\s\\]+ ?(;[^\\]*)?\\$", text, re.MULTILINE)
    blocks = [
        block for block in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE) if "==" in block.partition("\n")[0]
    ]
    assert pins
    assert len(blocks) == len(pins)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


def test_the_locks_agree():
    """Two extras in one folder would ask for two versions of a package."""
    versions = {}
    for path in LOCKS:
        for name, version in re.findall(r"^([\w.-]+)==([^\s\\;]+)", path.read_text(), re.MULTILINE):
            versions.setdefault(name, set()).add(version)
    assert {name for name, found in versions.items() if len(found) > 1} == set()


def test_what_is_never_loaded_is_taken_out(vendor, tmp_path):
    """The layer would hold the descriptions of 400 services of AWS: 25 MB; or lose a licence."""
    kept = [
        "botocore/data/ssm/2014-11-06/service-2.json.gz",
        "botocore/data/endpoints.json",
        "botocore-1.0.dist-info/METADATA",
        "botocore-1.0.dist-info/licenses/LICENSE",
        "opentelemetry_api-1.0.dist-info/entry_points.txt",
        "opentelemetry/sdk/trace/__init__.py",
    ]
    gone = [
        "botocore/data/ssm/2014-11-06/examples-1.json.gz",
        "botocore/data/s3/2006-03-01/service-2.json.gz",
        "botocore-1.0.dist-info/RECORD",
        "opentelemetry/sdk/__pycache__/x.pyc",
        "opentelemetry/sdk/trace/py.typed",
        "pkg/tests/test_x.py",
        "bin/jp.py",
    ]
    for name in (*kept, *gone):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    vendor.trim(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)
    assert dict(vendor.sizes(tmp_path)) == {"botocore": 2, "opentelemetry": 1, **dict.fromkeys(("pkg",), 0)}


def test_an_extra_or_platform_that_is_none_is_said(vendor, tmp_path):
    """A layer without its packages would be built."""
    with pytest.raises(ValueError, match=r"zipkin: no such extra; there are .*otlp"):
        vendor.vendor(tmp_path / "v", ["zipkin"], "x86_64", sys.executable)
    with pytest.raises(ValueError, match="sparc: give one of x86_64, arm64"):
        vendor.vendor(tmp_path / "v", ["otlp"], "sparc", sys.executable)


def test_no_extra_is_an_empty_folder(vendor, tmp_path):
    """What an earlier build left there would go into the layer."""
    into = tmp_path / "v"
    into.mkdir()
    (into / "old.py").touch()
    vendor.vendor(into, [], "x86_64", sys.executable)
    assert list(into.iterdir()) == []
