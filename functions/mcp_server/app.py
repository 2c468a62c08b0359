"""Order tools for an AI agent: a stateless MCP server behind an API Gateway HTTP API."""

import json
import os
from urllib.request import Request, urlopen

import boto3

orders = boto3.resource("dynamodb").Table(os.environ["ORDERS_TABLE"])


def get_order(order_id):
    """Look an order up by its id."""
    order = orders.get_item(Key={"id": order_id}).get("Item")
    if order is None:
        raise LookupError(f"there is no order {order_id}")
    return {name: str(order[name]) for name in ("id", "sku", "quantity", "payment", "card")}


def refund_order(order_id):
    """Give the money of an order back."""
    body = json.dumps({"order_id": order_id, "card": get_order(order_id)["card"]}).encode()
    request = Request(os.environ["PROVIDER_URL"] + "/refunds", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=float(os.environ["PROVIDER_TIMEOUT_SECONDS"])) as answer:
        return json.load(answer)


TOOLS = {"get_order": get_order, "refund_order": refund_order}
SCHEMA = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}


def initialize(params):
    server = {"name": "orders", "version": "1.0.0"}
    return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": server}


def list_tools(params):
    return {"tools": [{"name": n, "description": t.__doc__, "inputSchema": SCHEMA} for n, t in TOOLS.items()]}


def call_tool(params):
    try:
        text, failed = json.dumps(TOOLS[params["name"]](**params["arguments"])), False
    except (LookupError, OSError) as error:  # the agent reads what went wrong and may try something else
        text, failed = f"{type(error).__name__}: {error}", True
    return {"content": [{"type": "text", "text": text}], "isError": failed}


METHODS = {"initialize": initialize, "tools/list": list_tools, "tools/call": call_tool}


def handler(event, context):
    request = json.loads(event["body"])
    if "id" not in request:  # a notification wants no answer
        return {"statusCode": 202}
    answer = {"jsonrpc": "2.0", "id": request["id"]}
    if request["method"] in METHODS:
        answer["result"] = METHODS[request["method"]](request.get("params", {}))
    else:
        answer["error"] = {"code": -32601, "message": f"there is no method {request['method']}"}
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(answer)}
