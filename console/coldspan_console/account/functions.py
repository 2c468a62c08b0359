"""The functions of an account that are meant: by name, pattern or tag; and all that is known of one."""

import concurrent.futures
import difflib
import fnmatch
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coldspan_console.account.session import told
from coldspan_console.output import WRONG_USE, ConsoleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from coldspan_console.account.session import Account

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Function:
    """A function's configuration of $LATEST as GetFunction gives it, its tags, and where its code is."""

    config: "Mapping[str, Any]"
    tags: "Mapping[str, str]" = field(default_factory=dict)
    location: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.config["FunctionName"])

    @property
    def arn(self) -> str:
        """Its ARN, without a version."""
        return str(self.config["FunctionArn"])

    @property
    def layers(self) -> "list[str]":
        """The ARNs of its layer versions, in their order."""
        return [str(each["Arn"]) for each in self.config.get("Layers") or ()]

    @property
    def runtime(self) -> str:
        """Its runtime; "" for a container image."""
        return str(self.config.get("Runtime") or "")

    @property
    def architecture(self) -> str:
        """x86_64 or arm64."""
        return str((self.config.get("Architectures") or ["x86_64"])[0])

    @property
    def handler(self) -> str:
        """Its handler; "" for a container image."""
        return str(self.config.get("Handler") or "")

    @property
    def environment(self) -> "dict[str, str]":
        """Its variables."""
        return dict((self.config.get("Environment") or {}).get("Variables") or {})

    @property
    def is_image(self) -> bool:
        """Whether it is a container image."""
        return self.config.get("PackageType") == "Image"

    @property
    def log_group(self) -> str:
        """The name of its log group."""
        return str((self.config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{self.name}")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was asked for: functions, and those that could not be read, with why."""

    functions: "list[Function]"
    failed: "list[tuple[str, ConsoleError]]"


def names(account: "Account") -> "list[str]":
    """The names of all functions of the account and region."""
    with told("the functions of the account"):
        pages = account.functions.get_paginator("list_functions").paginate()
        return sorted(str(each["FunctionName"]) for page in pages for each in page["Functions"])


def choose(
    account: "Account", named: "Iterable[str]", pattern: "str | None", tags: "Mapping[str, str]",
    *, everything: bool = False,
) -> "list[str]":  # fmt: skip
    """The names of the functions that are meant, without doubles, in order. Errors: ConsoleError where there are none.

    `named` are names or ARNs. A pattern and tags narrow each other. With `everything`, nothing asked means all.
    """
    chosen = [_name(each, account) for each in named]
    if pattern is None and not tags:
        if chosen:
            return list(dict.fromkeys(chosen))
        if everything:
            return names(account)
        todo = "name functions, or say --pattern 'orders-*' or --tag team=shop"
        raise ConsoleError("no function named", todo=todo, exit_code=WRONG_USE)
    found = _tagged(account, tags) if tags else names(account)
    if pattern is not None:
        found = [name for name in found if fnmatch.fnmatchcase(name, pattern)]
    if not found and not chosen:
        asked = " and ".join(
            [*([f"--pattern {pattern}"] if pattern else []), *(f"--tag {k}={v}" for k, v in tags.items())]
        )
        raise ConsoleError(
            f"no function in {account.region} is so", where=asked, todo="coldspan status lists what there is"
        )
    return list(dict.fromkeys([*chosen, *found]))


def read(account: "Account", wanted: "list[str]", advance: "Callable[[int], object]" = lambda _: None) -> Chosen:
    """Read them, several at once; what is unknown or refused is told and stops no other."""
    functions: list[Function] = []
    failed: list[tuple[str, ConsoleError]] = []
    known: list[str] | None = None

    def one(name: str) -> "Function | ConsoleError":
        try:
            return get(account, name)
        except ConsoleError as error:
            return error
        finally:
            advance(1)

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(one, wanted))
    for name, answer in zip(wanted, answers, strict=True):
        if isinstance(answer, Function):
            functions.append(answer)
            continue
        if isinstance(answer, UnknownFunctionError):
            if known is None:
                known = _names_if_allowed(account)
            answer.todo = suggestion(name, known, account.region)
        failed.append((name, answer))
    return Chosen(functions, failed)


class UnknownFunctionError(ConsoleError):
    """There is no function of that name."""


def get(account: "Account", name: str) -> Function:
    """Read one function. Errors: ConsoleError."""
    with told(name):
        try:
            answer = account.functions.get_function(FunctionName=name)
        except account.functions.exceptions.ResourceNotFoundException:
            raise UnknownFunctionError("no such function", where=f"{name} in {account.region}") from None
    return Function(answer["Configuration"], answer.get("Tags") or {}, (answer.get("Code") or {}).get("Location") or "")


def suggestion(name: str, known: "list[str]", region: str) -> str:
    """What may have been meant."""
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"there are: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}" if known else f"{region} has none"


def versions(account: "Account", name: str) -> "tuple[int, list[str]]":
    """(how many published versions, aliases); (0, []) where that may not be asked."""
    try:
        with told(name):
            pages = account.functions.get_paginator("list_aliases").paginate(FunctionName=name)
            aliases = [str(each["Name"]) for page in pages for each in page["Aliases"]]
            pages = account.functions.get_paginator("list_versions_by_function").paginate(FunctionName=name)
            count = sum(each["Version"] != "$LATEST" for page in pages for each in page["Versions"])
    except ConsoleError:
        return 0, []
    return count, aliases


def _names_if_allowed(account: "Account") -> "list[str]":
    try:
        return names(account)
    except ConsoleError:
        return []


def _name(given: str, account: "Account") -> str:
    """A function's name from a name or an ARN. Errors: ConsoleError for a version, an alias or another region."""
    parts = given.split(":")
    if given.startswith("arn:"):
        if len(parts) < 7 or parts[5] != "function":
            raise ConsoleError("no ARN of a function", where=given)
        if parts[3] != account.region:
            raise ConsoleError(f"a function of another region ({parts[3]})", where=given, todo=f"--region {parts[3]}")
        name, qualifier = parts[6], parts[7:]
    else:
        name, qualifier = parts[0], parts[1:]
    if qualifier and qualifier != ["$LATEST"]:
        todo = f"name {name}; then publish a new version, and point the alias at it"
        raise ConsoleError("published versions and aliases cannot be changed, only $LATEST", where=given, todo=todo)
    return name


def _tagged(account: "Account", tags: "Mapping[str, str]") -> "list[str]":
    filters = [{"Key": key, **({"Values": [value]} if value else {})} for key, value in tags.items()]
    with told("--tag"):
        pages = account.client("resourcegroupstaggingapi").get_paginator("get_resources").paginate(
            ResourceTypeFilters=["lambda:function"], TagFilters=filters
        )  # fmt: skip
        arns = [str(each["ResourceARN"]) for page in pages for each in page["ResourceTagMappingList"]]
    return sorted({arn.split(":")[6] for arn in arns if ":function:" in arn})
