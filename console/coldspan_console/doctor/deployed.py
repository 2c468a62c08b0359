"""Functions in an account as the doctor looks at them. What may not be asked is a note, and stops nothing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from coldspan_console.account import functions as reading
from coldspan_console.account import layers as versions
from coldspan_console.account import loggroups
from coldspan_console.account.download import fetch
from coldspan_console.account.functions import Function
from coldspan_console.account.session import told
from coldspan_console.doctor import examination, sampling
from coldspan_console.doctor.examination import Surroundings
from coldspan_console.doctor.findings import ERROR, NOTE, Finding, short
from coldspan_console.output import ConsoleError
from coldspan_console.project import Layer, of_properties

if TYPE_CHECKING:
    from coldspan_console.account.layers import LayerVersion
    from coldspan_console.account.session import Account

Found = TypeVar("Found")


class Examiner:
    """Examines the functions of an account; what several have in common, layers and roles, is asked once.

    `downloads`: the folder for packages and layers whose content is to be looked into; None leaves them alone.
    """

    def __init__(self, account: "Account", downloads: "Path | None" = None) -> None:
        self.account = account
        self.downloads = downloads
        self._asked: dict[tuple[str, str], Any] = {}

    def read(self, name: str) -> "tuple[Function, list[Finding]]":
        """A function, by GetFunction or else by GetFunctionConfiguration. Errors: ConsoleError."""
        try:
            return reading.get(self.account, name), []
        except reading.UnknownFunctionError:
            raise
        except ConsoleError as refused:
            try:
                with told(name):
                    config = self.account.functions.get_function_configuration(FunctionName=name)
            except ConsoleError:
                raise refused from None
            return Function(config), [_unseen(name, "its tags and its code", refused)]

    def examine(self, function: Function) -> "list[Finding]":
        """Everything that can be told of a function in the account."""
        found: list[Finding] = []
        layers = [self._layer(function, arn, found) for arn in function.layers]
        declared = of_properties(function.name, properties(function), Path(function.name) / "account", tuple(layers))
        if declared.problem:
            return list(examination.examine(declared, Surroundings(), None, without=""))
        found += _state(function)
        code = self._code(function, found)
        around = self._around(function, found)
        found += examination.examine(declared, around, code, without="")
        if declared.tracing == "Active":
            rules = self._look(found, function.name, "the sampling rules", self._rules)
            found += sampling.examine(function.name, function.name, function.arn, rules or [])
        return found

    def _look(
        self, found: "list[Finding]", name: str, what: str, ask: "Callable[[], Found]", key: "tuple[str, str] | None" = None
    ) -> "Found | None":  # fmt: skip
        """What is asked, once; None, with a note, where that is refused."""
        key = key or ("", what)
        if key not in self._asked:
            try:
                self._asked[key] = ask()
            except ConsoleError as error:
                self._asked[key] = error
        answer = self._asked[key]
        if isinstance(answer, ConsoleError):
            found.append(_unseen(name, what, answer))
            return None
        return answer  # type: ignore[no-any-return]

    def _layer(self, function: Function, arn: str, found: "list[Finding]") -> Layer:
        version: LayerVersion | None = self._look(
            found, function.name, f"layer {short(arn)}", lambda: versions.get(self.account, arn), ("layer", arn)
        )
        if version is None:
            return Layer(arn)
        folder = None
        if self.downloads is not None:
            folder = self._look(
                found, function.name, f"what is in layer {short(arn)}",
                lambda: self._download(version.location, arn), ("content", arn),
            )  # fmt: skip
        return Layer(arn, folder, "", version.architectures)

    def _code(self, function: Function, found: "list[Finding]") -> "Path | None":
        if self.downloads is None:
            return None
        return self._look(
            found, function.name, "its code", lambda: self._download(function.location, function.arn),
            ("code", function.arn),
        )  # fmt: skip

    def _download(self, location: str, name: str) -> Path:
        assert self.downloads is not None  # noqa: S101  # its callers have looked
        return fetch(location, self.downloads / (re.sub(r"\W+", "-", name) + ".zip"), name)

    def _around(self, function: Function, found: "list[Finding]") -> Surroundings:
        group = function.log_group
        known = self._look(
            found, function.name, f"log group {group}", lambda: loggroups.find(self.account, group) or {}, ("group", group)
        )  # fmt: skip
        role = str(function.config.get("Role") or "").rpartition("/")[2]
        policies = self._look(
            found, function.name, f"the policies of role {role}", lambda: self._policies(role), ("role", role)
        )
        documents, boundary = policies or (None, None)
        _, partition, _, region, number, *_ = function.arn.split(":")
        return Surroundings(
            role=role,
            documents=documents,
            boundary=boundary,
            group=group,
            group_arn=f"arn:{partition}:logs:{region}:{number}:log-group:{group}",
            group_class=str((known or {}).get("logGroupClass") or ""),
        )

    def _policies(self, role: str) -> "tuple[list[dict[str, Any]], dict[str, Any] | None]":
        """(the documents of a role's policies, that of its boundary)."""
        client = self.account.client("iam")
        with told(f"role {role}"):
            pages = client.get_paginator("list_attached_role_policies").paginate(RoleName=role)
            arns = [each["PolicyArn"] for page in pages for each in page["AttachedPolicies"]]
            documents = [self._policy(arn) for arn in arns]
            pages = client.get_paginator("list_role_policies").paginate(RoleName=role)
            documents += [
                client.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                for page in pages
                for name in page["PolicyNames"]
            ]
            boundary = client.get_role(RoleName=role)["Role"].get("PermissionsBoundary") or {}
            arn = boundary.get("PermissionsBoundaryArn")
            return documents, self._policy(arn) if arn else None

    def _policy(self, arn: str) -> "dict[str, Any]":
        client = self.account.client("iam")
        version = client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = client.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        return dict(document)

    def _rules(self) -> "list[dict[str, Any]]":
        with told("X-Ray"):
            pages = self.account.client("xray").get_paginator("get_sampling_rules").paginate()
            return [each["SamplingRule"] for page in pages for each in page.get("SamplingRuleRecords") or ()]


def properties(function: Function) -> "dict[str, Any]":
    """A configuration of the API as the properties of AWS::Lambda::Function, whose names are the same."""
    found = {name: value for name, value in function.config.items() if name not in {"Layers", "Code"}}
    if "Variables" not in (found.get("Environment") or {}):
        found.pop("Environment", None)
    return found


def _state(function: Function) -> "list[Finding]":
    config, found = function.config, []
    told_by = (config.get("Environment") or {}).get("Error") or {}
    if told_by:
        text = f"its variables could not be looked at: {told_by.get('Message') or told_by.get('ErrorCode')}"
        found.append(Finding("CS301", NOTE, text, function.name, "let the credentials in use do kms:Decrypt"))
    for key, what in (("State", "the function is in state Failed"), ("LastUpdateStatus", "its last update failed")):
        if config.get(key) == "Failed":
            why = config.get(f"{key}Reason") or config.get(f"{key}ReasonCode") or "no reason given"
            found.append(Finding("CS302", ERROR, f"{what}: {why}", function.name, "mend that first"))
    return found


def _unseen(name: str, what: str, error: ConsoleError) -> Finding:
    todo = error.todo or "nothing, if that is known otherwise"
    return Finding("CS301", NOTE, f"{what} could not be looked at: {error.message}", name, todo)
