"""The plain function with Tracer, Metrics and Logger, in the order that Powertools documents."""

import json

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

tracer = Tracer()
logger = Logger()
metrics = Metrics()


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict, _context: object) -> dict:
    """Answer with what was asked for; one metric, because Powertools warns when there is none."""
    metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=1)
    return {"statusCode": 200, "body": json.dumps({"order": event["order"]})}
