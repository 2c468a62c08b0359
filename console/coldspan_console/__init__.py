"""The developer's side of coldspan: a local Lambda platform and what is built on it."""
