"""Imports moved into the functions that use them: what a developer would write to make an import lazy.

Only source text changes, in a copy of the function's folder: the process that is measured afterwards runs what would
be deployed after such a change, with no hook of ours in it.
"""

import ast
import difflib
import symtable
from dataclasses import dataclass, field
from pathlib import Path

from coldspan_console.platform.sandbox import compose_opt

Function = ast.FunctionDef | ast.AsyncFunctionDef
Import = ast.Import | ast.ImportFrom


class NotMovableError(Exception):
    """Why an import cannot be moved, as a sentence that names the line."""


@dataclass(slots=True)
class Change:
    """A file's source before and after. `moved`: (line of the import, names of the functions it went into)."""

    path: Path  # relative to the function's folder
    before: str
    after: str
    moved: "list[tuple[int, list[str]]]" = field(default_factory=list)

    @property
    def diff(self) -> str:
        """The change as a unified diff."""
        name = self.path.as_posix()
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True), self.after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
        )
        return "".join(lines)


def defer(source: str, package: str, path: Path) -> "Change | None":
    """Move the module-level imports of a package into the functions that use what they bind.

    Takes:  a module's source; the package as `boto3` or `xml.dom`; the path for messages.
    Gives:  the change, None when the module does not import it at its top.
    Errors: NotMovableError when a name is used while the module is loaded, when the import stands in a `try`, an `if`
            or a class, when it is a star import, and when no function uses what it binds (it is imported for what it
            does). SyntaxError as compile() has it.
    """
    tree = ast.parse(source)
    here = {id(node) for node in tree.body}
    wanted = [node for node in _at_load(tree) if isinstance(node, Import) and _names(node, package)]
    if not wanted:
        return None
    for node in wanted:
        if id(node) not in here:
            raise NotMovableError(f"{path}:{node.lineno} imports it conditionally")
    bound = {name for node in wanted for name in _names(node, package)}
    if "*" in bound:
        raise NotMovableError(f"{path}:{wanted[0].lineno} imports all of its names (*)")
    _refuse_use_at_load(tree, source, bound, path)
    users = _users(tree, source, bound, path)
    edits = _quoted(tree, bound)
    change = Change(path, source, "")
    into: dict[int, tuple[Function, list[str], set[str]]] = {}
    for node in wanted:
        names = set(_names(node, package))
        using = [function for function, used in users if used & names]
        if not using:
            raise NotMovableError(f"{path}:{node.lineno} imports it for what it does: no function uses a name of it")
        kept, moved = _divide(node, package)
        edits.append(_removal(node, kept, source))
        for function in using:
            _, statements, needed = into.setdefault(id(function), (function, [], set()))
            statements.append(moved)
            needed |= names
        change.moved.append((node.lineno, [function.name for function in using]))
    edits += [_insertion(*each, source) for each in into.values()]
    change.after = _apply(source, edits)
    return change


def defer_in(task: Path, files: "list[Path]", package: str, into: Path) -> "list[Change]":
    """Make a copy of a function's folder in which the imports of a package are moved.

    Takes:  the folder; its own source files, relative to it; the folder to make, which must not exist.
    Errors: as of defer; NotMovableError when no file imports it.
    """
    changes = []
    for file in files:
        try:
            change = defer((task / file).read_text(encoding="utf-8"), package, file)
        except (SyntaxError, UnicodeDecodeError):
            continue  # not loaded by a function that starts
        if change is not None:
            changes.append(change)
    if not changes:
        raise NotMovableError("the function's own code does not import it at the top of a module")
    copy_folder(task, into)
    for change in changes:
        target = into / change.path
        target.unlink()  # a link: the original stays what it is
        target.write_text(change.after, encoding="utf-8")
        for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*.pyc"):
            compiled.unlink()
    return changes


def copy_folder(task: Path, into: Path) -> None:
    """Copy a function's folder as links to its files, or as copies where the file system has no links."""
    compose_opt(into, task, without=(".git", ".coldspan"))


def _is_of(name: "str | None", package: str) -> bool:
    return name is not None and (name == package or name.startswith(package + "."))


def _names(node: Import, package: str) -> "list[str]":
    """The names that an import binds to modules of the package or to what is in them."""
    if isinstance(node, ast.Import):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names if _is_of(alias.name, package)]
    if node.level:
        return []
    return [
        alias.asname or alias.name
        for alias in node.names
        if _is_of(node.module, package) or _is_of(f"{node.module}.{alias.name}", package)
    ]


def _divide(node: Import, package: str) -> "tuple[str, str]":
    """The statement without the package, or `pass`; and the statement with nothing else."""
    if isinstance(node, ast.ImportFrom):
        moved = [alias for alias in node.names if (alias.asname or alias.name) in set(_names(node, package))]
    else:
        moved = [alias for alias in node.names if _is_of(alias.name, package)]
    kept = [alias for alias in node.names if alias not in moved]

    def text(names: "list[ast.alias]") -> str:
        if isinstance(node, ast.ImportFrom):
            return ast.unparse(ast.ImportFrom(node.module, names, node.level))
        return ast.unparse(ast.Import(names))

    return (text(kept) if kept else "pass"), text(moved)


