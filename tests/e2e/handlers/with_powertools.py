"""A function with Powertools' Tracer, Metrics and Logger."""

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from order import instrumented

tracer = Tracer(service="shop")
metrics = Metrics(namespace="shop", service="shop")
logger = Logger(service="shop")

import work


@tracer.capture_method
def priced(event, context):
    """The work, as a subsegment of its own."""
    return work.work(event, context)


def run(event, context):
    """The work, told in the neighbour's words."""
    metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=1)
    tracer.put_annotation(key="order", value="1")
    logger.info("ordered", extra={"order": "1"})
    return priced(event, context)


def theirs(handler):
    """Their decorators, in the order of their documentation."""
    handler = tracer.capture_lambda_handler(handler)
    handler = metrics.log_metrics(handler, capture_cold_start_metric=True)
    return logger.inject_lambda_context(handler)


handler = instrumented(run, theirs)
