"""moto's server as the AWS of a local run, with the resources that the template declares."""

import contextlib
import json
from typing import TYPE_CHECKING, Any

from coldspan_console.output import MISSING, ConsoleError
from coldspan_console.project.names import default_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldspan_console.output import Output
    from coldspan_console.project import Project

MOTO, NONE, ACCOUNT = "moto", "none", "account"
# type -> the property that names it: a resource gets the name that the template's variables have
NAMED = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Events::EventBus": "Name",
    "AWS::Kinesis::Stream": "Name",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SSM::Parameter": "Name",
    "AWS::SecretsManager::Secret": "Name",
}
SIMPLE_TABLE = "AWS::Serverless::SimpleTable"
NOT_IN_MOTO = ("RedriveAllowPolicy", "NotificationConfiguration")


@contextlib.contextmanager
def endpoint(word: "str | None", project: "Project | None", region: str, output: "Output") -> "Iterator[str | None]":
    """The address of the AWS that functions are to use: none, a URL, or moto's server for as long as the block runs."""
    if word in {None, "", NONE, ACCOUNT}:
        yield None
    elif word == MOTO:
        try:
            import moto.server  # noqa: F401 - says whether it is there

            from coldspan_console.demo import Moto
        except ImportError:
            todo = "pip install 'moto[server]', or name an endpoint: --aws http://127.0.0.1:4566"
            raise ConsoleError("moto's server is not installed here", todo=todo, exit_code=MISSING) from None
        with output.progress("starting moto's server"):
            server = Moto()
            entered = server.__enter__()
        try:
            if project is not None:
                for problem in create(project.resources, entered.url, region):
                    output.note(problem)
            yield entered.url
        finally:
            server.__exit__()
    elif word.startswith(("http://", "https://")):
        yield word
    else:
        raise ConsoleError(f"--aws {word}", todo=f"say {MOTO}, {ACCOUNT}, {NONE}, or a URL")


def credentials() -> "dict[str, str]":
    """The variables of this shell's own credentials, as boto3 finds them. Errors: ConsoleError when there are none."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = boto3.Session().get_credentials()
        frozen = found.get_frozen_credentials() if found is not None else None
    except (BotoCoreError, ClientError) as error:
        raise ConsoleError(f"no AWS credentials: {error}", exit_code=MISSING) from None
    if frozen is None or not frozen.access_key:
        todo = "log in (aws sso login, aws configure), or take --aws moto"
        raise ConsoleError("no AWS credentials in this shell", todo=todo, exit_code=MISSING)
    named = {"AWS_ACCESS_KEY_ID": frozen.access_key, "AWS_SECRET_ACCESS_KEY": frozen.secret_key}
    return {**named, "AWS_SESSION_TOKEN": frozen.token} if frozen.token else named


def create(resources: "dict[str, Any]", url: str, region: str) -> "list[str]":
    """Make the resources that moto knows, by its CloudFormation, one stack each; what could not be made, in words."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError, WaiterError

    client = boto3.client(
        "cloudformation",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - moto takes any
    )
    problems = []
    for logical, resource in sorted(
        resources.items(), key=lambda item: "RedrivePolicy" in json.dumps(item[1], default=str)
    ):
        made = _made(logical, resource)
        if made is None:
            continue
        try:
            client.create_stack(StackName=logical, TemplateBody=json.dumps({"Resources": {logical: made}}, default=str))
        except (BotoCoreError, ClientError, WaiterError) as error:
            problems.append(f"{logical} ({resource['Type']}) could not be made on moto: {error}")
    return problems


def _made(logical: str, resource: "dict[str, Any]") -> "dict[str, Any] | None":
    kind = resource.get("Type")
    properties = {name: value for name, value in (resource.get("Properties") or {}).items() if name not in NOT_IN_MOTO}
    if kind == SIMPLE_TABLE:
        key = properties.get("PrimaryKey") or {"Name": "id", "Type": "String"}
        return {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "TableName": properties.get("TableName", logical),
                "AttributeDefinitions": [{"AttributeName": key["Name"], "AttributeType": key.get("Type", "String")[0]}],
                "KeySchema": [{"AttributeName": key["Name"], "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST",
            },
        }
    if kind not in NAMED:
        return None
    properties.setdefault(NAMED[kind], default_name(resource, logical))
    return {"Type": kind, "Properties": properties}
