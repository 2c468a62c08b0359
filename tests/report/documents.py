"""Documents as the recorder and the store make them, as many as are asked for, the same every time."""

import random

DAY_MS = 86_400_000
NOW_MS = 1_795_688_000_000
FUNCTIONS = {
    "OrdersFunction": (
        "apigateway",
        [("dynamodb", "UpdateItem"), ("dynamodb", "PutItem"), ("sqs", "SendMessage"), ("events", "PutEvents")],
    ),
    "PaymentsFunction": (
        "sqs", [("dynamodb", "GetItem"), ("api.payments.example", "POST"), ("dynamodb", "UpdateItem")],
    ),
    "ReportFunction": ("eventbridge", [("rates.example.com", "GET"), ("s3", "PutObject")]),
    "StreamFunction": ("dynamodb_stream", [("kinesis", "PutRecords"), ("sqs", "SendMessageBatch")]),
}  # fmt: skip
FAILURES = [
    ("partial", "MalformedDetail: Detail is malformed.", 0.02),
    ("throttled", "ProvisionedThroughputExceededException: Rate exceeded for table", 0.015),
    ("timeout", "ReadTimeout: no answer within 2000 ms", 0.012),
    ("error", "InternalServerError: attempt {n} of request {id} failed", 0.01),
    ("rejected", "ConditionalCheckFailedException: The conditional request failed", 0.02),
]
PACKAGES = [
    ("botocore", "runtime", 214.0, 77), ("app", "application", 85.0, 1), ("boto3", "runtime", 41.0, 31),
    ("aws_lambda_powertools", "application", 154.0, 115), ("urllib3", "runtime", 70.0, 30),
    ("coldspan", "layer", 1.6, 10),
]  # fmt: skip
FRAMES = [
    "/var/lang/lib/python3.13/socket.py:719 readinto",
    "/var/task/app.py:22 place_order",
    "/var/task/app.py:52 handler",
]  # fmt: skip
TREE = [
    ["coldspan.boot.handlers", 0, 1_600, 1_600], ["app", 0, 740_000, 85_000], ["boto3", 1, 340_000, 41_000],
    ["botocore", 2, 290_000, 214_000], ["urllib3", 3, 70_000, 70_000], ["aws_lambda_powertools", 1, 154_000, 90_000],
    ["aws_lambda_powertools.logging", 2, 64_000, 64_000],
]  # fmt: skip


def documents(count, seed=7):
    """So many invocations over a day, newest first."""
    made = random.Random(seed)  # noqa: S311 - test data
    return [_document(made, index, count) for index in range(count)]


def _document(made, index, count):
    name = made.choices(list(FUNCTIONS), (50, 30, 8, 12))[0]
    trigger, operations = FUNCTIONS[name]
    cold = made.random() < 0.05
    at_ms = NOW_MS - round(index * DAY_MS / max(1, count)) - made.randrange(1_000)
    bits = f"{made.getrandbits(128):032x}"
    request_id = f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-8{bits[17:20]}-{bits[20:]}"
    span_id = f"{made.getrandbits(64):016x}"
    calls, offset = [], 1.0
    for tool, operation in operations:
        duration = made.lognormvariate(1.8, 0.7)
        status, message = "ok", ""
        for bad, text, share in FAILURES:
            if made.random() < share:
                status, message = bad, text.format(n=made.randrange(9), id=request_id)
                duration *= 9 if bad == "timeout" else 1
                break
        calls.append({
            "tool": tool, "operation": operation, "status": status, "success": status == "ok", "message": message,
            "duration_ms": round(duration, 3), "timestamp": round(at_ms + offset), "trace_id": "", "parent_id": span_id,
            "span_id": f"{made.getrandbits(64):016x}", "attempts": 3 if status == "throttled" else 1,
            "items": 10 if status == "partial" else None, "items_failed": 4 if status == "partial" else None,
            "phases": {"serialize": 0.2, "connect": 0.4, "send": 0.1, "wait": round(duration * 0.8, 3), "parse": 0.1},
            "attributes": {"cloud.region": "eu-west-1", "rpc.method": operation, "http.response.status_code": 200},
        })  # fmt: skip
        offset += duration
    outcome, more = "ok", {}
    drawn = made.random()
    if drawn < 0.012:
        outcome, more = "error", {"error_type": "KeyError", "error_message": f"'sku-{made.randrange(999)}'"}
    elif drawn < 0.018:
        calls[-1].update(status="in_flight", success=False, duration_ms=2_900.0)
        offset += 2_900
        outcome = "timeout"
        more = {
            "error_type": "Sandbox.Timedout", "told_by": "next_init", "evidence": ["stacks_taken_at_deadline"],
            "stacks": [{"thread": "MainThread", "frames": FRAMES}],
        }  # fmt: skip
    if cold:
        more |= {
            "InitDuration": made.uniform(500, 1_300),
            "init": {
                "import_ms": 740.0, "modules": 478, "split": {"runtime": 325.0, "layer": 1.6, "application": 239.0},
                "packages": [list(each) for each in PACKAGES], "tree_us": TREE, "calls": [],
            },
        }  # fmt: skip
    failures = sum(call["status"] in {"partial", "throttled", "timeout", "error"} for call in calls)
    return {
        "_aws": {"Timestamp": round(at_ms + offset), "CloudWatchMetrics": []}, "function_name": name,
        "Duration": round(offset + 0.5, 3), "CallTime": round(offset - 1, 3), "Overhead": made.randrange(150, 400),
        "Calls": len(calls), "CallFailures": failures, "CallRetries": 0, "start": "cold" if cold else "warm",
        "outcome": outcome, "flush": "after_response", "trigger": trigger, "request_id": request_id, "span_id": span_id,
        "function_version": "$LATEST", "memory_mb": 512, "ResponseBytes": 180, "calls": calls, **more,
        "platform": {
            "status": "success", "billed_duration_ms": round(offset) + 1, "max_memory_used_mb": 61, "memory_size_mb": 512,
        },
    }  # fmt: skip
