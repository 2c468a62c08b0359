"""A function that brings its own way of reading events and writing results, as the runtime client allows."""

import json

from awslambdaric.lambda_runtime_client import LambdaRuntimeClient
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller


class Own(LambdaMarshaller):
    """Events in capitals, results between brackets."""

    def unmarshal_request(self, request, content_type="application/json"):
        return json.loads(request.upper())

    def marshal_response(self, response):
        if response == "REFUSE":
            raise ValueError("a marshaller of one's own may raise")
        return f"<{response}>", "text/own"


LambdaRuntimeClient.marshaller = Own()


def handler(event, context):
    """Give the event back."""
    return event
