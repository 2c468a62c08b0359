"""The AWS account that is asked: its clients, its log groups, and failures as a person needs them."""

import contextlib
import difflib
from typing import TYPE_CHECKING, Any

from coldspan_console.output import BAD_INPUT, MISSING, WRONG_USE, ConsoleError

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRIES = {"mode": "adaptive", "max_attempts": 10}
GROUPS = 5_000  # names looked at for a suggestion
CREDENTIALS = "log in (aws sso login, aws configure), or name --profile; AWS_PROFILE and the usual variables count, too"
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId",
           "InvalidSignatureException", "RequestExpired")  # fmt: skip
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


class Account:
    """Clients of one account and region. Throttling is waited for by botocore's adaptive retries."""

    def __init__(self, region: "str | None", profile: "str | None") -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import ProfileNotFound

        try:
            self.session = boto3.Session(region_name=region, profile_name=profile)
        except ProfileNotFound as error:
            known = ", ".join(boto3.Session().available_profiles) or "none"
            raise ConsoleError(str(error), todo=f"there is: {known}", exit_code=WRONG_USE) from None
        self.region = self.session.region_name
        if not self.region:
            raise ConsoleError("in which region?", todo="name --region, or set AWS_REGION", exit_code=WRONG_USE)
        self._config = Config(retries=RETRIES, connect_timeout=10, read_timeout=70)  # type: ignore[arg-type]

    def client(self, service: str) -> Any:
        """A client of a service. Errors: ConsoleError."""
        with told_clearly():
            region = self.region if self.region != "aws-global" else None
            return self.session.client(service, region_name=region, config=self._config)

    @property
    def number(self) -> str:
        """The account's number; "" where it may not be asked for."""
        from botocore.exceptions import BotoCoreError, ClientError

        with contextlib.suppress(BotoCoreError, ClientError, ConsoleError):
            return str(self.client("sts").get_caller_identity()["Account"])
        return ""

    def log_group(self, function: str) -> str:
        """The log group of a function: as it is configured where that may be read, else as it is by default."""
        from botocore.exceptions import BotoCoreError, ClientError

        with contextlib.suppress(BotoCoreError, ClientError):
            told = self.client("lambda").get_function_configuration(FunctionName=function)
            if group := (told.get("LoggingConfig") or {}).get("LogGroup"):
                return str(group)
        return f"/aws/lambda/{function}"

    def need_group(self, group: str) -> "dict[str, Any]":
        """What is known of a log group. Errors: ConsoleError, with near names, for one that is not there."""
        logs = self.client("logs")
        with told_clearly():
            found = logs.describe_log_groups(logGroupNamePrefix=group).get("logGroups", [])
            exact = next((one for one in found if one["logGroupName"] == group), None)
            if exact is not None:
                return dict(exact)
            prefix = "/aws/lambda/" if group.startswith("/aws/lambda/") else ""
            names: list[str] = []
            asked: dict[str, Any] = {"logGroupNamePrefix": prefix} if prefix else {}
            for page in logs.get_paginator("describe_log_groups").paginate(**asked):
                names += [one["logGroupName"] for one in page["logGroups"]]
                if len(names) >= GROUPS:
                    break
        near = difflib.get_close_matches(group, names, 3, 0.5)
        todo = f"did you mean {' or '.join(near)}?" if near else "name it by --log-group"
        if not names:
            todo = "there is no such group in this region: name another --region or --profile, or --log-group"
        raise ConsoleError(f"no log group {group}", where=self.region, todo=todo)


@contextlib.contextmanager
def told_clearly(doing: str = "") -> "Iterator[None]":
    """Turn what botocore raises into a ConsoleError. A message of AWS's has no secret in it; nothing else is shown."""
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.TokenRetrievalError,
            exceptions.SSOTokenLoadError, exceptions.UnauthorizedSSOTokenError) as error:  # fmt: skip
        raise ConsoleError(f"no AWS credentials: {error}", todo=CREDENTIALS, exit_code=MISSING) from None
    except exceptions.NoRegionError:
        raise ConsoleError("in which region?", todo="name --region, or set AWS_REGION", exit_code=WRONG_USE) from None
    except (exceptions.HTTPClientError, exceptions.EndpointConnectionError) as error:
        raise ConsoleError(
            f"AWS cannot be reached: {error}", todo="is there a network, and does the region exist?", exit_code=MISSING
        ) from None
    except exceptions.ClientError as error:
        raise _refused(error, doing) from None
    except exceptions.BotoCoreError as error:
        raise ConsoleError(f"{doing or 'AWS'}: {error}", exit_code=BAD_INPUT) from None


def _refused(error: Any, doing: str) -> ConsoleError:
    code, message = code_of(error), error.response.get("Error", {}).get("Message", "")
    where = error.operation_name
    if code in EXPIRED:
        return ConsoleError(f"AWS refuses the credentials: {code}", where=where, todo=CREDENTIALS, exit_code=MISSING)
    if code in DENIED:
        action = f"{'xray' if where == 'BatchGetTraces' else 'logs'}:{where}"
        todo = f"allow {action}, or use a --profile that may"
        return ConsoleError(f"not permitted: {message or code}", where=where, todo=todo, exit_code=MISSING)
    if code == "ResourceNotFoundException":
        return ConsoleError(f"not there: {message or doing}", where=where, todo="name another --log-group or --region")
    return ConsoleError(f"AWS refuses: {code}: {message}", where=where or doing)


def code_of(error: Any) -> str:
    """The code of a ClientError."""
    return str(error.response.get("Error", {}).get("Code", ""))


__all__ = ["DENIED", "Account", "code_of", "told_clearly"]
