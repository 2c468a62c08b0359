"""The outcome table: complete over botocore's models, true to them, and right about what was sent and what failed."""

import fnmatch
import tomllib
from pathlib import Path
from types import SimpleNamespace

import botocore
import pytest

from coldspan.core import outcomes
from coldspan.hot.aws_call import load, rule_for
from support import service_models

EXCLUSIONS = Path(__file__).parents[1] / "data" / "outcome_exclusions.toml"
# botocore's version: suspect members, lists with suspect elements
WALKED = {"1.44.5": (571, 129), "1.44.8": (583, 129)}


@pytest.fixture(scope="module")
def table():
    return load()


@pytest.fixture(scope="module")
def exclusions():
    return tomllib.loads(EXCLUSIONS.read_text())["exclusion"]


@pytest.fixture(scope="module")
def candidates():
    members, lists = service_models.candidates()
    return members | lists


def lines(table):
    """(service, operations, items, failed) of each line of the table."""
    service = ""
    for line in table.decode().splitlines():
        if line.startswith(" "):
            names, items, failed = line.split()
            yield service, names.split(","), items, failed
        elif not line.startswith("#"):
            service = line


def members_of(rule):
    """The output members that a rule reads."""
    details = [name for term in rule.terms for name in term.detail or ()]
    return {term.member for term in rule.terms} | set(details)


@pytest.mark.timeout(120)  # it reads some 400 models
def test_walk_of_the_service_models_finds_as_many_suspects_as_were_judged():
    """A walk that silently finds less would prove nothing."""
    members, lists = service_models.candidates()
    known = WALKED.get(botocore.__version__)
    if known is None:
        assert len(members) >= 571
        assert len(lists) >= 129
    else:
        assert (len(members), len(lists)) == known


def test_every_suspect_member_is_in_the_table_or_excluded_with_a_reason(table, exclusions, candidates):
    """A 200 that hides a failure is never taken for ok because nobody looked."""
    patterns = [pattern for exclusion in exclusions for pattern in exclusion["members"]]
    unjudged = []
    for service, operation, member in sorted(candidates):
        rule = rule_for(table, service, operation)
        if rule is not None and member in members_of(rule):
            continue
        name = f"{service}.{operation}.{member}"
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            unjudged.append(name)
    assert not unjudged, (
        f"botocore {botocore.__version__} has members that nobody has judged. Read the documentation of each: if it "
        f"tells of something that this call was asked for and did not do, give its operation a line in "
        f"core/outcomes.txt, else name it in {EXCLUSIONS.name} with the reason. Then add the version's numbers to "
        "WALKED.\n" + "\n".join(unjudged)
    )


def test_exclusions_each_match_a_suspect_and_say_why(exclusions, candidates):
    """An exclusion that matches nothing hides a typing error."""
    names = [".".join(candidate) for candidate in candidates]
    for exclusion in exclusions:
        assert len(exclusion["reason"].split()) >= 5
        idle = [pattern for pattern in exclusion["members"] if not fnmatch.filter(names, pattern)]
        assert idle == []


def test_exclusions_and_table_do_not_both_claim_a_member(table, exclusions, candidates):
    """What is excluded as harmless is not read as a failure."""
    both = []
    for service, operation, member in candidates:
        rule = rule_for(table, service, operation)
        name = f"{service}.{operation}.{member}"
        patterns = [pattern for exclusion in exclusions for pattern in exclusion["members"]]
        excluded = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        if rule is not None and excluded and member in members_of(rule):
            both.append(name)
    assert both == []


def test_table_names_only_what_the_service_models_have(table):
    """A misspelt member reads every answer as ok."""
    wrong = []
    for service, operations, items, failed in lines(table):
        model = service_models.models().get(service)
        if model is None:
            wrong.append(service)
            continue
        for operation in operations:
            if operation == "*":
                continue
            if operation not in model["operations"]:
                wrong.append(f"{service}.{operation}")
                continue
            rule = outcomes.Rule(items, failed)
            wrong += [f"{service}.{operation}: {name}" for name in unknown_names(model, operation, rule)]
    assert wrong == []


