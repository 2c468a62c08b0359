"""The outcome table: complete over botocore's models, true to them, and right about what was sent and what failed."""

import contextlib
import fnmatch
import tomllib
from pathlib import Path
from types import SimpleNamespace

import botocore
import pytest
from packaging.version import Version

from coldspan.core import outcomes
from coldspan.hot.aws_call import load, rule_for
from support import service_models

EXCLUSIONS = Path(__file__).parents[1] / "data" / "outcome_exclusions.toml"
# botocore's version: suspect members, lists with suspect elements
WALKED = {"1.44.5": (571, 129), "1.44.8": (583, 129)}
NEWEST = max(map(Version, WALKED))
VERSION = botocore.__version__


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


def settle(what, names, version, tell, *, fails):
    """Fail for these names; or, where a release of botocore may be the cause, have the summary count and name them.

    `tell` is pytest's record_property; tests/conftest.py prints at the end of the run what it gets as "unjudged".
    """
    text = f"botocore {version}: {len(names)} {what}\n" + "\n".join(names)
    assert not (names and fails), text
    if names:
        tell("unjudged", text)


def settle_unjudged(table, exclusions, candidates, version, tell):
    """Settle the members that are neither in the table nor excluded: a botocore newer than NEWEST fails for none."""
    patterns = [pattern for exclusion in exclusions for pattern in exclusion["members"]]
    unjudged = []
    for service, operation, member in sorted(candidates):
        rule = rule_for(table, service, operation)
        if rule is not None and member in members_of(rule):
            continue
        name = f"{service}.{operation}.{member}"
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            unjudged.append(name)
    what = (
        "members that nobody has judged. Read the documentation of each: if it tells of something that this call was "
        "asked for and did not do, give its operation a line in core/outcomes.txt, else name it in "
        f"{EXCLUSIONS.name} with the reason. Then add the version's numbers to WALKED."
    )
    settle(what, unjudged, version, tell, fails=Version(version) <= NEWEST)


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
def test_walk_of_the_service_models_finds_as_many_suspects_as_were_judged(record_property):
    """A walk that silently finds less would prove nothing."""
    found = tuple(map(len, service_models.candidates()))
    if VERSION in WALKED:
        assert found == WALKED[VERSION]
        return
    assert found[0] > 400  # a release may drop a service: lightsail alone has half of the lists
    assert found[1] > 40
    pairs = zip(found, WALKED[str(NEWEST)], strict=True)
    fewer = [f"{count}, in {NEWEST} {before}" for count, before in pairs if count < before]
    settle("counts of suspects that are lower", fewer, VERSION, record_property, fails=False)


def test_every_suspect_member_is_in_the_table_or_excluded_with_a_reason(table, exclusions, candidates, record_property):
    """A 200 that hides a failure is never taken for ok because nobody looked."""
    settle_unjudged(table, exclusions, candidates, VERSION, record_property)


@pytest.mark.parametrize(
    ("version", "fails"),
    [
        ("1.44.5", True),
        ("1.44.6", True),
        (str(NEWEST), True),
        (f"{NEWEST.major}.{NEWEST.minor}.{NEWEST.micro + 1}", False),
        (f"{NEWEST.major}.{NEWEST.minor + 100}.0", False),  # as text it comes first
    ],
)
def test_member_that_nobody_has_judged_fails_unless_botocore_came_after_the_newest_walked(table, version, fails):
    """Each release of botocore would break the build; or what it brings would go unseen."""
    told = []
    new = {("lambda", "Invoke", "FunctionError"), ("lambda", "Invoke", "NewError"), ("tomorrow", "Do", "Failed")}
    with pytest.raises(AssertionError, match="2 members") if fails else contextlib.nullcontext():
        settle_unjudged(table, [], new, version, lambda *what: told.append(what))
    assert len(told) == (not fails)
    for name, text in told:
        assert name == "unjudged"
        assert ": 2 members" in text
        assert text.endswith("\nlambda.Invoke.NewError\ntomorrow.Do.Failed")
    settle_unjudged(table, [], {("lambda", "Invoke", "FunctionError")}, version, pytest.fail)


def test_exclusions_each_match_a_suspect_and_say_why(exclusions, candidates, record_property):
    """An exclusion that matches nothing hides a typing error."""
    names = [".".join(candidate) for candidate in candidates]
    idle = []
    for exclusion in exclusions:
        assert len(exclusion["reason"].split()) >= 5
        idle += [pattern for pattern in exclusion["members"] if not fnmatch.filter(names, pattern)]
    settle("exclusions that match nothing", idle, VERSION, record_property, fails=Version(VERSION) == NEWEST)


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


def test_table_names_only_what_the_service_models_have(table, record_property):
    """A misspelt member reads every answer as ok."""
    gone, wrong = [], []
    for service, operations, items, failed in lines(table):
        model = service_models.models().get(service)
        if model is None:
            gone.append(service)
            continue
        for operation in operations:
            if operation == "*":
                continue
            if operation not in model["operations"]:
                gone.append(f"{service}.{operation}")
                continue
            rule = outcomes.Rule(items, failed)
            wrong += [f"{service}.{operation}: {name}" for name in unknown_names(model, operation, rule)]
    what = "services and operations of the table that it does not have"
    settle(what, gone, VERSION, record_property, fails=Version(VERSION) == NEWEST)
    what = "members of the table that it does not have so"  # no release takes a member away
    settle(what, wrong, VERSION, record_property, fails=Version(VERSION) >= NEWEST)


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
