"""Values that are kept elsewhere: read once at the start from SSM or Secrets Manager, never logged.

ssm:/path/of/parameter                  a parameter, decrypted
secretsmanager:name-or-arn              a secret's text
secretsmanager:name-or-arn#key          one member of a secret that is a JSON object
"""

import json
from collections.abc import Mapping
from typing import Any

from coldspan_blackbox.exporting.exporter import ConfigurationError

SSM, SECRETS_MANAGER = "ssm:", "secretsmanager:"
CONNECT_S, READ_S = 1.0, 2.0  # init must end within 10 s, with or without an answer


class Secrets:
    """Reads references; each one once. Anything else stands for itself."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._clients: dict[str, Any] = {}
        self._known: dict[str, str] = {}

    def __call__(self, value: str) -> str:
        """Give the value itself, or what it refers to.

        Errors: ConfigurationError, which names the reference and the service's error code, never a value.
        """
        text = value.strip()
        if not text.startswith((SSM, SECRETS_MANAGER)):
            return value
        if text not in self._known:
            self._known[text] = self._read(text)
        return self._known[text]

    def _read(self, reference: str) -> str:
        service, _, name = reference.partition(":")
        key = ""
        if service == "secretsmanager":
            name, _, key = name.partition("#")
        action = "ssm:GetParameter" if service == "ssm" else "secretsmanager:GetSecretValue"
        try:
            client = self._client(service)
            if service == "ssm":
                found = client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
            else:
                answer = client.get_secret_value(SecretId=name)
                found = answer.get("SecretString") or answer["SecretBinary"].decode()
        except Exception as error:  # noqa: BLE001  # botocore's errors have no common base, and their text may tell much
            told: Any = getattr(error, "response", None)
            code = told.get("Error", {}).get("Code") if isinstance(told, dict) else ""
            raise ConfigurationError(
                f"{reference} could not be read ({code or type(error).__name__}): allow {action} for it, with"
                " kms:Decrypt where a key of your own is used, and let the function reach the service"
            ) from None
        return _member(found, key, reference) if key else str(found)

    def _client(self, service: str) -> Any:
        client = self._clients.get(service)
        if client is None:
            from botocore.config import Config  # only those who keep secrets there pay for it
            from botocore.session import Session

            region = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
            config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 2})
            client = self._clients[service] = Session().create_client(service, region_name=region, config=config)
        return client

    def close(self) -> None:
        """Let go of connections and of what botocore has loaded; what was read stays."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def _member(text: str, key: str, reference: str) -> str:
    try:
        found = json.loads(text)[key]
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{reference}: the secret is no JSON object with this key") from None
    return found if isinstance(found, str) else json.dumps(found)
