"""The loop of a custom runtime."""

import http.client
import importlib
import json
import os
import sys
import time
import types

PATH = "/2018-06-01/runtime/invocation/"
task = os.environ["LAMBDA_TASK_ROOT"]
sys.path.insert(0, task)
module, _, name = os.environ["_HANDLER"].rpartition(".")
handler = getattr(importlib.import_module(module), name)
platform = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def request(method, path, body=None):
    """One request; the answer's headers and body."""
    platform.request(method, path, body)
    answer = platform.getresponse()
    return answer.headers, answer.read()


while True:
    headers, event = request("GET", PATH + "next")
    request_id, deadline_ms = headers["Lambda-Runtime-Aws-Request-Id"], int(headers["Lambda-Runtime-Deadline-Ms"])
    context = types.SimpleNamespace(
        aws_request_id=request_id,
        invoked_function_arn=headers["Lambda-Runtime-Invoked-Function-Arn"],
        get_remaining_time_in_millis=lambda until=deadline_ms: until - time.time_ns() // 1_000_000,
    )
    request("POST", f"{PATH}{request_id}/response", json.dumps(handler(json.loads(event), context)))
