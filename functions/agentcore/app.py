"""A tool for an AI agent, called by Amazon Bedrock AgentCore Gateway: the event is the tool's arguments."""

import os

import boto3

orders = boto3.resource("dynamodb").Table(os.environ["ORDERS_TABLE"])
stock = boto3.resource("dynamodb").Table(os.environ["STOCK_TABLE"])


def handler(event, context):
    sent = getattr(context.client_context, "custom", None) or {}  # absent when invoked by hand
    tool = sent.get("bedrockAgentCoreToolName", "shop___check_order").rpartition("___")[2]  # <target>___<tool>
    key, table = ("id", orders) if tool == "check_order" else ("sku", stock)
    item = table.get_item(Key={key: event[key]}).get("Item")
    if item is None:
        return {"isError": True, "content": [{"type": "text", "text": f"{tool}: nothing is known of {event[key]}"}]}
    return {"isError": False, "content": [{"type": "text", "text": f"{tool}: {item}"}]}
