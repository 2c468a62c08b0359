"""The script the exec wrapper starts: loads coldspan, then becomes the runtime's own bootstrap.py.

What looks at __main__, sys.argv, sys.path or the environment afterwards sees what it would have seen without us; one
frame of ours stays at the far end of the stack. The file's name is the runtime's, because awslambdaric leaves leading
frames of files so called out of the traces it posts.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType


def prepare() -> "CodeType":
    """Start coldspan and give the code of the runtime's script, with __main__ made ready for it."""
    import os  # __main__ keeps no name of ours
    import sys

    main = globals()
    del main["prepare"], main["TYPE_CHECKING"]
    layer = os.path.realpath(main["__file__"]).rsplit("/", 3)[0]
    script = os.environ.pop("_COLDSPAN_RUNTIME", "/var/runtime/bootstrap.py")
    sys.argv[0] = sys.orig_argv[-1] = script
    try:
        with open(script, "rb") as file:  # pathlib is an import
            code = compile(file.read(), script, "exec", dont_inherit=True)
    except OSError:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # Python itself says what is wrong, as it would have
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(script))
    main["__file__"] = main["__loader__"].path = script
    main["__doc__"] = None
    try:
        import awslambdaric.__main__  # noqa: F401  # first, as the runtime's script does: its own copy wins

        sys.path.insert(0, layer)
        try:
            import coldspan  # noqa: F401
        finally:
            sys.path.remove(layer)  # of the layer only this one name becomes importable
        from coldspan.boot.start import start

        start()
    except BaseException:  # noqa: BLE001, S110  # the contract: without us rather than not at all
        pass
    return code


try:
    exec(prepare())  # noqa: S102
except BaseException as error:
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    raise