def unknown_names(model, operation, rule):
    """Names of a rule that are neither parameters nor output members, and shapes that do not suit them."""
    outputs = service_models.output_members(model, operation)
    inputs = service_models.input_members(model, operation)
    for (first, *rest), shape, default in rule.items:
        found = inputs.get(first)
        for name in rest:
            found = (
                service_models.shape_members(model, {"shape": shape_name(model, found)}).get(name) if found else None
            )
        wanted = "map" if shape else "integer" if default is not None else "list"
        if found is None or found["type"] != wanted:
            yield f"{first} is no {wanted}"
    for term in rule.terms:
        if term.shape == "@":
            yield from (name for name in term.detail if name not in outputs)
            continue
        found = outputs.get(term.member)
        if found is None or (term.shape and found["type"] != ("map" if term.shape == "{}" else "list")):
            yield term.member
        elif term.sub:
            element = service_models.shape_members(model, found["member"]).get(term.sub)
            if element is None:
                yield term.sub
            elif set(term.values) - set(element.get("enum", term.values)):
                yield f"values of {term.sub}"
        yield from (name for name in term.detail or () if name not in outputs)


def shape_name(model, shape):
    """The name under which a model keeps a shape."""
    return next(name for name, known in model["shapes"].items() if known is shape)


def read(table, operation, params, answer):
    """What the table reads of an answer: (items, items_failed, cause, error_type, error_text)."""
    service, _, operation = operation.partition(".")
    call = SimpleNamespace(items=None, items_failed=None, cause="", error_type="", error_text="")
    outcomes.read_outcome(call, rule_for(table, service, operation), params, answer)
    return tuple(vars(call).values())


