"""The result as a person reads it, within 80 columns: a bar for each part, a tree of imports, what to do."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from coldspan_console.blame.profile import PARTS, START
from coldspan_console.blame.whatif import COMPILED
from coldspan_console.tree import milliseconds, plain

if TYPE_CHECKING:
    from rich.console import Console

BAR = 24
NODES, SHARE = 24, 0.03  # packages shown in the tree, and what they must cost of all imports
STYLES = {"yours": "green", "packages": "cyan", "layers": "magenta", "coldspan": "yellow"}
WORDS = {
    START: "interpreter and runtime client",
    "runtime": "packages that the runtime brings",
    "python": "standard library",
    "layers": "layers",
    "packages": "your packages",
    "yours": "your own code",
    "coldspan": "coldspan",
}
WHOSE = {"runtime": "the runtime's", "python": "standard library", "layers": "a layer's", "packages": "your package"}
CHANGES = 8  # shown of a kind


def show(console: "Console", found: "dict[str, Any]") -> None:
    """Print all of it."""
    _head(console, found)
    _parts(console, found)
    console.print(_tree(found))
    for part in (_what_if, _against, _budgets):
        part(console, found)


def _head(console: "Console", found: "dict[str, Any]") -> None:
    text = Text()
    text.append(plain(found["function"]), "bold")
    text.append(f"  init {milliseconds(found['init']['ms'])}", "bold")
    text.append(f" ± {milliseconds(found['init']['deviation_ms'])}", "dim")
    facts = [f"{found['module_count']} modules", f"{found['runs']} cold starts", found["python"]]
    if found["instructions"]:
        facts.insert(0, f"{found['instructions'] / 1e6:,.1f} M instructions")
    text.append("  " + " · ".join(facts), "dim")
    console.print(text)
    if found["first"]["error"]:
        console.print(Text(f"the first invocation failed: {plain(found['first']['error'])} (-e EVENT)", "yellow"))


def _parts(console: "Console", found: "dict[str, Any]") -> None:
    parts = found["parts_ms"]
    most = max(parts.values()) or 1.0
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name in PARTS:
        if parts[name] or name in {"yours", "coldspan"}:
            bar = Text(_bar(parts[name] / most), STYLES.get(name, "blue"))
            table.add_row(f"  {WORDS[name]}", milliseconds(parts[name]), bar)
    console.print(table)


def _bar(share: float) -> str:
    eighths = round(max(min(share, 1.0), 0.0) * BAR * 8)
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


class Node:
    """A package where it was imported; what it brought is below."""

    def __init__(self, module: "dict[str, Any] | None" = None) -> None:
        self.package = module["name"].partition(".")[0] if module else ""
        self.module = module
        self.total = 0.0
        self.below: dict[str, Node] = {}


def packages_below(modules: "list[dict[str, Any]]") -> Node:
    """The tree of imports by package: a package's own modules are one with it."""
    root = Node()
    path: list[Node] = []  # the node that each open import counts for
    for module in modules:
        del path[module["depth"] :]
        above = path[-1] if path else root
        name = module["name"].partition(".")[0]
        node = next((one for one in path if one.package == name), None)
        if node is None:
            node = above.below.setdefault(name, Node(module))
            node.total += module["total_ms"]
        path.append(node)
    return root


def _tree(found: "dict[str, Any]") -> Tree:
    root = packages_below(found["modules"])
    whole = found["imports"]["ms"] or 1.0
    own = {package["name"]: package["self_ms"] for package in found["packages"]}
    text = Text("imports ", "bold")
    text.append(milliseconds(found["imports"]["ms"]))
    text.append(", with what each brings", "dim")
    tree = Tree(text, guide_style="dim")
    left = [NODES]

    def grow(into: Tree, node: Node) -> None:
        small, count = 0.0, 0
        for each in sorted(node.below.values(), key=lambda one: -one.total):
            if each.total < SHARE * whole or left[0] <= 0:
                small, count = small + each.total, count + 1
                continue
            left[0] -= 1
            grow(into.add(_node(each, whole, own)), each)
        if count and small >= SHARE * whole:
            into.add(Text(f"{count} more  {milliseconds(small)}", "dim"))

    grow(tree, root)
    return tree


def _node(node: Node, whole: float, own: "dict[str, float]") -> Text:
    module = node.module or {}
    where = module.get("where", "")
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(plain(node.package), STYLES.get(where, ""))
    text.append(f"  {milliseconds(node.total)}  ")
    text.append("▇" * max(round(node.total / whole * 12), 1), STYLES.get(where, "blue"))
    alone = own.get(node.package, 0.0)
    if node.below and alone < node.total * 0.95:
        text.append(f"  own {milliseconds(alone)}", "dim")
    if module.get("imported_at"):
        text.append(f"  {plain(module['imported_at'])}", "dim")
    if where in WHOSE and where != "python":
        text.append(f"  {WHOSE[where]}", "dim")
    return text


