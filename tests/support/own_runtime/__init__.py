"""A Lambda runtime that is not awslambdaric: a few lines over http.client, as people write them."""

from pathlib import Path

OWN_RUNTIME = Path(__file__).parent
