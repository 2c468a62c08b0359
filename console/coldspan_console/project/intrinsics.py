"""Intrinsic functions of a template, resolved as far as that is possible without an account.

aws-sam-translator walks the template and knows Ref, Sub and FindInMap; the others are actions for its walk. It walks
from the outside in, so an action whose arguments are not resolved yet leaves them for the next walk.
"""

import base64
import copy
from typing import TYPE_CHECKING, Any

from samtranslator.intrinsics.actions import Action, FindInMapAction, RefAction, SubAction
from samtranslator.intrinsics.resolver import IntrinsicsResolver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REGION = "eu-west-1"
ACCOUNT = "123456789012"
WALKS = 12  # deeper nesting than that is nobody's
NO_VALUE = {"Ref": "AWS::NoValue"}
CONDITIONS = "Conditions"  # where the actions find the conditions, among the parameters

# What Fn::GetAtt of a resource that does not exist here gives: the shape of its ARN. {name} is its physical name.
ARNS = {
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:{region}:{account}:table/{name}",
    "AWS::Events::EventBus": "arn:aws:events:{region}:{account}:event-bus/{name}",
    "AWS::Kinesis::Stream": "arn:aws:kinesis:{region}:{account}:stream/{name}",
    "AWS::Lambda::Function": "arn:aws:lambda:{region}:{account}:function:{name}",
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::SNS::Topic": "arn:aws:sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "arn:aws:sqs:{region}:{account}:{name}",
    "AWS::SecretsManager::Secret": "arn:aws:secretsmanager:{region}:{account}:secret:{name}",
    "AWS::Serverless::Function": "arn:aws:lambda:{region}:{account}:function:{name}",
    "AWS::Serverless::SimpleTable": "arn:aws:dynamodb:{region}:{account}:table/{name}",
    "AWS::Serverless::StateMachine": "arn:aws:states:{region}:{account}:stateMachine:{name}",
    "AWS::StepFunctions::StateMachine": "arn:aws:states:{region}:{account}:stateMachine:{name}",
}
NAMES = (
    "TableName", "QueueName", "TopicName", "BucketName", "FunctionName", "StreamName", "Name", "RoleName", "SecretName",
)  # fmt: skip


class CircularError(ValueError):
    """Intrinsic functions that never come to an end."""


def resolve(template: "dict[str, Any]", parameters: "Mapping[str, Any]", region: str = REGION) -> "dict[str, Any]":
    """A copy of a template with everything resolved that can be; what cannot is left as it stands.

    Takes: a template as parsed (long forms), values of parameters by name (over the defaults). Resources that do not
    exist get names and ARNs as if they did, in the account 123456789012.
    """
    named = _parameters(template, parameters, region)
    first = _walked(template, named)  # for the names of resources, which may be made of parameters
    resources = first.get("Resources") if isinstance(first.get("Resources"), dict) else {}
    return _without_no_value(_walked(template, {**named, **_names(resources, region)}))


def _walked(template: "dict[str, Any]", named: "dict[str, Any]") -> "dict[str, Any]":
    found = copy.deepcopy(template)
    named[CONDITIONS] = found.get("Conditions") or {}
    resolver = IntrinsicsResolver(named, _actions())
    for _ in range(WALKS):
        before = copy.deepcopy(found)
        for section in ("Conditions", "Globals", "Resources"):
            if section in found:
                found[section] = resolver.resolve_parameter_refs(found[section])
        named[CONDITIONS] = found.get("Conditions") or {}
        if found == before:
            return found
    raise CircularError("intrinsic functions that refer to each other in a circle")


