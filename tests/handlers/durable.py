"""Answers as a durable function's SDK does."""


def handler(event, context):
    """Give the status that the event names."""
    return {"Status": event["answer"]} if event["answer"] else {"other": True}
