"""A way into an AWS account, and what AWS refuses in words a person can act on."""

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from coldspan_console.output import BAD_INPUT, MISSING, ConsoleError

if TYPE_CHECKING:
    from collections.abc import Iterator

DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedException"}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "ExpiredTokenError"}
REJECTED = {
    "InvalidClientTokenId", "UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch",
    "AuthFailure", "InvalidAccessKeyId",
}  # fmt: skip
THROTTLED = {"TooManyRequestsException", "ThrottlingException", "Throttling", "RequestLimitExceeded"}
# The operations that read a role.
ROLES = (
    "GetRole", "ListAttachedRolePolicies", "ListRolePolicies", "GetRolePolicy", "GetPolicy", "GetPolicyVersion",
)  # fmt: skip
ATTEMPTS = 8  # of one request; adaptive mode slows down between them


class Account:
    """The clients of one account and region. They may be used by several threads.

    Errors: ConsoleError where there is no such profile, no region, or no boto3.
    """

    def __init__(self, region: "str | None" = None, profile: "str | None" = None) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import ProfileNotFound
        except ImportError:
            todo = "pip install 'coldspan[console]'"
            raise ConsoleError("boto3 is not installed here", todo=todo, exit_code=MISSING) from None
        try:
            self.session = boto3.Session(region_name=region, profile_name=profile)
        except ProfileNotFound:
            known = ", ".join(boto3.Session().available_profiles) or "none"
            where = f"--profile {profile}" if profile else "AWS_PROFILE"
            raise ConsoleError("no such profile", where=where, todo=f"there are: {known}") from None
        self.region = self.session.region_name
        if not self.region:
            todo = "say --region eu-west-1, or set AWS_REGION or a region in the profile"
            raise ConsoleError("no region", todo=todo, exit_code=MISSING)
        self._config = Config(
            retries={"mode": "adaptive", "max_attempts": ATTEMPTS}, connect_timeout=10, read_timeout=60,
            max_pool_connections=16,
        )  # fmt: skip
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def elsewhere(self, region: str) -> "Account":
        """The same account in another region."""
        return Account(region, self.session.profile_name if self.session.profile_name != "default" else None)

    def client(self, service: str) -> Any:
        """A boto3 client, made once."""
        with self._lock:  # making one is not safe in several threads
            if service not in self._clients:
                self._clients[service] = self.session.client(service, config=self._config)
            return self._clients[service]

    @property
    def functions(self) -> Any:
        """The client of Lambda."""
        return self.client("lambda")


@contextlib.contextmanager
def told(where: str = "") -> "Iterator[None]":
    """Turn what AWS refuses inside the block into a ConsoleError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise refused(error, where) from None
    except BotoCoreError as error:
        raise unreachable(error, where) from None


def code_of(error: Any) -> str:
    """The error code of a ClientError."""
    return str(error.response.get("Error", {}).get("Code", ""))


def refused(error: Any, where: str = "") -> ConsoleError:
    """What a service has answered, as a person needs it."""
    code, text = code_of(error), str(error.response.get("Error", {}).get("Message", ""))
    operation = error.operation_name
    service = _service(error)
    if code in DENIED:
        return ConsoleError(
            f"not allowed: {service}:{operation}", where=where or text,
            todo=f"let the credentials in use do {service}:{_permission(operation)}", exit_code=MISSING,
        )  # fmt: skip
    if code in EXPIRED:
        return ConsoleError(
            "the credentials have expired", where=where,
            todo="log in again (aws sso login), or renew the session token", exit_code=MISSING,
        )  # fmt: skip
    if code in REJECTED:
        todo = "look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or at the profile"
        return ConsoleError(f"AWS does not accept the credentials ({code})", where=where, todo=todo, exit_code=MISSING)
    if code in THROTTLED:
        todo = "run it again in a minute: what is done already is not done twice"
        return ConsoleError(
            f"AWS throttles: {operation} was refused {ATTEMPTS} times", where=where, todo=todo, exit_code=MISSING
        )
    if code in {"PreconditionFailedException", "PreconditionFailed"}:
        return ConsoleError(
            "somebody else has changed it meanwhile; nothing was changed here", where=where, todo="run it again"
        )
    if code in {"ResourceConflictException", "ResourceInUseException"}:
        return ConsoleError(f"an update of it is in progress: {text}", where=where, todo="wait, and run it again")
    return ConsoleError(f"{operation}: {text or code}", where=where, exit_code=BAD_INPUT)


def unreachable(error: Exception, where: str = "") -> ConsoleError:
    """What botocore says when no answer came."""
    name = type(error).__name__
    words = {
        "NoCredentialsError": ("no credentials", "aws configure, aws sso login, --profile NAME, or AWS_ACCESS_KEY_ID"),
        "PartialCredentialsError": ("half of the credentials are missing", "set both the key and its secret"),
        "CredentialRetrievalError": (f"no credentials: {error}", "log in again"),
        "EndpointConnectionError": (
            f"AWS cannot be reached: {error}",
            "look at the network, and --region",
        ),
        "ConnectTimeoutError": (f"AWS cannot be reached: {error}", "look at the network and the proxy"),
        "ReadTimeoutError": (f"AWS did not answer in time: {error}", "run it again"),
        "ParamValidationError": (str(error).replace("\n", " "), ""),
        "InvalidRegionError": (str(error), "say --region eu-west-1"),
    }
    if name in {"TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError"}:
        return ConsoleError(f"the login has expired: {error}", where=where, todo="aws sso login", exit_code=MISSING)
    what, todo = words.get(name, (str(error), ""))
    exit_code = BAD_INPUT if name == "ParamValidationError" else MISSING
    return ConsoleError(what, where=where, todo=todo, exit_code=exit_code)


def _permission(operation: str) -> str:
    """The IAM action of an operation, where the two have different names."""
    return {"ListTags": "ListTags", "Invoke": "InvokeFunction"}.get(operation, operation)


def _service(error: Any) -> str:
    """The prefix of the IAM action, from the words of the refusal, or by the operation."""
    text = str(error.response.get("Error", {}).get("Message", ""))
    found = text.partition("perform: ")[2].partition(":")[0]
    others = {"DescribeLogGroups": "logs", "FilterLogEvents": "logs", "GetSamplingRules": "xray", "GetResources": "tag"}
    others |= dict.fromkeys(ROLES, "iam")
    return found if found.isalnum() else others.get(error.operation_name, "lambda")
