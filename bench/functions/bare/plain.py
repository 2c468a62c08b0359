"""A function that calls nothing: what is measured over it is the instrument alone."""

import json


def handler(event: dict, _context: object) -> dict:
    """Answer with what was asked for."""
    return {"statusCode": 200, "body": json.dumps({"order": event["order"]})}
