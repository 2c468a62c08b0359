"""What Lambda puts beside code that is inline in a template: answers CloudFormation for a custom resource.

Source: CloudFormation user guide, "cfn-response module". Runs in the function's process, with nothing but the standard
library; what goes wrong is printed, not raised, because the stack waits for an answer whatever becomes of it.
"""

import json
import urllib.request

SUCCESS = "SUCCESS"
FAILED = "FAILED"
TIMEOUT_S = 10


def send(event, context, responseStatus, responseData, physicalResourceId=None, noEcho=False, reason=None):  # noqa: N803  # the module's published names
    """PUT the outcome to the event's ResponseURL."""
    told = {
        "Status": responseStatus,
        "Reason": reason or f"See the details in CloudWatch Log Stream: {context.log_stream_name}",
        "PhysicalResourceId": physicalResourceId or context.log_stream_name,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "NoEcho": noEcho,
        "Data": responseData,
    }
    body = json.dumps(told)
    print(f"Response body:\n{body}")
    request = urllib.request.Request(  # noqa: S310  # the address is CloudFormation's
        event["ResponseURL"], body.encode(), {"Content-Type": "", "Content-Length": str(len(body))}, method="PUT"
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  # as above
            print("Status code:", answer.status)
    except (OSError, ValueError) as error:
        print("send(..) failed:", error)
