"""Order stream: archive what changed, and remind the customers who have not paid."""

import json
import os

import boto3

firehose, queue = boto3.client("firehose"), boto3.client("sqs")


def handler(event, context):
    rows, reminders = [], []
    for record in event["Records"]:
        change, number = record["dynamodb"], record["dynamodb"]["SequenceNumber"]
        try:
            image = change["NewImage"] if record["eventName"] != "REMOVE" else change["OldImage"]
            row = {"change": record["eventName"], "id": image["id"]["S"], "cents": int(image["amount_cents"]["N"])}
            delay = int(image.get("remind_after_seconds", {"N": "-1"})["N"])
        except (KeyError, ValueError):  # a poison record: what stood before it is kept, the stream resumes at it
            return keep(rows, reminders) or failed(number)
        rows.append({"Data": json.dumps(row) + "\n"})
        if delay >= 0:
            reminders.append({"Id": number, "MessageBody": row["id"], "DelaySeconds": delay})
    return keep(rows, reminders) or {"batchItemFailures": []}


def failed(number):
    return {"batchItemFailures": [{"itemIdentifier": number}]}


def keep(rows, reminders):
    if rows:
        firehose.put_record_batch(DeliveryStreamName=os.environ["ARCHIVE_STREAM"], Records=rows)
    if reminders:
        answer = queue.send_message_batch(QueueUrl=os.environ["REMINDERS_QUEUE"], Entries=reminders)
        refused = {entry["Id"] for entry in answer.get("Failed", [])}
        return next((failed(reminder["Id"]) for reminder in reminders if reminder["Id"] in refused), None)
    return None
