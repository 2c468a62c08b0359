"""Layers that a template names by their ARN: brought from the account, or what a package index has in their place."""

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from coldspan_console import layers
from coldspan_console.account import layers as versions
from coldspan_console.output import ConsoleError
from coldspan_console.running import interpreter

if TYPE_CHECKING:
    from coldspan_console.account.session import Account
    from coldspan_console.running.interpreter import Interpreter

OURS = {"recorder": layers.RECORDER, "black box": layers.BLACK_BOX}
# Published layers that are packages of the index, by their names. Source: Powertools for AWS Lambda (Python), "Lambda
# Layer"; AWS SDK for pandas, "AWS Lambda Layer".
PUBLISHED = (
    (re.compile(r"AWSLambdaPowertoolsPythonV3(-.*)?"), "aws-lambda-powertools[all]>=3,<4"),
    (re.compile(r"AWSLambdaPowertoolsPython(V2)?(-.*)?"), "aws-lambda-powertools[all]>=2,<3"),
    (re.compile(r"AWSSDKPandas-.*"), "awswrangler"),
)


def folder(arn: str, python: "Interpreter", account: "Account | None", *, install: bool) -> "tuple[Path | None, str]":
    """(the folder that is mounted at /opt, or None; what a person should know of it, or "").

    Takes what `account` brings, once, into a cache. Errors: ConsoleError where that fails.
    """
    found = versions.ARN.fullmatch(arn)
    if found is None:
        return None, f"layer {arn} is not on this machine, and is left out"
    if kind := versions.kind_of(arn):
        return layers.ours(OURS[kind]), ""
    name = found["name"]
    target = layers.cache_folder() / "layers" / "-".join([name, found["version"], found["account"], found["region"]])
    if not target.is_dir() and account is not None:
        _bring(arn, target, account if account.region == found["region"] else account.elsewhere(found["region"]))
    if target.is_dir():
        return target, ""
    wanted = next((package for pattern, package in PUBLISHED if pattern.fullmatch(name)), None)
    if wanted is None:
        return None, f"layer {arn} is not on this machine, and is left out (--aws account brings it)"
    return _stand_in(name, wanted, python, install=install)


def _bring(arn: str, target: Path, account: "Account") -> None:
    from coldspan_console.account.download import fetch

    making = target.with_name(f"{target.name}.{os.getpid()}")
    making.mkdir(parents=True, exist_ok=True)
    archive = making.with_suffix(".zip")
    try:
        layers.unpack(fetch(versions.get(account, arn).location, archive, arn), making)
        layers.keep(making, target)
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(making, ignore_errors=True)


def _stand_in(name: str, wanted: str, python: "Interpreter", *, install: bool) -> "tuple[Path | None, str]":
    package = re.split(r"[\[<>=]", wanted, maxsplit=1)[0]
    if package in python.packages:
        return None, f"layer {name} is left out: {python.path} has {package} {python.packages[package]}"
    target = layers.cache_folder() / "layers" / f"{interpreter.normal(wanted)}-{python.runtime}"
    if not target.is_dir():
        if not install:
            return None, f"layer {name} is not on this machine, and is left out (--no-install)"
        making = target.with_name(f"{target.name}.{os.getpid()}")
        (making / "python").mkdir(parents=True)
        try:
            interpreter.install(python, making / "python", [wanted])
            layers.keep(making, target)
        except ConsoleError as error:
            return None, f"layer {name} is left out, because {wanted} could not be installed: {error.message}"
        finally:
            shutil.rmtree(making, ignore_errors=True)
    versions_there = interpreter.packages_of(target / "python")
    return target, f"{package} {versions_there.get(package, '')} of the package index stands for layer {name}"
