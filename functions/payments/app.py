"""Payments worker: charge the card of each order in the batch; what failed comes back, and only that."""

import os

import boto3
import requests
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

orders = boto3.resource("dynamodb").Table(os.environ["ORDERS_TABLE"])
processor = BatchProcessor(event_type=EventType.SQS)
CHARGES = os.environ["PROVIDER_URL"] + "/charges"
TIMEOUT_SECONDS = float(os.environ["PROVIDER_TIMEOUT_SECONDS"])


def charge(record):
    payment = record.json_body
    answer = requests.post(CHARGES, json=payment, timeout=TIMEOUT_SECONDS)
    if answer.status_code != requests.codes.payment_required:  # a declined card is an answer, not a failure
        answer.raise_for_status()
    orders.update_item(
        Key={"id": payment["order_id"]},
        UpdateExpression="SET payment = :state",
        ConditionExpression="attribute_exists(id)",
        ExpressionAttributeValues={":state": "paid" if answer.ok else "declined"},
    )


def handler(event, context):
    return process_partial_response(event=event, record_handler=charge, processor=processor, context=context)
