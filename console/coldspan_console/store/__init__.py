"""The local store of invocations. `Store` keeps and finds them, `Filter` says which are meant."""

from coldspan_console.store.filter import Filter
from coldspan_console.store.store import Store

__all__ = ["Filter", "Store"]
