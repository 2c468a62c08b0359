"""Moving imports: what is written is what a developer would write, and what cannot be moved says why."""

from pathlib import Path

import pytest

from coldspan_console.blame.deferring import NotMovableError, defer, defer_in

APP = Path("app.py")
MOVED = [
    # source, what it becomes
    ("import heavy\ndef f():\n    return heavy.x\n", "def f():\n    import heavy\n    return heavy.x\n"),
    ("import heavy as h, os\nx = os\ndef f():\n    return h\n",
     "import os\nx = os\ndef f():\n    import heavy as h\n    return h\n"),
    ("from heavy.a import (\n    b,\n    c,\n)\ndef f():\n    'doc'\n    return b, c\n",
     "def f():\n    'doc'\n    from heavy.a import b, c\n    return b, c\n"),
    ("import heavy  # the whole\ndef f(): return heavy\n", "def f(): import heavy; return heavy\n"),
    ("import heavy\nclass A:\n    async def f(self):\n        for _ in heavy: pass\n",
     "class A:\n    async def f(self):\n        import heavy\n        for _ in heavy: pass\n"),
    ("import heavy\ndef f():\n    def g():\n        return heavy\n    return g\n",
     "def f():\n    import heavy\n    def g():\n        return heavy\n    return g\n"),
    ("from heavy import T\ndef f(a: T) -> 'T':\n    return T(a)\n",
     "def f(a: 'T') -> 'T':\n    from heavy import T\n    return T(a)\n"),
    ("from __future__ import annotations\nfrom heavy import T\ndef f(a: T):\n    return T(a)\n",
     "from __future__ import annotations\ndef f(a: T):\n    from heavy import T\n    return T(a)\n"),
    ("import a; import heavy\ndef f():\n    return heavy\n",
     "import a; pass\ndef f():\n    import heavy\n    return heavy\n"),
    ("import heavy\ndef f(heavy):\n    return heavy\ndef g():\n    return heavy\n",
     "def f(heavy):\n    return heavy\ndef g():\n    import heavy\n    return heavy\n"),
    ("import heavy\ndef f(a):\n    if not a:\n        return 0\n    with a as b:\n        return heavy.c(b)\n",
     "def f(a):\n    if not a:\n        return 0\n    with a as b:\n        import heavy\n        return heavy.c(b)\n"),
    ("import heavy\ndef f(a):\n    if a:\n        b = 1\n    elif a == 1:\n        b = heavy\n    return b\n",
     "def f(a):\n    if a:\n        b = 1\n    elif a == 1:\n        import heavy\n        b = heavy\n    return b\n"),
    ("import heavy\ndef f(a):\n    if a:\n        b = 1\n    elif heavy:\n        b = 2\n    return b\n",
     "def f(a):\n    import heavy\n    if a:\n        b = 1\n    elif heavy:\n        b = 2\n    return b\n"),
    ("import heavy\ndef f(a):\n    for b in a:\n        c = heavy\n    return c\n",
     "def f(a):\n    import heavy\n    for b in a:\n        c = heavy\n    return c\n"),
]  # fmt: skip
REFUSED = [
    # source, what the reason names
    (
        "import heavy\nclient = heavy.client()\ndef f():\n    return heavy\n",
        "app.py:2 uses it while the module is loaded",
    ),
    ("import heavy\n@heavy.wrap\ndef f():\n    return 1\n", "app.py:2 uses it while"),
    ("import heavy\ndef f(a=heavy.b):\n    return heavy\n", "app.py:2 uses it while"),
    ("import heavy\nclass A(heavy.B):\n    pass\n", "app.py:2 uses it while"),
    ("try:\n    import heavy\nexcept ImportError:\n    heavy = None\ndef f():\n    return heavy\n", "conditionally"),
    ("import os\nif os.sep:\n    import heavy\ndef f():\n    return heavy\n", "app.py:3 imports it conditionally"),
    ("from heavy import *\ndef f():\n    return x\n", "all of its names"),
    ("import heavy\ndef f():\n    return 1\n", "imports it for what it does"),
    ("import heavy\nf = lambda: heavy\n", "in a lambda"),
]


@pytest.mark.parametrize(("before", "after"), MOVED)
def test_an_import_goes_where_it_is_used(before, after):
    """What is measured would not be what a developer can write."""
    change = defer(before, "heavy", APP)
    assert change.after == after
    compile(change.after, "app.py", "exec")


@pytest.mark.parametrize(("source", "why"), REFUSED)
def test_what_cannot_be_moved_says_why_and_where(source, why):
    """A saving would be promised that nobody can have."""
    with pytest.raises(NotMovableError, match=why):
        defer(source, "heavy", APP)


def test_what_only_type_checkers_import_is_left_alone():
    """It costs nothing, and is no reason against moving the rest."""
    source = "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import heavy\n"
    assert defer(source, "heavy", APP) is None


def test_a_package_of_another_name_is_not_meant():
    """`heavy` is not `heavyweight`, and `a.heavy` is a's."""
    assert defer("import heavyweight\nfrom a import heavy\ndef f(): return heavy, heavyweight\n", "heavy", APP) is None


def test_the_functions_own_folder_stays_as_it_is(tmp_path):
    """The measurement would change what is deployed."""
    task = tmp_path / "task"
    (task / "pkg").mkdir(parents=True)
    source = "import heavy\ndef f():\n    return heavy\n"
    for name in ("app.py", "pkg/other.py"):
        (task / name).write_text(source)
    changes = defer_in(task, [Path("app.py"), Path("pkg/other.py")], "heavy", tmp_path / "copy")
    assert {change.path.as_posix() for change in changes} == {"app.py", "pkg/other.py"}
    assert (task / "app.py").read_text() == source
    assert (tmp_path / "copy" / "pkg" / "other.py").read_text().startswith("def f()")
    assert changes[0].diff.startswith("--- a/app.py\n+++ b/app.py\n")
