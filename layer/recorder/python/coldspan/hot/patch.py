"""Replace an attribute of somebody's class once, so that it can be put back and a second copy of us sees it."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Patches = list[tuple[Any, str, Any]]

MARK = "__coldspan__"
# By the descriptor: a class of exceptions may define the attribute itself, and then it may do anything.
_TRACEBACK: "Any" = BaseException.__traceback__
_PLAIN = (type(lambda: None), staticmethod, classmethod)


def replace(owner: "Any", name: str, make: "Callable[[Any], Any]", patches: "Patches") -> None:
    """Set `owner.name` to `make(original)` and note it in `patches` as (owner, name, original).

    Does nothing when the attribute is missing, is inherited, or carries the mark of another copy of coldspan.
    """
    original = vars(owner).get(name)
    if original is None or hasattr(original, MARK):
        return
    wrapper = make(_binding(original) if _knows_instance(owner, original) else original)
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
        value = getattr(original, attribute, None)
        if value is not None or attribute == "__doc__":
            setattr(wrapper, attribute, value)
    wrapper.__wrapped__ = original
    setattr(wrapper, MARK, True)
    setattr(owner, name, wrapper)
    patches.append((owner, name, original))


def _knows_instance(owner: "Any", original: "Any") -> bool:
    """Whether what stands for a method is an object that must be bound: a wrapt proxy of another instrument, mostly."""
    # By type(): such a proxy claims by its __class__ to be the function it stands for.
    return isinstance(owner, type) and type(original) not in _PLAIN and hasattr(original, "__get__")


def _binding(original: "Any") -> "Any":
    """Give a function that calls a descriptor as a method: only so does it learn its instance."""

    def bound(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        try:
            return original.__get__(self, type(self))(*args, **kwargs)
        except BaseException as error:
            drop_own_frame(error)
            raise

    return bound


def restore(patches: "Patches") -> None:
    """Put back what `replace` noted, newest first; what somebody else has wrapped since is left alone."""
    while patches:
        owner, name, original = patches.pop()
        current = vars(owner).get(name)
        if getattr(current, "__wrapped__", None) is original and hasattr(current, MARK):
            setattr(owner, name, original)


def drop_own_frame(error: BaseException) -> None:
    """Take our frame off an exception that passes through us, so that its traceback is the same as without us.

    To be called in the `except` block of the wrapper itself, before a bare `raise`: a re-raise adds no entry for the
    frame it leaves, so what the customer (and the runtime's stack trace) sees starts at the frame below ours.
    """
    trace = _TRACEBACK.__get__(error)
    if trace is not None:
        _TRACEBACK.__set__(error, trace.tb_next)
