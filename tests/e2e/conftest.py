"""The built layer, as it stood when the suite began."""

import shutil
from pathlib import Path

import pytest

BUILT = Path(__file__).parents[2] / "build" / "recorder"


@pytest.fixture(scope="session")
def layer(tmp_path_factory):
    """A copy of build/recorder: a build in another window does not change what is being tested."""
    assert BUILT.is_dir(), "no build/recorder: make layer"
    return shutil.copytree(BUILT, tmp_path_factory.mktemp("layer") / "recorder")
