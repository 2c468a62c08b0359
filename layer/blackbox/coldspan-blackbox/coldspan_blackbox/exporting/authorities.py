"""Which certificate authorities are trusted: the machine's own, and certifi's where it has none."""

import ssl
from pathlib import Path


def authorities() -> bool | str:
    """Give what a TLS client takes as `verify`: True for the machine's own, else the path of a bundle."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())):
        return True
    import certifi

    return certifi.where()
