"""Modules that fail to import. They are written when a test needs them: tools that read this repository would fail."""

MODULES = {
    "broken_syntax.py": "def handler(event, context:\n    return 1\n",
    "broken_indent.py": "def handler(event, context):\nreturn 1\n",
    "broken_encoding.py": "# -*- coding: no-such-codec -*-\nhandler = print\n",
    "broken_null.py": "handler = 'a\0b'\n",
    "broken_nested_syntax.py": "import broken_syntax\n",
    "broken_value.py": "def load():\n    raise ValueError('at import: 1')\n\nload()\n",
    "broken_chain.py": "try:\n    {}['a']\nexcept KeyError as error:\n    raise RuntimeError('chained') from error\n",
    "broken_import.py": "import no_such_library\n",
    "broken_nested_import.py": "import broken_import\n",
    "broken_from.py": "from json import no_such_name\n",
    "broken_relative.py": "from . import sibling\n",
    "broken_exit.py": "import sys\nsys.exit(3)\n",
    "broken_exit_text.py": "raise SystemExit('gave up')\n",
    "broken_interrupt.py": "raise KeyboardInterrupt\n",
    "broken_os_exit.py": "import os\nos._exit(7)\n",
    "broken_recursion.py": "def f():\n    f()\n\nf()\n",
    "broken_group.py": "raise ExceptionGroup('several', [ValueError('1'), TypeError('2')])\n",
    "broken_base.py": "class Own(BaseException):\n    pass\n\nraise Own('not an Exception')\n",
    "broken_name.py": "handler = no_such_name\n",
    "broken_str.py": "class Mute(Exception):\n    def __str__(self):\n        return ''\n\nraise Mute\n",
    "broken_handler.py": "handler = 'text'\n",
    "broken_getattr.py": "def __getattr__(name):\n    raise ValueError('module says ' + name)\n",
    "broken_lazy.py": "def __getattr__(name):\n    import broken_import\n",
    "circular_one.py": "import circular_two\nvalue = 1\n",
    "circular_two.py": "from circular_one import value\n",
}


def write(folder):
    """Write them into a function's code."""
    for name, text in MODULES.items():
        (folder / name).write_bytes(text.encode())
