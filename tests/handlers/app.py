"""The plainest function: it tells what it was given."""

count = 0


def handler(event, context):
    """Give the event back, and how often this has been called."""
    global count
    count += 1
    return {"event": event, "count": count, "request_id": context.aws_request_id}
