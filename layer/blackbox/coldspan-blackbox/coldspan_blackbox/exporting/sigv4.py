"""Signs requests to AWS's own OTLP endpoints.

Source: CloudWatch user guide, "OTLP Endpoints": https://xray.<region>.amazonaws.com/v1/traces, logs and monitoring.
"""

import re
from collections.abc import Mapping
from typing import Any

_HOST = re.compile(r"https://(xray|logs|monitoring)\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?(:443)?/", re.ASCII)
# Changed on the way by nobody, but not the sender's to promise.
_UNSIGNED = frozenset(("connection", "user-agent", "accept-encoding"))


def endpoint(url: str) -> tuple[str, str] | None:
    """(service, region) of an endpoint of AWS's; None for any other."""
    found = _HOST.match(url)
    return (found[1], found[2]) if found else None


def credentials_of(environ: Mapping[str, str]) -> Any:
    """The function's credentials: of the variables, else of where they name, as under SnapStart.

    Source: Lambda developer guide, "Activating and managing SnapStart". The latter are renewed by themselves before
    they expire. Errors: KeyError where there are none.
    """
    from botocore.credentials import ContainerProvider, Credentials

    if "AWS_ACCESS_KEY_ID" in environ:
        return Credentials(
            environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], environ.get("AWS_SESSION_TOKEN")
        )
    found = ContainerProvider(environ).load()
    if found is None:
        raise KeyError("AWS_ACCESS_KEY_ID")
    return found


class SigV4:
    """A signer for one service and region."""

    def __init__(self, service: str, region: str, environ: Mapping[str, str]) -> None:
        from botocore.auth import SigV4Auth  # only those who send to AWS pay for it

        self._auth = SigV4Auth
        self._service = service
        self._region = region
        self._environ = environ
        self._credentials: Any = None

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Give the headers with those that sign them. The body is signed too. KeyError: there are no credentials."""
        from botocore.awsrequest import AWSRequest

        if self._credentials is None or "AWS_ACCESS_KEY_ID" in self._environ:
            self._credentials = credentials_of(self._environ)
        credentials = self._credentials.get_frozen_credentials()
        signed = {key: value for key, value in headers.items() if key.lower() not in _UNSIGNED}
        request = AWSRequest(method, url, headers=signed, data=body)
        self._auth(credentials, self._service, self._region).add_auth(request)
        return {**headers, **{key: str(value) for key, value in request.headers.items()}}
