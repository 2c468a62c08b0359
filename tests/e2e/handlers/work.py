"""What the functions of this suite do: two calls that work, two that do not and, if asked to, an error of its own."""

import os

import boto3
import requests
from botocore.config import Config

URL = os.environ["STUB_URL"]
table = boto3.client("dynamodb", endpoint_url=URL, config=Config(retries={"total_max_attempts": 1}))


def work(event, context):
    """Write, ask, ask in vain, and write what is refused."""
    table.put_item(TableName="orders", Item={"id": {"S": "1"}})
    price = requests.get(URL + "/prices", timeout=5).json()
    broken = requests.get(URL + "/broken", timeout=5)
    try:
        table.delete_item(TableName="orders", Key={"id": {"S": "2"}}, ConditionExpression="attribute_exists(id)")
    except table.exceptions.ConditionalCheckFailedException as error:
        refused = error.response["Error"]["Code"]
    if event.get("end") == "raise":
        raise ValueError("after the calls")
    return {"price": price["price"], "broken": broken.status_code, "refused": refused}