def _at_load(tree: ast.AST) -> "list[ast.AST]":
    """All nodes that run while the module is loaded: everything but the bodies of functions and lambdas.

    Annotations, and what type checkers alone see (`if TYPE_CHECKING`), are left out.
    """
    found = []
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop(0)
        found.append(node)
        if isinstance(node, Function):
            waiting += [*node.decorator_list, *node.args.defaults, *(one for one in node.args.kw_defaults if one)]
        elif isinstance(node, ast.Lambda):
            waiting += [*node.args.defaults, *(one for one in node.args.kw_defaults if one)]
        elif isinstance(node, ast.AnnAssign):
            waiting += [node.target, *([node.value] if node.value else [])]
        elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def _quoted(tree: ast.Module, bound: "set[str]") -> "list[tuple[int, int, int, int, str]]":
    """Edits that put annotations in quotes that would look for a moved name while the module is loaded."""
    if any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body):
        return []
    edits = []
    for node in _at_load(tree):
        for one in _annotations(node):
            names = {part.id for part in ast.walk(one) if isinstance(part, ast.Name)}
            if names & bound:
                edits.append(
                    (*_range(one), repr(ast.unparse(one)) + "\n" * ((one.end_lineno or one.lineno) - one.lineno))
                )
    return edits


def _annotations(node: ast.AST) -> "list[ast.expr]":
    if isinstance(node, ast.AnnAssign):
        return [node.annotation]
    if not isinstance(node, Function):
        return []
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [one for one in (node.returns, *(argument.annotation for argument in every if argument)) if one is not None]


def _refuse_use_at_load(tree: ast.Module, source: str, bound: "set[str]", path: Path) -> None:
    for node in _at_load(tree):
        if isinstance(node, ast.Name) and node.id in bound:
            line = source.splitlines()[node.lineno - 1].strip()
            raise NotMovableError(f"{path}:{node.lineno} uses it while the module is loaded: {line[:60]}")


def _users(tree: ast.Module, source: str, bound: "set[str]", path: Path) -> "list[tuple[Function, set[str]]]":
    """The outermost functions that use a name of the module's, and which."""
    tables: dict[tuple[str, int], symtable.SymbolTable] = {}
    waiting = [symtable.symtable(source, str(path), "exec")]
    while waiting:
        table = waiting.pop()
        tables[table.get_name(), table.get_lineno()] = table
        waiting += table.get_children()
    found = []
    for function in _outermost(tree):
        table = tables.get((function.name, function.lineno)) or tables.get((function.name, _first_line(function)))
        used = _globals_of(table) & bound if table is not None else set()
        if used:
            found.append((function, used))
    for node in _at_load(tree):
        if isinstance(node, ast.Lambda):
            for part in ast.walk(node.body):
                if isinstance(part, ast.Name) and part.id in bound:
                    raise NotMovableError(f"{path}:{part.lineno} uses it in a lambda")
    return found


def _outermost(tree: ast.Module) -> "list[Function]":
    return [node for node in _at_load(tree) if isinstance(node, Function)]


def _globals_of(table: symtable.SymbolTable) -> "set[str]":
    """Names that a function and those within it take from the module."""
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    return names.union(*(_globals_of(child) for child in table.get_children()))


def _first_line(function: Function) -> int:
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def _range(node: "ast.stmt | ast.expr") -> "tuple[int, int, int, int]":
    return node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0


def _removal(node: Import, kept: str, source: str) -> "tuple[int, int, int, int, str]":
    """An edit that leaves of an import what is kept; its lines go when it is alone on them and nothing is."""
    line, column, until, end = _range(node)
    lines = source.splitlines(keepends=True)
    rest = lines[until - 1].encode()[end:].strip()
    if kept == "pass" and not lines[line - 1].encode()[:column].strip() and (not rest or rest.startswith(b"#")):
        return line, 0, until, len(lines[until - 1].encode()), ""
    return line, column, until, end, kept + "\n" * (until - line)


def _insertion(
    function: Function, statements: "list[str]", names: "set[str]", source: str
) -> "tuple[int, int, int, int, str]":
    """An edit that puts statements right before the first of a function's that uses one of the names."""
    target = _first_use(function.body, names, source) or function.body[0]
    line = min([target.lineno, *(one.lineno for one in getattr(target, "decorator_list", ()))])
    text = source.splitlines()[line - 1].encode()
    head = text[: target.col_offset]
    if head.strip():  # on the line of its `def`, or behind another statement
        return target.lineno, target.col_offset, target.lineno, target.col_offset, "; ".join(statements) + "; "
    indent = head.decode()
    return line, 0, line, 0, "".join(f"{indent}{statement}\n" for statement in statements)


def _first_use(body: "list[ast.stmt]", names: "set[str]", source: str) -> "ast.stmt | None":
    """The statement before which names must be there, in the innermost branch of `if` and `with` that has all uses."""
    using = [statement for statement in body if _uses(statement, names)]
    if not using:
        return None
    first = using[0]
    if len(using) == 1 and isinstance(first, ast.If | ast.With | ast.AsyncWith):
        branches = [first.body, *([first.orelse] if isinstance(first, ast.If) else [])]
        inside = [branch for branch in branches if any(_uses(statement, names) for statement in branch)]
        head = [first.test] if isinstance(first, ast.If) else list(first.items)
        if len(inside) == 1 and not any(_uses(part, names) for part in head):
            return _first_use(inside[0], names, source) or first
    line = source.splitlines()[first.lineno - 1].encode()
    if line[first.col_offset :].startswith(b"elif"):
        return None  # nothing can stand before it: before the whole `if`, then
    return first


def _uses(node: ast.AST, names: "set[str]") -> bool:
    return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node))


def _apply(source: str, edits: "list[tuple[int, int, int, int, str]]") -> str:
    """The source with ranges (line from 1, column in bytes from 0, until line, column) replaced."""
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for line, column, until, end, text in sorted(edits, reverse=True):
        after = lines[until - 1][end:]
        lines[line - 1 : until] = [lines[line - 1][:column] + text.encode() + after]
    return b"".join(lines).decode()


__all__ = ["Change", "NotMovableError", "copy_folder", "defer", "defer_in"]