def _what_if(console: "Console", found: "dict[str, Any]") -> None:
    if not found["what_if"]:
        return
    console.print(Text("what a lazy import would save", "bold").append(", measured by running without it", "dim"))
    for one in found["what_if"]:
        if one["kind"] == COMPILED:
            console.print(_compiled(one))
            continue
        text = Text("  ")
        if not one["works"]:
            text.append("✗ ", "yellow").append(plain(one["package"]), "bold")
            text.append(f"  does not work lazily: {plain(one['why'])}")
        elif not one["is_saving"]:
            text.append("- ", "dim").append(plain(one["package"]), "bold")
            text.append(f"  saves nothing above the noise of {milliseconds(one['noise_ms'])}")
            if one["still_loaded"]:
                text.append(": something else imports it during the init")
        else:
            text.append("✓ ", "green").append(plain(one["package"]), "bold")
            text.append(f"  saves {milliseconds(one['saved_ms'])}", "green")
            text.append(f" ± {milliseconds(one['noise_ms'])}", "dim")
            if one["first_use"] == "first invocation":
                text.append(f"; the first invocation then takes {milliseconds(one['moved_ms'])} more")
            else:
                text.append("; with this event nothing uses it")
        console.print(text)
        if "while the module is loaded" in one["why"]:
            console.print(
                Text("    make that at its first use, in a function that keeps it; then the import can go there", "dim")
            )
        if one["works"] and one["is_saving"]:
            for moved in one["moved"][:CHANGES]:
                into = ", ".join(moved["into"])
                console.print(Text(f"    move {plain(moved['imported_at'])} into {plain(into)}", "dim"))


def _compiled(one: "dict[str, Any]") -> Text:
    """What byte code beside the function's sources would save."""
    if not one["works"]:
        return Text("  ✗ ", "yellow").append("byte code", "bold").append(f"  {plain(one['why'])}")
    if not one["is_saving"]:
        text = Text("  - ", "dim").append("byte code", "bold")
        return text.append(f"  saves nothing above the noise of {milliseconds(one['noise_ms'])}")
    text = Text("  ✓ ", "green").append("byte code", "bold").append(f"  saves {milliseconds(one['saved_ms'])}", "green")
    text.append(f" ± {milliseconds(one['noise_ms'])}", "dim")
    return text.append(
        "\n    python -m compileall --invalidation-mode unchecked-hash FOLDER, before it is zipped", "dim"
    )


def _against(console: "Console", found: "dict[str, Any]") -> None:
    told = found["against"]
    if not told:
        return
    how = "side by side" if told["side_by_side"] else "as it was saved"
    console.print(Text(f"against {plain(told['label'])}", "bold").append(f", {how}", "dim"))
    if not told["same_machine"] and not told["side_by_side"]:
        console.print(Text(f"  it was measured elsewhere: {plain(told['machine'])}, {told['python']}", "yellow"))
    for name in ("init", "imports"):
        console.print(Text("  ").append_text(_change(name, told[name])))
    if told["instructions"]:
        console.print(f"  instructions  {told['instructions']['change'] / 1e6:+,.1f} M")
    console.print(f"  {told['ratio']:.2f} times the baseline ({told['ratio_of']})")
    for sign, style, name in (("+", "red", "added"), ("-", "green", "removed")):
        for one in sorted(told[name], key=lambda one: -one["total_ms"])[:CHANGES]:
            at = f"  {plain(one['imported_at'])}" if one["imported_at"] else ""
            text = Text(f"  {sign} {plain(one['name'])}", style)
            console.print(text.append(f"  own {milliseconds(one['self_ms'])}, {one['modules']} modules{at}", "dim"))
    for one in told["packages"][:CHANGES]:
        console.print(Text("  ").append_text(_change(plain(one["name"]), one)))
    if not (told["added"] or told["removed"] or told["packages"]):
        console.print(Text("  no package came, went or changed by more than the noise", "dim"))


def _change(name: str, change: "dict[str, Any]") -> Text:
    text = Text(f"{name}  {milliseconds(change['before_ms'])} → {milliseconds(change['after_ms'])}")
    if change["counts"]:
        sign, style = ("+", "red") if change["change_ms"] > 0 else ("-", "green")
        return text.append(f"  {sign}{milliseconds(abs(change['change_ms']))}", style)
    return text.append(f"  the same within {milliseconds(change['noise_ms'])}", "dim")


def _budgets(console: "Console", found: "dict[str, Any]") -> None:
    for one in found.get("budgets") or ():
        mark, style = ("✗", "bold red") if one["over"] else ("✓", "green")
        console.print(Text(f"{mark} {plain(one['words'])}", style))
    if any(one["over"] for one in found.get("budgets") or ()):
        for line in found["advice"]:
            console.print(Text(f"  to do: {plain(line)}"))


__all__ = ["packages_below", "show"]
