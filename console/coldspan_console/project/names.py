"""What Ref and Fn::GetAtt give for resources that do not exist here: their names, and ARNs as if they did."""

import graphlib
import re
from typing import TYPE_CHECKING, Any

from coldspan_console.platform.function import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# The shape of an ARN, by type. {name} is the resource's physical name.
ARNS = {
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:{region}:{account}:table/{name}",
    "AWS::Events::EventBus": "arn:aws:events:{region}:{account}:event-bus/{name}",
    "AWS::IAM::Role": "arn:aws:iam::{account}:role/{name}",
    "AWS::Kinesis::Stream": "arn:aws:kinesis:{region}:{account}:stream/{name}",
    "AWS::KinesisFirehose::DeliveryStream": "arn:aws:firehose:{region}:{account}:deliverystream/{name}",
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
# The properties that name a resource. A Secret's or a Bus's "Name" is one; of a Function "Name" is not a property.
NAMING = (
    "TableName", "QueueName", "TopicName", "BucketName", "FunctionName", "StreamName", "DeliveryStreamName",
    "RoleName", "SecretName", "Name",
)  # fmt: skip
# What AWS::Serverless makes without being asked, and templates refer to.
IMPLICIT = ("ServerlessRestApi", "ServerlessHttpApi", "ServerlessRestApiProdStage", "ServerlessDeploymentApplication")
SUFFIXES = {"Role": "AWS::IAM::Role"}


class CircularError(ValueError):
    """Things that are made of each other."""


def names_of(
    resources: "dict[str, Any]", region: str, resolve: "Callable[[Any, dict[str, str]], Any]"
) -> "dict[str, str]":
    """What Ref ("Orders") and Fn::GetAtt ("Orders.Arn") give, by that word, for every resource.

    A name may be made of parameters and of other resources' names: `resolve(value, names known so far)` tells it.
    Errors: CircularError when names are made of each other.
    """
    found: dict[str, str] = {name: name for name in IMPLICIT}
    waiting = {name: each for name, each in resources.items() if isinstance(each, dict)}
    while waiting:
        ready = {}
        for logical, resource in waiting.items():
            name = resolve(naming(resource, logical), found)
            if isinstance(name, (str, int)):
                ready[logical] = str(name)
        if not ready:
            made_of = {logical: mentioned(naming(one, logical)) & set(waiting) for logical, one in waiting.items()}
            refuse_circle(made_of, "the names of")
            # made of what is not known here: an import, a typo
            ready = {each: default_name(waiting[each], each) for each, others in made_of.items() if not others}
        for logical, name in ready.items():
            found |= _told(logical, name, str(waiting.pop(logical).get("Type", "")), region)
    return found


def naming(resource: "dict[str, Any]", logical: str) -> Any:
    """The property that names a resource, as it stands; what it is called here when there is none."""
    properties = resource.get("Properties")
    if not isinstance(properties, dict):
        properties = {}
    given = next((properties[key] for key in NAMING if key in properties), None)
    return default_name(resource, logical) if given is None else given


def default_name(resource: "dict[str, Any]", logical: str) -> str:
    """What a resource without a name of its own is called here: its logical id, in a form that its service takes."""
    kind, properties = resource.get("Type"), resource.get("Properties") or {}
    if kind == "AWS::S3::Bucket":
        return logical.lower()
    fifo = kind in {"AWS::SQS::Queue", "AWS::SNS::Topic"} and (
        properties.get("FifoQueue") in {True, "true"} or properties.get("FifoTopic") in {True, "true"}
    )
    return f"{logical}.fifo" if fifo else logical


def refuse_circle(made_of: "dict[str, set[str]]", what: str) -> None:
    """Errors: CircularError, with its members, when some of these are made of each other."""
    try:
        graphlib.TopologicalSorter(made_of).prepare()
    except graphlib.CycleError as error:
        raise CircularError(f"{what} {', '.join(sorted(set(error.args[1])))} refer to each other in a circle") from None


def mentioned(value: Any) -> "set[str]":
    """The logical ids (or parameters) that a value refers to by Ref, Fn::GetAtt, Fn::Sub or Condition."""
    if isinstance(value, list):
        return set().union(*map(mentioned, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for key, inner in value.items():
        if key in {"Ref", "Condition"} and isinstance(inner, str):
            found.add(inner)
        elif key == "Fn::GetAtt":
            word = inner[0] if isinstance(inner, list) and inner else inner
            found.add(str(word).partition(".")[0])
        elif key == "Fn::If" and isinstance(inner, list) and inner:
            found |= {str(inner[0])} | mentioned(inner[1:])
        else:
            text = inner[0] if isinstance(inner, list) and inner else inner
            if key == "Fn::Sub" and isinstance(text, str):
                found |= {word.partition(".")[0] for word in variables_of(text)}
            found |= mentioned(inner)
    return found


def variables_of(text: str) -> "Iterable[str]":
    """The words in ${...} of a text of Fn::Sub."""
    return re.findall(r"\$\{([^!}][^}]*)\}", text)


def _told(logical: str, name: str, kind: str, region: str) -> "dict[str, str]":
    arn = _arn(kind, name, region)
    url = f"https://sqs.{region}.amazonaws.com/{ACCOUNT}/{name}"
    by_ref = {"AWS::SQS::Queue": url, "AWS::SNS::Topic": arn, "AWS::SecretsManager::Secret": arn}
    attributes = {
        "Arn": arn,
        "Name": name,
        "QueueName": name,
        "QueueUrl": url,
        "StreamArn": f"{arn}/stream/local",
        "TableName": name,
        "TopicArn": arn,
        "TopicName": name,
    }
    if kind == "AWS::S3::Bucket":
        attributes |= {"DomainName": f"{name}.s3.amazonaws.com"}
    found = {logical: by_ref.get(kind, name)}
    found |= {f"{logical}.{attribute}": value for attribute, value in attributes.items()}
    if kind.startswith("AWS::Serverless::"):  # the role that SAM makes for a function
        for suffix, made in SUFFIXES.items():
            role = f"{name}{suffix}"
            found |= {f"{logical}{suffix}": role, f"{logical}{suffix}.Arn": _arn(made, role, region)}
        found |= {f"{logical}.Version": f"{arn}:1", f"{logical}.Alias": f"{arn}:live"}
    return found


def _arn(kind: str, name: str, region: str) -> str:
    service = kind.removeprefix("AWS::").lower().replace("::", ":")
    shape = ARNS.get(kind) or f"arn:aws:{service}:{{region}}:{{account}}:{{name}}"
    if kind.startswith("Custom::") or "{" in kind:
        shape = "arn:aws:custom:{region}:{account}:{name}"
    return shape.format(region=region, account=ACCOUNT, name=name)
