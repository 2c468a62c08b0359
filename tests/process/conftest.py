"""Fresh interpreters, and functions on the local platform, for the process tests."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from coldspan_console.platform import Function, LocalLambda

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layer" / "recorder"

# What every program begins with: the real runtime's loop over a scripted client, and the recorder as the layer has it.
PRELUDE = """
import sys, os, json
from support.runtime_loop import Runtime, SetAttribute, request
runtime = Runtime(SetAttribute)
number = 0

def invoke(handler, left_ms=30_000):
    global number
    number += 1
    import time
    runtime.invoke(wrapped(handler), request("r%d" % number, deadline_ms=time.time_ns() // 10**6 + left_ms))

def wrapped(handler):
    return start.seam.wrap_handler(handler) if start.seam is not None else handler

import coldspan
from coldspan.boot import start
start.start()
"""
FUNCTION = {
    "AWS_LAMBDA_FUNCTION_NAME": "orders",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_REGION": "eu-west-1",
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",
    "COLDSPAN_FLUSH_MS": "10000",  # a machine under load takes more than 50 ms for a first drain
}


class Run(SimpleNamespace):
    """What a program did: `code`, `out`, `err` (text), `documents` (JSON lines on stdout), `lines` (the others)."""

    @property
    def records(self):
        """The invocation lines."""
        return [line for line in self.documents if "Duration" in line and "tool" not in line]

    @property
    def calls(self):
        """(tool, request id) of every call told in an invocation line."""
        return [(call["tool"], call["request_id"]) for record in self.records for call in record["calls"]]


@pytest.fixture
def program(tmp_path):
    """Run a program after PRELUDE in a fresh interpreter: `program(text, *flags, path=..., **names)` gives a Run.

    `under` is the command that the interpreter is run by, as `("nice",)`.
    """

    def run(text, *flags, prelude=PRELUDE, layer=LAYER / "python", under=(), **variables):
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, (layer, ROOT / "tests", ROOT / "console"))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLDSPAN_JOURNAL_DIR": str(tmp_path / "journal"),
            **FUNCTION,
            **variables,
        }
        done = subprocess.run(
            [*under, sys.executable, *flags, "-c", prelude + textwrap.dedent(text)],
            env=environment, capture_output=True, text=True, check=False, timeout=90,
        )  # fmt: skip
        documents, lines = [], []
        for line in done.stdout.splitlines():
            try:
                document = json.loads(line)
            except ValueError:
                document = None
            if isinstance(document, dict) and "_aws" in document:
                documents.append(document)
            else:
                lines.append(line)
        return Run(code=done.returncode, out=done.stdout, err=done.stderr, documents=documents, lines=lines)

    return run


@pytest.fixture
def local(tmp_path):
    """Start a function given as the text of app.py: `local(text, layer=None, ...)` gives its LocalLambda."""
    started = []

    def start(text, *, layer=LAYER, **fields):
        task = tmp_path / "task"
        task.mkdir(exist_ok=True)
        (task / "app.py").write_text(textwrap.dedent(text))
        variables = {"COLDSPAN_FLUSH_MS": "10000", **fields.pop("environment", {})}
        platform = LocalLambda(Function(task=task, layer=layer, environment=variables, **fields))
        started.append(platform)
        return platform.__enter__()

    yield start
    for platform in started:
        platform.close()
