"""Makes the tables, queues, bus, bucket and stream that template.yaml names, on moto's server, for the samples.

`python -m coldspan_console.demo_resources ENDPOINT [PROVIDER]` makes them and prints each function's
environment variables.
"""

import json
import sys
from pathlib import Path

import boto3
import yaml

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
REGION = "eu-west-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_DEFAULT_REGION": REGION}

# What the events of the samples find: sku -> available, and orders waiting for their payment.
STOCK = {"LAMP-07": 400, "CHAIR-01": 3}
CARDS = ("tok_visa", "tok_visa", "tok_declined", "tok_visa", "tok_visa")
ORDERS = [
    {"id": f"order-{1000 + n}", "sku": "LAMP-07", "quantity": n, "amount_cents": 2990 * n, "payment": "open", "card": c}
    for n, c in enumerate(CARDS, start=1)
]


class TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref X` becomes {"Ref": "X"}, `!GetAtt X.Arn` {"GetAtt": "X.Arn"}."""


def _short_form(loader, name, node):
    read = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: loader.construct_sequence}
    return {name: read[type(node)](node)}


TemplateLoader.add_multi_constructor("!", _short_form)


def load(template=TEMPLATE):
    """The template as a dict."""
    return yaml.load(template.read_text(), TemplateLoader)  # noqa: S506 - a SafeLoader with tags that make dicts


def create(endpoint_url, provider_url="http://127.0.0.1:5001", template=TEMPLATE):
    """Make everything the samples use on a fresh moto server; give each function's environment variables.

    Takes:  the addresses of moto's server and of demo_provider. Gives: {folder under functions/: {name: value}}, with
    the region, credentials and endpoint that boto3 reads. Errors: botocore's, when something exists already.
    """
    document = load(template)
    resources, known = document["Resources"], {}
    for kind, (service, make) in MAKERS.items():
        client = boto3.client(
            service,
            endpoint_url=endpoint_url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        chosen = [(name, each.get("Properties", {})) for name, each in resources.items() if each["Type"] == kind]
        # A queue that names its dead letters comes after them.
        for name, properties in sorted(chosen, key=lambda pair: "RedrivePolicy" in pair[1]):
            known[name] = make(client, name, properties, known)
        client.close()
    for name, parameter in document["Parameters"].items():
        known[name] = {"Ref": provider_url if name.endswith("Url") else parameter["Default"]}
    shared = {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint_url}
    every = document["Globals"]["Function"]["Environment"]["Variables"]
    return {
        Path(each["Properties"]["CodeUri"]).name: {**resolved({**every, **variables(each)}, known), **shared}
        for each in resources.values()
        if each["Type"] == "AWS::Serverless::Function"
    }


def variables(function):
    """The environment variables in a function's resource, unresolved."""
    return function["Properties"].get("Environment", {}).get("Variables", {})


def resolved(values, known):
    """`values` with `!Ref` and `!GetAtt` replaced by what was made; those that refer to AWS::NoValue are left out."""
    answer = {}
    for name, value in values.items():
        if value == {"Ref": "AWS::NoValue"}:
            continue
        answer[name] = value
        if isinstance(value, dict):
            ((kind, target),) = value.items()
            resource, _, attribute = target.partition(".") if kind == "GetAtt" else (target, "", "Ref")
            answer[name] = known[resource][attribute]
    return answer


def bucket(s3, name, properties, known):  # noqa: ARG001 - every maker takes the same
    """A bucket; its name may have no capitals."""
    s3.create_bucket(Bucket=name.lower(), CreateBucketConfiguration={"LocationConstraint": REGION})
    return {"Ref": name.lower(), "Arn": f"arn:aws:s3:::{name.lower()}"}


def table(dynamodb, name, properties, known):  # noqa: ARG001
    """A table, with the rows of the demo when it is one of theirs."""
    stream = properties.get("StreamSpecification")
    made = dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=properties["AttributeDefinitions"],
        KeySchema=properties["KeySchema"],
        BillingMode=properties["BillingMode"],
        **({"StreamSpecification": {"StreamEnabled": True, **stream}} if stream else {}),
    )["TableDescription"]
    rows = {
        "StockTable": [{"sku": sku, "available": count} for sku, count in STOCK.items()],
        "OrdersTable": ORDERS,
    }
    for row in rows.get(name, []):
        item = {key: {"N": str(value)} if isinstance(value, int) else {"S": value} for key, value in row.items()}
        dynamodb.put_item(TableName=name, Item=item)
    return {"Ref": name, "Arn": made["TableArn"], "StreamArn": made.get("LatestStreamArn")}


def queue(sqs, name, properties, known):
    """A queue, with its dead letters."""
    attributes = {}
    if "RedrivePolicy" in properties:
        policy = properties["RedrivePolicy"]
        dead = resolved({"arn": policy["deadLetterTargetArn"]}, known)["arn"]
        redrive = {"deadLetterTargetArn": dead, "maxReceiveCount": policy["maxReceiveCount"]}
        attributes["RedrivePolicy"] = json.dumps(redrive)
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return {"Ref": url, "Arn": arn, "QueueName": name}


def bus(events, name, properties, known):  # noqa: ARG001
    """An event bus."""
    return {"Ref": name, "Arn": events.create_event_bus(Name=name)["EventBusArn"], "Name": name}


def delivery_stream(firehose, name, properties, known):
    """A delivery stream into the bucket; moto writes each batch at once."""
    target = properties["ExtendedS3DestinationConfiguration"]
    arn = firehose.create_delivery_stream(
        DeliveryStreamName=name,
        DeliveryStreamType=properties["DeliveryStreamType"],
        ExtendedS3DestinationConfiguration={
            "BucketARN": resolved({"arn": target["BucketARN"]}, known)["arn"],
            "RoleARN": "arn:aws:iam::123456789012:role/archive",
            "Prefix": target["Prefix"],
        },
    )["DeliveryStreamARN"]
    return {"Ref": name, "Arn": arn}


MAKERS = {
    "AWS::S3::Bucket": ("s3", bucket),  # before the stream that writes into it
    "AWS::DynamoDB::Table": ("dynamodb", table),
    "AWS::SQS::Queue": ("sqs", queue),
    "AWS::Events::EventBus": ("events", bus),
    "AWS::KinesisFirehose::DeliveryStream": ("firehose", delivery_stream),
}

if __name__ == "__main__":
    print(json.dumps(create(*sys.argv[1:3]), indent=2))
