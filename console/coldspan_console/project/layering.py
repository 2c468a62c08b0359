"""The layers that a function of a template names."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldspan_console.project.built import Built

LAYERS = ("AWS::Serverless::LayerVersion", "AWS::Lambda::LayerVersion")


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that a function names. `folder` is None where it is an ARN, which is not on this machine.

    `build_method` is how its folder becomes what is mounted: "makefile", "python3.13", or "" when it is that already.
    Empty `architectures` mean that it says nothing. `problem` is why a layer of the template has no folder.
    """

    name: str
    folder: "Path | None" = None
    build_method: str = ""
    architectures: "tuple[str, ...]" = ()
    problem: str = ""


def layers_of(named: Any, resources: "dict[str, Any]", root: Path, made: "Built") -> "Iterator[Layer]":
    """The layers of a function's property Layers, in their order."""
    for each in named if isinstance(named, list) else ():
        reference = next(iter(each.values())) if isinstance(each, dict) and len(each) == 1 else each
        word = reference if isinstance(reference, str) else str(reference)
        key = _key(word, resources)
        yield Layer(word) if key is None else _layer(key, resources[key], root, made)


def _key(word: str, resources: "dict[str, Any]") -> "str | None":
    """The logical id of the layer that is meant: by it, or by its name."""
    layers = {key: each for key, each in resources.items() if each.get("Type") in LAYERS}
    if word in layers:
        return word
    return next((key for key, each in layers.items() if (each.get("Properties") or {}).get("LayerName") == word), None)


def _layer(key: str, resource: "dict[str, Any]", root: Path, made: "Built") -> Layer:
    properties = resource.get("Properties") or {}
    content, fits = properties.get("ContentUri"), properties.get("CompatibleArchitectures")
    architectures = tuple(each for each in fits if isinstance(each, str)) if isinstance(fits, list) else ()
    metadata = resource.get("Metadata") if isinstance(resource.get("Metadata"), dict) else {}
    asset = metadata.get("aws:asset:path")  # as the CDK writes it
    source = content if isinstance(content, str) else asset
    named = isinstance(source, str) and not source.startswith(("s3:", "https:"))
    here = (root / source).resolve() if named else None
    if key in made.folders and (here is None or not made.is_older(here)):
        return Layer(key, made.folders[key], "", architectures)
    if here is not None and here.exists():
        return Layer(key, here, str(metadata.get("BuildMethod") or ""), architectures)
    problem = "its content is in S3, and not on this machine" if here is None else f"its content is missing: {here}"
    return Layer(key, None, "", architectures, problem)
