"""A library's pick-up shelf: tell the readers whose books have come, and print the slips that go into the books."""

import json
import os

import boto3

shelves = boto3.resource("dynamodb").Table(os.environ["SHELVES_TABLE"])
sns, sqs = boto3.client("sns"), boto3.client("sqs")
NOTICE = '{"default": "Ready for you: %(title)s", "sqs": "%(title)s, reader %(reader)s"}'  # to a phone, to the printer


def shelve(shelf, books):
    notices = [
        {"Id": str(number), "MessageStructure": "json", "Message": NOTICE % book} for number, book in enumerate(books)
    ]
    sns.publish_batch(TopicArn=os.environ["NOTICES_TOPIC"], PublishBatchRequestEntries=notices)
    shelves.put_item(Item={"shelf": shelf, "books": len(books)})
    return {"told": len(books)}


def print_slips(shelf):
    books = shelves.get_item(Key={"shelf": shelf})["Item"]["books"]
    queue, slips = os.environ["SLIPS_QUEUE"], []
    while len(slips) < books:
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=20)
        slips += answer.get("Messages", [])
    done = [{"Id": slip["MessageId"], "ReceiptHandle": slip["ReceiptHandle"]} for slip in slips]
    sqs.delete_message_batch(QueueUrl=queue, Entries=done)
    return {"slips": [json.loads(slip["Body"])["Message"] for slip in slips]}


def handler(event, context):
    shelf = event["pathParameters"]["shelf"]
    answer = print_slips(shelf) if event["rawPath"].endswith("/slips") else shelve(shelf, json.loads(event["body"]))
    return {"statusCode": 200, "body": json.dumps(answer)}