ANSWERS = [
    (
        "dynamodb.BatchWriteItem",
        {"RequestItems": {"a": [{}, {}, {}], "b": [{}]}},
        {"UnprocessedItems": {"a": [{"PutRequest": {"Item": {"code": {"S": "secret"}}}}]}},
        (4, 1, "", "UnprocessedItems", ""),
    ),
    (
        "dynamodb.BatchGetItem",
        {"RequestItems": {"a": {"Keys": [{}, {}, {}]}, "b": {"Keys": [{}]}}},
        {"UnprocessedKeys": {"a": {"Keys": [{"code": {"S": "secret"}}, {}], "ConsistentRead": True}}},
        (4, 2, "", "UnprocessedKeys", ""),
    ),
    (
        "dynamodb.BatchExecuteStatement",
        {"Statements": [{}, {}, {}]},
        {"Responses": [{}, {"Error": {"Code": "DuplicateItem", "Message": "it is there"}}, {"TableName": "t"}]},
        (3, 1, "", "DuplicateItem", "it is there"),
    ),
    ("dynamodb.TransactWriteItems", {"TransactItems": [{}, {}]}, {}, (2, 0, "", "", "")),
    (
        "sqs.SendMessageBatch",
        {"Entries": [{}, {}, {}]},
        {"Successful": [{}], "Failed": [{"Id": "1", "SenderFault": True, "Code": "InternalError"}, {"Id": "2"}]},
        (3, 2, "", "InternalError", ""),
    ),
    ("sqs.DeleteMessageBatch", {"Entries": [{}]}, {"Successful": [{}]}, (1, 0, "", "", "")),
    (
        "sns.PublishBatch",
        {"PublishBatchRequestEntries": [{}, {}]},
        {"Failed": [{"Id": "1", "Code": "InternalError", "Message": "try again", "SenderFault": False}]},
        (2, 1, "", "InternalError", "try again"),
    ),
    (
        "s3.DeleteObjects",
        {"Bucket": "b", "Delete": {"Objects": [{"Key": "a"}, {"Key": "b"}]}},
        {"Errors": [{"Key": "b", "Code": "AccessDenied", "Message": "Access Denied"}]},
        (2, 1, "", "AccessDenied", "Access Denied"),
    ),
    (
        "events.PutEvents",
        {"Entries": [{}, {}]},
        {
            "FailedEntryCount": 1,
            "Entries": [{"EventId": "x"}, {"ErrorCode": "NotAuthorized", "ErrorMessage": "no way"}],
        },
        (2, 1, "", "NotAuthorized", "no way"),
    ),
    (
        "events.PutTargets",
        {"Targets": [{}, {}]},
        {"FailedEntryCount": 2, "FailedEntries": [{"TargetId": "1", "ErrorCode": "Gone"}, {"TargetId": "2"}]},
        (2, 2, "", "Gone", ""),
    ),
    (
        "kinesis.PutRecords",
        {"Records": [{}, {}, {}]},
        {"FailedRecordCount": 1, "Records": [{}, {"ErrorCode": "InternalFailure", "ErrorMessage": "oh no"}, {}]},
        (3, 1, "", "InternalFailure", "oh no"),
    ),
    (
        "firehose.PutRecordBatch",
        {"Records": [{}, {}]},
        {"FailedPutCount": 2, "RequestResponses": [{"ErrorCode": "ServiceUnavailableException"}, {"ErrorCode": "x"}]},
        (2, 2, "", "ServiceUnavailableException", ""),
    ),
    ("lambda.Invoke", {}, {"StatusCode": 200}, (None, None, "", "", "")),
    ("lambda.Invoke", {}, {"FunctionError": "Unhandled"}, (None, None, "error", "Unhandled", "")),
    ("stepfunctions.StartSyncExecution", {}, {"status": "SUCCEEDED"}, (None, None, "", "", "")),
    (
        "stepfunctions.StartSyncExecution",
        {},
        {"status": "FAILED", "error": "Payment.Declined", "cause": "no money"},
        (None, None, "error", "Payment.Declined", "no money"),
    ),
    ("stepfunctions.StartSyncExecution", {}, {"status": "ABORTED"}, (None, None, "error", "ABORTED", "")),
    ("stepfunctions.StartSyncExecution", {}, {"status": "TIMED_OUT"}, (None, None, "timeout", "TIMED_OUT", "")),
    (
        "logs.PutLogEvents",
        {"logEvents": [{}] * 10},
        {"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 2, "tooNewLogEventStartIndex": 9}},
        (10, 3, "", "tooOldLogEventEndIndex", ""),
    ),
    ("logs.PutLogEvents", {"logEvents": [{}] * 3}, {}, (3, 0, "", "", "")),
    ("cloudwatch.PutMetricData", {"MetricData": [{}, {}]}, {}, (2, 0, "", "", "")),
    (
        "cloudwatch.GetMetricData",
        {"MetricDataQueries": [{}, {}]},
        {"MetricDataResults": [{"StatusCode": "Complete"}, {"StatusCode": "InternalError"}]},
        (2, 1, "", "MetricDataResults", ""),
    ),
    (
        "ecs.RunTask",
        {},
        {"failures": [{"arn": "arn:x", "reason": "RESOURCE:MEMORY"}]},
        (1, 1, "", "RESOURCE:MEMORY", ""),
    ),
    ("ecs.RunTask", {"count": 4}, {"failures": []}, (4, 0, "", "", "")),
    (
        "ssm.GetParameters",
        {"Names": ["/a", "/b"]},
        {"InvalidParameters": ["/b"]},
        (2, 1, "", "InvalidParameters", "/b"),
    ),
    ("ssm.DeleteParameters", {"Names": ["a"]}, {"InvalidParameters": []}, (1, 0, "", "", "")),
    (
        "secretsmanager.BatchGetSecretValue",
        {"SecretIdList": ["a", "b"]},
        {"Errors": [{"SecretId": "b", "ErrorCode": "ResourceNotFoundException", "Message": "it is not there"}]},
        (2, 1, "", "ResourceNotFoundException", "it is not there"),
    ),
    (
        "xray.PutTraceSegments",
        {"TraceSegmentDocuments": ["{}", "{}"]},
        {"UnprocessedTraceSegments": [{"Id": "1", "ErrorCode": "ParseError", "Message": "bad id"}]},
        (2, 1, "", "ParseError", "bad id"),
    ),
    (
        "comprehend.BatchDetectSentiment",
        {"TextList": ["a", "b"]},
        {"ErrorList": [{"Index": 1, "ErrorCode": "INTERNAL_SERVER", "ErrorMessage": "sorry about that"}]},
        (2, 1, "", "INTERNAL_SERVER", "sorry about that"),
    ),
    (
        "ses.SendBulkTemplatedEmail",
        {"Destinations": [{}, {}]},
        {"Status": [{"Status": "Success", "MessageId": "1"}, {"Status": "MessageRejected", "Error": "not verified"}]},
        (2, 1, "", "MessageRejected", "not verified"),
    ),
    (
        "sesv2.SendBulkEmail",
        {"BulkEmailEntries": [{}, {}]},
        {"BulkEmailEntryResults": [{"Status": "SUCCESS"}, {"Status": "FAILED", "Error": "not verified"}]},
        (2, 1, "", "FAILED", "not verified"),
    ),
    (
        "glue.BatchCreatePartition",
        {"PartitionInputList": [{}, {}]},
        {
            "Errors": [
                {"PartitionValues": ["1"], "ErrorDetail": {"ErrorCode": "AlreadyExists", "ErrorMessage": "was there"}}
            ]
        },
        (2, 1, "", "AlreadyExists", "was there"),
    ),
    (
        "config.PutRemediationExceptions",
        {"ResourceKeys": [{}, {}, {}]},
        {"FailedBatches": [{"FailureMessage": "not now", "FailedItems": [{}, {}]}]},
        (3, 2, "", "FailedBatches", "not now"),
    ),
    (
        "resourcegroupstaggingapi.TagResources",
        {"ResourceARNList": ["a", "b"]},
        {"FailedResourcesMap": {"a": {"StatusCode": 400, "ErrorCode": "InvalidParameterException"}}},
        (2, 1, "", "InvalidParameterException", ""),
    ),
    (
        "lightsail.CreateDisk",
        {},
        {"operations": [{"status": "Failed", "errorCode": "Quota", "errorDetails": "too many disks"}]},
        (None, 1, "", "Quota", "too many disks"),
    ),
    ("amplifybackend.CreateBackend", {}, {"Error": "it broke"}, (None, None, "error", "Error", "it broke")),
    (
        "apiportal.AssociateManagedApis",
        {"managedApiIds": ["a", "b"]},
        {"failedItems": [{"managedApiId": "b", "errorCode": "MANAGED_API_NOT_FOUND", "errorMessage": "not there"}]},
        (2, 1, "", "MANAGED_API_NOT_FOUND", "not there"),
    ),
    (
        "apiportal.CreateProduct",
        {},
        {"status": "FAILED", "failureReason": "EVALUATION_ERROR"},
        (None, None, "error", "EVALUATION_ERROR", ""),
    ),
    ("apiportal.CreateProduct", {}, {"status": "IN_PROGRESS"}, (None, None, "", "", "")),
    (
        "rtbfabric.AcceptLink",
        {},
        {"status": "FAILED", "errorDetails": [{"code": "VPC_NOT_FOUND", "message": "it is gone"}]},
        (None, None, "error", "VPC_NOT_FOUND", "it is gone"),
    ),
    (
        "sagemaker.MoveClusterNodes",
        {"NodeLogicalIds": ["a", "b"]},
        {"FailedNodeLogicalIds": [{"NodeLogicalId": "b", "Code": "NodeIdInUse", "Message": "not now"}]},
        (2, 1, "", "NodeIdInUse", "not now"),
    ),
    ("sagemaker.MoveClusterNodes", {"InstanceCount": 3}, {"Successful": ["a", "b", "c"]}, (3, 0, "", "", "")),
]


@pytest.mark.parametrize(("operation", "params", "answer", "wanted"), ANSWERS)
def test_answer_is_read_for_what_was_sent_and_what_failed(table, operation, params, answer, wanted):
    """`items` and `items_failed` are exact, and the first failed item says why."""
    assert read(table, operation, params, answer) == wanted


def test_rule_for_a_whole_service_leaves_its_reads_alone(table):
    """An old failure that is only looked up is not a failure of the look-up."""
    assert rule_for(table, "lightsail", "GetOperations") is None
    assert rule_for(table, "lightsail", "CreateDisk") is not None


def test_operation_without_rule_has_none(table):
    """Most calls pay nothing for the table."""
    assert rule_for(table, "dynamodb", "PutItem") is None
    assert rule_for(table, "a-service-of-tomorrow", "PutItem") is None


def test_texts_read_from_an_answer_are_bounded(table):
    """What is kept of an answer is short, however long the answer."""
    answer = {"Failed": [{"Id": "1", "Code": "C" * 9_999, "Message": "m " * 9_999}]}
    _, _, _, code, text = read(table, "sqs.SendMessageBatch", {"Entries": [{}]}, answer)
    assert len(code) == 128
    assert len(text) == 1_024
