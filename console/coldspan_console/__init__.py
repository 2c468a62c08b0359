"""The developer's side of coldspan: a local Lambda platform and what is built on it."""

VERSION = "0.1.0"  # tests/console/test_cli.py holds it against pyproject.toml
