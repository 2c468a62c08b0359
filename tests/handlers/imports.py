"""Imports that fail inside the handler, where the import hook is long in place."""
# ruff: noqa: F401 - imported to fail

import importlib
import sys


def syntax():
    import broken_syntax


def value():
    import broken_value


def missing():
    import no_such_library


def nested():
    import broken_nested_import


def chained():
    import broken_chain


def name():
    from json import no_such_name


def by_function():
    importlib.import_module("broken_value")


def again():
    import broken_value


def reloaded():
    import app

    importlib.reload(app)
    app.broken = True
    sys.modules["app"].__spec__.loader.path = "/nonexistent.py"
    importlib.reload(app)


def halfway():
    import http.client  # one that is hooked

    sys.modules.pop("http.client")
    path, sys.path[:] = sys.path[:], []
    sys.path_importer_cache.clear()
    try:
        import http.client

        import no_such_submodule
    finally:
        sys.path[:] = path


def circular():
    import circular_one


CASES = {
    "syntax": syntax,
    "value": value,
    "missing": missing,
    "nested": nested,
    "chained": chained,
    "name": name,
    "by function": by_function,
    "again": again,
    "reloaded": reloaded,
    "halfway": halfway,
    "circular": circular,
}


def handler(event, context):
    """Import as the event says."""
    return CASES[event["case"]]()
