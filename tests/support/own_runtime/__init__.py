"""A Lambda runtime that is not awslambdaric: thirty lines over http.client, as people write them for custom runtimes."""

from pathlib import Path

OWN_RUNTIME = Path(__file__).parent
