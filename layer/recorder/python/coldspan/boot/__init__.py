"""Runs once, before the handler is imported."""

from time import monotonic_ns

BEGAN_NS = monotonic_ns()  # the package's first own line: what the recorder costs at init is counted from here
