"""The function that `sam init` makes."""

import json


def lambda_handler(event, context):
    """Say hello."""
    return {"statusCode": 200, "body": json.dumps({"message": "hello world"})}
