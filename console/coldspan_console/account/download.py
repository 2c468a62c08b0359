"""Code and layers fetched from an account, by the presigned addresses that the Lambda API gives."""

import shutil
import urllib.request
from pathlib import Path

from coldspan_console.account.layers import MOST_BYTES
from coldspan_console.output import ConsoleError


def fetch(location: str, path: Path, name: str) -> Path:
    """Write what is at an address into a file, and give that. Errors: ConsoleError, about what `name` names."""
    if not location.startswith(("https://", "http://")):
        raise ConsoleError("its address was not given", where=name, todo="lambda:GetFunction, lambda:GetLayerVersion")
    try:
        with urllib.request.urlopen(location, timeout=60) as answer, path.open("wb") as made:  # noqa: S310 - http(s)
            if int(answer.headers.get("Content-Length") or 0) > MOST_BYTES:  # more than Lambda takes unzipped
                raise ConsoleError("it is too large", where=name)
            shutil.copyfileobj(answer, made)
    except OSError as error:
        raise ConsoleError(f"it could not be fetched: {error}", where=name, todo="run it again") from None
    return path
