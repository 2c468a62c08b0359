"""Layer versions in an account: what they fit, how large they are, what is newer; and our own, published."""

import io
import re
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.account.session import DENIED, code_of, told
from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from coldspan_console.account.planning import Step
    from coldspan_console.account.session import Account

ARN = re.compile(
    r"arn:(?P<partition>[\w-]+):lambda:(?P<region>[\w-]+):(?P<account>\d{12}):layer:(?P<name>[\w-]{1,140}):(?P<version>\d+)"
)
RECORDER, BLACK_BOX = "coldspan-recorder", "coldspan-blackbox"
OURS = {RECORDER: "recorder", BLACK_BOX: "black box"}
RUNTIMES = ("python3.11", "python3.12", "python3.13", "python3.14")
ARCHITECTURES = ("x86_64", "arm64")
# Source: Lambda quotas, "Function layers" and "Deployment package size, unzipped".
MOST_LAYERS, MOST_BYTES = 5, 262_144_000
DIRECT_BYTES = 50_000_000  # a zip in the request itself; larger ones go by S3
TAIL_BYTES = 1 << 16
# Unzipped by zipped, measured: boto3 7.4, rich 4.1, aiohttp 3.7, requests 3.3, cryptography 3.2, pydantic_core 2.5,
# this project's layers 2.5 and 2.6; botocore 1.3, whose data are compressed already.
TYPICAL_RATIO = 3.5


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes unzipped. `exact`: summed from the zip's directory; else the zipped size times TYPICAL_RATIO."""

    bytes: int
    exact: bool
    zipped: int


@dataclass(frozen=True, slots=True)
class LayerVersion:
    """A version of a layer. Empty `runtimes` or `architectures` mean that it says nothing."""

    arn: str
    zipped: int = 0
    runtimes: "tuple[str, ...]" = ()
    architectures: "tuple[str, ...]" = ()
    location: str = ""

    @property
    def name(self) -> str:
        """Its layer's name."""
        return self.arn.split(":")[6]

    @property
    def version(self) -> int:
        """Its number."""
        return int(self.arn.rsplit(":", 1)[1])


def layer_of(arn: str) -> str:
    """The ARN of the layer, without the version."""
    return arn.rsplit(":", 1)[0]


def kind_of(arn: str) -> str:
    """`recorder` or `black box` for a layer of ours, by its name; "" for others."""
    name = arn.split(":")[6] if arn.count(":") >= 6 else arn
    return next((kind for ours, kind in OURS.items() if name == ours or name.endswith("-" + ours)), "")


def get(account: "Account", arn: str) -> LayerVersion:
    """A layer version by its ARN. Errors: ConsoleError for what is none, not there, or of another region."""
    found = ARN.fullmatch(arn)
    if found is None:
        todo = (
            f"a layer version's ARN ends in its number: arn:aws:lambda:{account.region}:123456789012:layer:{RECORDER}:7"
        )
        raise ConsoleError("no ARN of a layer version", where=arn, todo=todo)
    if found["region"] != account.region:
        todo = f"publish it in {account.region} (--publish), or say --region {found['region']}"
        raise ConsoleError(f"a layer of another region ({found['region']})", where=arn, todo=todo)
    with told(arn):
        try:
            layer, _, number = arn.rpartition(":")
            answer = account.functions.get_layer_version(LayerName=layer, VersionNumber=int(number))
        except account.functions.exceptions.ResourceNotFoundException:
            todo = f"aws lambda list-layer-versions --layer-name {found['name']} names those that are there"
            raise ConsoleError("no such layer version", where=arn, todo=todo) from None
    return _from(answer)


def size(location: str, zipped: int) -> Size:
    """How large a zip at a presigned address is unzipped, from the directory at its end; estimated out of its reach."""
    if location.startswith(("https://", "http://")):
        try:
            with zipfile.ZipFile(_Remote(location)) as archive:
                return Size(sum(entry.file_size for entry in archive.infolist()), exact=True, zipped=zipped)
        except (OSError, ValueError, zipfile.BadZipFile):
            pass
    return Size(round(zipped * TYPICAL_RATIO), exact=False, zipped=zipped)


def newest(account: "Account", layer: str) -> "int | None":
    """The newest version of a layer (an ARN without version); None where that may not be asked."""
    from botocore.exceptions import ClientError

    try:
        with told(layer):
            try:
                answer = account.functions.list_layer_versions(LayerName=layer, MaxItems=1)  # newest first
            except ClientError as error:
                if code_of(error) in DENIED:
                    return None
                raise
    except ConsoleError as error:
        if "ResourceNotFound" in error.message:
            return None
        raise
    return max((int(each["Version"]) for each in answer["LayerVersions"]), default=None)


