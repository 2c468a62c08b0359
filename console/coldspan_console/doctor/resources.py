"""What a template declares around a function: its role and its log group. Pure."""

from typing import TYPE_CHECKING, Any

from coldspan_console.doctor.examination import Surroundings
from coldspan_console.doctor.permissions import MANAGED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldspan_console.project import Declared

ELSEWHERE = "it is not in the template"


def around(declared: "Declared", resources: "Mapping[str, Any]") -> Surroundings:
    """The role and the log group of a function, as far as the template has them."""
    logging = declared.properties.get("LoggingConfig")
    named = logging.get("LogGroup") if isinstance(logging, dict) else None
    group = named if isinstance(named, str) else f"/aws/lambda/{declared.name}"
    found = _group(group, resources)
    role, documents, boundary, why = _role(declared, resources)
    return Surroundings(
        role=role,
        documents=documents,
        boundary=boundary,
        why=why,
        group=str(found.get("LogGroupName") or group),
        group_class=str(found.get("LogGroupClass") or ""),
    )


def _group(name: str, resources: "Mapping[str, Any]") -> "dict[str, Any]":
    """The properties of the log group that is meant by a name or a Ref; {} where the template has none."""
    for logical, resource in resources.items():
        properties = resource.get("Properties") or {}
        if resource.get("Type") == "AWS::Logs::LogGroup" and name in {logical, properties.get("LogGroupName")}:
            return dict(properties)
    return {}


def _role(
    declared: "Declared", resources: "Mapping[str, Any]"
) -> "tuple[str, list[dict[str, Any]] | None, dict[str, Any] | None, str]":
    """(name, policies, boundary, why they are not known)."""
    given = declared.properties.get("Role")
    if given is None:  # SAM makes one, with AWSLambdaBasicExecutionRole and, for Tracing: Active, a policy for X-Ray
        return "", None, None, ""
    if not isinstance(given, str):
        return "behind its Role property", None, None, ELSEWHERE
    name = given.rpartition("/")[2]
    for logical, resource in resources.items():
        properties = resource.get("Properties") or {}
        if resource.get("Type") == "AWS::IAM::Role" and name in {logical, properties.get("RoleName")}:
            return _of_properties(name, logical, properties, resources)
    return name, None, None, ELSEWHERE


def _of_properties(
    name: str, logical: str, properties: "dict[str, Any]", resources: "Mapping[str, Any]"
) -> "tuple[str, list[dict[str, Any]] | None, dict[str, Any] | None, str]":
    documents = [each["PolicyDocument"] for each in _dicts(properties.get("Policies")) if "PolicyDocument" in each]
    attached = properties.get("ManagedPolicyArns")
    if attached is not None and not isinstance(attached, list):
        return name, None, None, "its policies are not known here"
    if properties.get("PermissionsBoundary"):
        return name, None, None, "its permissions boundary is not known here"
    for resource in resources.values():  # policies that name the role themselves
        inner = resource.get("Properties") or {}
        of = [str(each).rpartition("/")[2] for each in inner.get("Roles") or () if isinstance(each, str)]
        if (
            resource.get("Type") in {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy"}
            and {name, logical} & {*of, inner.get("RoleName")}
            and "PolicyDocument" in inner
        ):
            documents.append(inner["PolicyDocument"])
    for each in attached or ():
        policy = str(each).rpartition("/")[2]
        known = MANAGED.get(policy) if isinstance(each, str) and ":iam::aws:policy/" in each else None
        own = resources.get(policy) or {}
        if known is not None:
            documents += known
        elif own.get("Type") == "AWS::IAM::ManagedPolicy":
            documents.append((own.get("Properties") or {}).get("PolicyDocument") or {})
        else:
            return name, None, None, f"policy {policy} is not in the template"
    return name, documents, None, ""


def _dicts(value: Any) -> "list[dict[str, Any]]":
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
