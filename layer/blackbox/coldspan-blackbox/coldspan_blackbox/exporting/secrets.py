"""Values that are kept elsewhere: read once at the start from SSM or Secrets Manager, never logged.

ssm:/path/of/parameter                  a parameter, decrypted
secretsmanager:name-or-arn              a secret's text
secretsmanager:name-or-arn#key          one member of a secret that is a JSON object
Bearer ssm:/path/of/parameter           a word before what is referred to, as in a header
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from coldspan_blackbox.exporting.exporter import ConfigurationError

SSM, SECRETS_MANAGER = "ssm:", "secretsmanager:"
CONNECT_S, READ_S = 1.0, 2.0  # init must end within 10 s, with or without an answer
AGAIN = frozenset((429, 500, 502, 503, 504))

# Service -> target of the request, and the action that is to be allowed.
_ACTIONS = {
    "ssm": ("AmazonSSM.GetParameter", "ssm:GetParameter"),
    "secretsmanager": ("secretsmanager.GetSecretValue", "secretsmanager:GetSecretValue"),
}


class Secrets:
    """Reads references; each one once. Anything else stands for itself."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._pool: Any = None
        self._known: dict[str, str] = {}

    def __call__(self, value: str) -> str:
        """Give the value itself, or what it refers to.

        Errors: ConfigurationError, which names the reference and the service's error code, never a value.
        """
        text = value.strip()
        scheme, space, rest = text.partition(" ")
        if space and rest.startswith((SSM, SECRETS_MANAGER)):
            return f"{scheme} {self(rest)}"
        if not text.startswith((SSM, SECRETS_MANAGER)):
            return value
        if text not in self._known:
            self._known[text] = self._read(text)
        return self._known[text]

    def _read(self, reference: str) -> str:
        service, _, name = reference.partition(":")
        name, _, key = name.partition("#") if service == "secretsmanager" else (name, "", "")
        try:
            question = {"Name": name, "WithDecryption": True} if service == "ssm" else {"SecretId": name}
            told, problem = self._ask(service, question, _region_of(name))
            if not problem:
                found = _value(told)
        except Exception as error:  # noqa: BLE001  # no library of those below has one base, and their text may tell much
            problem = type(error).__name__
        if problem:
            raise ConfigurationError(
                f"{reference} could not be read ({problem}): allow {_ACTIONS[service][1]} for it, with"
                " kms:Decrypt where a key of your own is used, and let the function reach the service"
            )
        return _member(found, key, reference) if key else found

    def _ask(self, service: str, question: Mapping[str, Any], region: str) -> tuple[Any, str]:
        """(answer, "") or (None, the service's error code)."""
        import urllib3  # only those who keep secrets there pay for it

        from coldspan_blackbox.exporting.authorities import authorities
        from coldspan_blackbox.exporting.sigv4 import SigV4

        if self._pool is None:
            trusted = authorities()
            self._pool = urllib3.PoolManager(
                cert_reqs="CERT_REQUIRED",
                ca_certs=trusted if isinstance(trusted, str) else None,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
                retries=urllib3.Retry(
                    1, redirect=False, allowed_methods=None, status_forcelist=AGAIN, raise_on_status=False
                ),
            )
        region = region or self._environ.get("AWS_REGION") or self._environ["AWS_DEFAULT_REGION"]
        body = json.dumps(question).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": _ACTIONS[service][0]}
        url = self._url(service, region)
        signed = SigV4(service, region, self._environ)("POST", url, headers, body)
        response = self._pool.request("POST", url, headers=signed, body=body)
        told = json.loads(response.data or b"{}")
        if response.status == 200:
            return told, ""
        return None, str(told.get("__type") or f"HTTP {response.status}").rpartition("#")[2]

    def _url(self, service: str, region: str) -> str:
        """Source: AWS SDKs and Tools Reference Guide, "Service-specific endpoints"."""
        names = {"ssm": "AWS_ENDPOINT_URL_SSM", "secretsmanager": "AWS_ENDPOINT_URL_SECRETS_MANAGER"}
        own = self._environ.get(names[service]) or self._environ.get("AWS_ENDPOINT_URL")
        suffix = ".cn" if region.startswith("cn-") else ""
        return own.rstrip("/") + "/" if own else f"https://{service}.{region}.amazonaws.com{suffix}/"

    def close(self) -> None:
        """Let go of connections; what was read stays."""
        if self._pool is not None:
            self._pool.clear()
            self._pool = None


def _region_of(name: str) -> str:
    """The region of an ARN; "" for a name."""
    parts = name.split(":")
    return parts[3] if parts[0] == "arn" and len(parts) > 5 else ""


def _value(told: Any) -> str:
    if "Parameter" in told:
        return str(told["Parameter"]["Value"])
    return str(told.get("SecretString") or base64.b64decode(told["SecretBinary"]).decode())


def _member(text: str, key: str, reference: str) -> str:
    try:
        found = json.loads(text)[key]
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{reference}: the secret is no JSON object with this key") from None
    return found if isinstance(found, str) else json.dumps(found)