def publish(account: "Account", path: Path) -> LayerVersion:
    """Publish a zip as a new version of our layer. Errors: ConsoleError for what is not a zip of ours."""
    kind = _kind_of_zip(path)
    content = path.read_bytes()
    if len(content) > DIRECT_BYTES:
        todo = "upload it to S3, publish it by aws lambda publish-layer-version, and say --layer ARN"
        raise ConsoleError(f"too large to publish directly ({len(content) / 1e6:.0f} MB)", where=str(path), todo=todo)
    with told(f"publishing {path}"):
        answer = account.functions.publish_layer_version(
            LayerName=kind,
            Description="Where an invocation's time went, and how each downstream call really ended",
            Content={"ZipFile": content},
            CompatibleRuntimes=list(RUNTIMES),
            CompatibleArchitectures=_architectures(path),
            LicenseInfo="Apache-2.0",
        )
    return _from(answer)


def planned(account: "Account", path: Path) -> "dict[str, LayerVersion]":
    """A zip of ours as the layer version that publishing it would make, by kind; its number is the next one, or 1."""
    name = _kind_of_zip(path)
    with told("the caller's account"):
        identity = account.client("sts").get_caller_identity()
    partition = identity["Arn"].split(":")[1]
    layer = f"arn:{partition}:lambda:{account.region}:{identity['Account']}:layer:{name}"
    number = (newest(account, layer) or 0) + 1
    version = LayerVersion(f"{layer}:{number}", path.stat().st_size, RUNTIMES, tuple(_architectures(path)))
    return {OURS[name]: version}


def put_in(steps: "list[Step]", published: LayerVersion) -> None:
    """Let plans that were made with planned() say the version that publishing made."""
    for step in steps:
        step.after = [published.arn if layer_of(arn) == layer_of(published.arn) else arn for arn in step.after]
        step.notes = [
            replace(note, arn=published.arn) if note.layer == layer_of(published.arn) else note for note in step.notes
        ]


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except FileNotFoundError:
        raise ConsoleError(
            "no such file", where=str(path), todo="`make layer` builds build/coldspan-recorder.zip"
        ) from None
    except (OSError, zipfile.BadZipFile) as error:
        raise ConsoleError(f"no zip: {error}", where=str(path), todo="`make layer` builds both layers") from None
    if any(name.startswith("python/coldspan/boot/start.py") for name in names):
        return RECORDER
    if "extensions/coldspan-blackbox" in names:
        return BLACK_BOX
    todo = "name build/coldspan-recorder.zip or build/coldspan-blackbox.zip; `make layer` builds them"
    raise ConsoleError("a zip, but no layer of coldspan", where=str(path), todo=todo)


def _architectures(path: Path) -> "list[str]":
    """Both, unless the zip has compiled modules, which name theirs."""
    with zipfile.ZipFile(path) as archive:
        compiled = " ".join(name for name in archive.namelist() if name.endswith(".so"))
    found = [one for one, word in (("x86_64", "x86_64"), ("arm64", "aarch64")) if word in compiled]
    return found or list(ARCHITECTURES)


def _from(answer: "dict[str, Any]") -> LayerVersion:
    content = answer.get("Content") or {}
    return LayerVersion(
        arn=answer["LayerVersionArn"],
        zipped=int(content.get("CodeSize") or 0),
        runtimes=tuple(answer.get("CompatibleRuntimes") or ()),
        architectures=tuple(answer.get("CompatibleArchitectures") or ()),
        location=content.get("Location") or "",
    )


class _Remote(io.RawIOBase):
    """A file at an address, read in ranges: a zip's directory is at its end, so that two requests are enough."""

    def __init__(self, url: str) -> None:
        self.url, self.place = url, 0
        tail, length = self._range(f"bytes=-{TAIL_BYTES}")
        self.length, self.tail = length, tail

    def _range(self, wanted: str) -> "tuple[bytes, int]":
        request = urllib.request.Request(self.url, headers={"Range": wanted})  # noqa: S310 - http(s), looked at by size()
        with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310 - see above
            if answer.status != 206:
                raise OSError("the server gives no ranges")
            return answer.read(), int(answer.headers["Content-Range"].rpartition("/")[2])

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.length}[whence]
        if base + offset < 0:
            raise OSError("before the beginning")
        self.place = base + offset
        return self.place

    def tell(self) -> int:
        return self.place

    def read(self, count: int = -1) -> bytes:
        end = self.length if count < 0 else min(self.place + count, self.length)
        if self.place >= end:
            return b""
        begun = self.length - len(self.tail)
        if self.place >= begun:
            found = self.tail[self.place - begun : end - begun]
        else:
            found, _ = self._range(f"bytes={self.place}-{end - 1}")
        self.place += len(found)
        return found
