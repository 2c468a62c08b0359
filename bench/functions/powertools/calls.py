"""The function with two calls, with Tracer, Metrics and Logger, in the order that Powertools documents."""

import json
import os

import boto3
import requests
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

tracer = Tracer()
logger = Logger()
metrics = Metrics()

dynamodb = boto3.client("dynamodb")
PRICES = os.environ["PRICES_URL"]


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict, _context: object) -> dict:
    """Read one item and ask for its price; one metric, because Powertools warns when there is none."""
    metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=1)
    item = dynamodb.get_item(TableName="orders", Key={"id": {"S": event["order"]}})["Item"]
    price = requests.get(PRICES, timeout=2).json()["price"]
    return {"statusCode": 200, "body": json.dumps({"order": item["id"]["S"], "price": price})}