def is_unresolved(value: Any) -> bool:
    """Whether an intrinsic function is left."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)).startswith(("Fn::", "Ref", "Condition"))


def _parameters(template: "dict[str, Any]", given: "Mapping[str, Any]", region: str) -> "dict[str, Any]":
    named: dict[str, Any] = {
        "AWS::AccountId": ACCOUNT,
        "AWS::Partition": "aws",
        "AWS::Region": region,
        "AWS::StackId": f"arn:aws:cloudformation:{region}:{ACCOUNT}:stack/local/0",
        "AWS::StackName": "local",
        "AWS::URLSuffix": "amazonaws.com",
        "AWS::NotificationARNs": [],
    }
    for name, parameter in (template.get("Parameters") or {}).items():
        told = parameter if isinstance(parameter, dict) else {}
        value = given.get(name, told.get("Default", ""))
        if str(told.get("Type", "")).startswith(("CommaDelimitedList", "List<")) and isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        named[name] = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    named |= {name: mapping for name, mapping in (template.get("Mappings") or {}).items() if name not in named}
    return named


def _names(resources: "dict[str, Any]", region: str) -> "dict[str, Any]":
    """What Ref and GetAtt give for each resource: its name, and "Name.Attribute" for what Sub asks for."""
    named: dict[str, Any] = {}
    for logical, resource in resources.items():
        if not isinstance(resource, dict):
            continue
        kind, properties = str(resource.get("Type", "")), resource.get("Properties") or {}
        given = next((properties[key] for key in NAMES if isinstance(properties, dict) and key in properties), logical)
        name = given if isinstance(given, str) else logical
        arn = ARNS.get(kind, "arn:aws:" + kind.lower().replace("::", ":") + ":{region}:{account}:{name}")
        arn = arn.format(region=region, account=ACCOUNT, name=name)
        url = f"https://sqs.{region}.amazonaws.com/{ACCOUNT}/{name}"
        by_ref = {"AWS::SQS::Queue": url, "AWS::SNS::Topic": arn, "AWS::SecretsManager::Secret": arn}
        named[logical] = by_ref.get(kind, name)
        named |= {f"{logical}.Arn": arn, f"{logical}.QueueUrl": url, f"{logical}.QueueName": name}
        named |= {
            f"{logical}.TopicArn": arn,
            f"{logical}.TableName": name,
            f"{logical}.StreamArn": f"{arn}/stream/local",
        }
    return named


def _actions() -> "dict[str, Action]":
    made: dict[str, Action] = {"Ref": _Ref(), "Fn::Sub": _Sub(), "Fn::FindInMap": _FindInMap()}
    for name, compute in COMPUTED.items():
        made[name] = _made(name, compute)
    return made


class _Ref(RefAction):
    def resolve_parameter_refs(self, input_dict: Any, parameters: "dict[str, Any]") -> Any:
        return input_dict if input_dict == NO_VALUE else super().resolve_parameter_refs(input_dict, parameters)


class _FindInMap(FindInMapAction):
    def resolve_parameter_refs(self, input_dict: Any, parameters: "dict[str, Any]") -> Any:
        if not isinstance(input_dict, dict):  # it asks itself about its own arguments, too
            return input_dict
        # its own check would refuse the fourth argument, {"DefaultValue": ...}
        arguments = input_dict.get(self.intrinsic_name)
        if not isinstance(arguments, list) or any(is_unresolved(each) for each in arguments[:3]):
            return input_dict
        found = super().resolve_parameter_refs({self.intrinsic_name: arguments[:3]}, parameters)
        if is_unresolved(found) and len(arguments) > 3 and isinstance(arguments[3], dict):
            return arguments[3].get("DefaultValue", input_dict)
        return found


class _Sub(SubAction):
    def resolve_parameter_refs(self, input_dict: Any, parameters: "dict[str, Any]") -> Any:
        value = input_dict.get(self.intrinsic_name)
        text, own = (value[0], value[1]) if isinstance(value, list) and len(value) == 2 else (value, {})
        if not isinstance(text, str) or any(is_unresolved(each) for each in own.values()):
            return input_dict
        strings = {
            name: str(each) for name, each in {**parameters, **own}.items() if not isinstance(each, (dict, list))
        }
        found = super().resolve_parameter_refs({self.intrinsic_name: text}, strings)[self.intrinsic_name]
        return found.replace("${!", "${")


def _made(name: str, compute: "Callable[[Any, dict[str, Any]], Any]") -> Action:
    class Computed(Action):
        intrinsic_name = name

        def resolve_parameter_refs(self, input_dict: Any, parameters: "dict[str, Any]") -> Any:
            try:
                found = compute(input_dict[name], parameters)
            except (TypeError, ValueError, IndexError, KeyError):
                return input_dict  # not resolved yet, or nothing that can be
            return input_dict if found is None else found

    return Computed()


def _resolved(*values: Any) -> None:
    if any(is_unresolved(value) for value in values):
        raise ValueError("not yet")


def _if(arguments: Any, parameters: "dict[str, Any]") -> Any:
    name, then, otherwise = arguments
    condition = parameters.get(CONDITIONS, {})[name]
    if not isinstance(condition, bool):
        raise TypeError("not yet")
    return then if condition else otherwise


def _join(arguments: Any, _: "dict[str, Any]") -> Any:
    separator, parts = arguments
    _resolved(parts, *parts)
    return separator.join(str(part) for part in parts)


def _select(arguments: Any, _: "dict[str, Any]") -> Any:
    index, parts = arguments
    _resolved(index, parts)
    return parts[int(index)] if isinstance(parts, list) else None


def _split(arguments: Any, _: "dict[str, Any]") -> Any:
    separator, text = arguments
    return text.split(separator) if isinstance(text, str) else None


def _get_att(arguments: Any, parameters: "dict[str, Any]") -> Any:
    path = arguments if isinstance(arguments, str) else ".".join(arguments)
    found = parameters.get(path)
    return f"local-{path}" if found is None and path.partition(".")[0] in parameters else found


def _truths(arguments: Any) -> "list[bool]":
    if not all(isinstance(each, bool) for each in arguments):
        raise TypeError("not yet")
    return list(arguments)


def _equals(arguments: Any, _: "dict[str, Any]") -> bool:
    _resolved(*arguments)
    first, second = (str(each).lower() if isinstance(each, bool) else str(each) for each in arguments)
    return first == second


def _condition(name: Any, parameters: "dict[str, Any]") -> Any:
    found = parameters.get(CONDITIONS, {}).get(name)
    return found if isinstance(found, bool) else None


def _import(name: Any, _: "dict[str, Any]") -> Any:
    return f"imported-{name}" if isinstance(name, str) else None


COMPUTED: "dict[str, Callable[[Any, dict[str, Any]], Any]]" = {
    "Condition": _condition,
    "Fn::And": lambda each, _: all(_truths(each)),
    "Fn::Base64": lambda each, _: base64.b64encode(each.encode()).decode() if isinstance(each, str) else None,
    "Fn::Equals": _equals,
    "Fn::GetAZs": lambda _, parameters: [parameters["AWS::Region"] + zone for zone in "abc"],
    "Fn::GetAtt": _get_att,
    "Fn::If": _if,
    "Fn::ImportValue": _import,
    "Fn::Join": _join,
    "Fn::Not": lambda each, _: not _truths(each)[0],
    "Fn::Or": lambda each, _: any(_truths(each)),
    "Fn::Select": _select,
    "Fn::Split": _split,
}


def _without_no_value(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_no_value(each) for name, each in node.items() if each != NO_VALUE}
    if isinstance(node, list):
        return [_without_no_value(each) for each in node if each != NO_VALUE]
    return node
