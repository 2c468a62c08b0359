"""A function with two downstream calls, one to DynamoDB and one to an HTTP service."""

import json
import os

import boto3
import requests

dynamodb = boto3.client("dynamodb")
PRICES = os.environ["PRICES_URL"]


def handler(event: dict, _context: object) -> dict:
    """Read one item and ask for its price."""
    item = dynamodb.get_item(TableName="orders", Key={"id": {"S": event["order"]}})["Item"]
    price = requests.get(PRICES, timeout=2).json()["price"]
    return {"statusCode": 200, "body": json.dumps({"order": item["id"]["S"], "price": price})}
