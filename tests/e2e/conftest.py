"""The built layers, as they stood when the suite began."""

import shutil
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "build"
BUILT = BUILD / "recorder"


@pytest.fixture(scope="session")
def layer(tmp_path_factory):
    """A copy of build/recorder: a build in another window does not change what is being tested."""
    assert BUILT.is_dir(), "no build/recorder: make layer"
    return shutil.copytree(BUILT, tmp_path_factory.mktemp("layer") / "recorder")


@pytest.fixture(scope="session")
def black_box(tmp_path_factory):
    """A copy of build/blackbox, the second layer."""
    built = BUILD / "blackbox"
    assert built.is_dir(), "no build/blackbox: make layer"
    return shutil.copytree(built, tmp_path_factory.mktemp("layer") / "blackbox")
