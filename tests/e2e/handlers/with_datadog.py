"""A function with Datadog's Lambda library and tracer; without its extension both write to the log."""

from order import instrumented  # isort: skip
from datadog_lambda.metric import lambda_metric  # isort: skip
from datadog_lambda.wrapper import datadog_lambda_wrapper  # isort: skip
import work


def run(event, context):
    """The work, told in the neighbour's words."""
    lambda_metric("shop.orders", 1)
    return work.work(event, context)


handler = instrumented(run, datadog_lambda_wrapper)
