"""Draws the results: `python bench/picture.py RESULT.json FOLDER` writes bench.svg and bench-dark.svg.

Needs matplotlib (bench/requirements.txt); run.py installs it beside the other things it builds.
"""

import json
import sys
from pathlib import Path

# `bench` is a package: its own folder, first on the path of a script, would shadow the library's `profile`
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import matplotlib as mpl  # noqa: E402

mpl.use("svg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

from bench.setups import SETUPS  # noqa: E402

SHADES = {
    "bench.svg": {"back": "#ffffff", "text": "#1f2328", "soft": "#59636e", "ours": "#0b7a75", "peer": "#8c959f"},
    "bench-dark.svg": {"back": "#0d1117", "text": "#e6edf3", "soft": "#9198a1", "ours": "#3fb5ad", "peer": "#6e7681"},
}
PALER = 0.55  # opacity of the plain function's bars beside those of the function with calls


def added(result: dict, function: str, name: str) -> dict[str, float]:
    """What a setup adds to a function: millions of instructions at init and warm (sampled), MB; only what is known."""
    rows = result["functions"].get(function, {})
    row, bare = rows.get(name, {}), rows.get("bare", {})
    found = {}
    if "instructions" in row and "instructions" in bare:
        for key, label in (("init", "init"), ("warm_sampled", "warm")):
            found[label] = (row["instructions"][key] - bare["instructions"][key]) / 1e6
    if "cold" in row and "cold" in bare:
        found["memory"] = (row["cold"]["rss_warm_bytes"] - bare["cold"]["rss_warm_bytes"]) / 1e6
    return found


def panels(result: dict, names: list[str]) -> list[tuple[str, str, list[list[float | None]]]]:
    """(title, format, values) of each panel; values per setup: for the plain function and for the one with calls."""

    def both(key: str) -> list[list[float | None]]:
        return [[added(result, function, name).get(key) for function in ("plain", "calls")] for name in names]

    def size(name: str) -> list[float | None]:
        layer = result["layers"].get(name)
        if not layer:
            return [None]
        return [layer["zip_bytes_with_byte_code" if name == "coldspan" else "zip_bytes"] / 1e6]

    return [
        ("Cold start: instructions added, millions", "{:,.0f}", both("init")),
        ("Warm invocation: instructions added, millions", "{:.2f}", both("warm")),
        ("Memory added, MB", "{:.1f}", both("memory")),
        ("Layer, zipped, MB", "{:.1f}", [size(name) for name in names]),
    ]


def bars(
    axes: Axes, title: str, form: str, values: list[list[float | None]], names: list[str], shade: dict[str, str]
) -> None:
    """One panel: a group of bars per setup, each with its value."""
    known = [value for group in values for value in group if value is not None]
    widest = max(known, default=1)
    height = 0.8 / max(len(group) for group in values)
    for at, (name, group) in enumerate(zip(names, values, strict=True)):
        colour = shade["ours"] if name == "coldspan" else shade["peer"]
        for part, value in enumerate(group):
            place = at + (part - (len(group) - 1) / 2) * height
            opacity = PALER if len(group) > 1 and part == 0 else 1
            length = max(value or 0, 0)
            axes.barh(place, length, height * 0.86, color=colour, alpha=opacity, linewidth=0)
            text = "not measured" if value is None else form.format(value)
            style = {"fontsize": 7.5, "color": shade["text"], "weight": "bold" if name == "coldspan" else "normal"}
            axes.text(length + widest * 0.015, place, text, va="center", **style)
    axes.set_title(title, loc="left", fontsize=9.5, color=shade["text"], weight="bold")
    axes.set_yticks(range(len(names)), [SETUPS[name].title for name in names], fontsize=8.5, color=shade["text"])
    axes.invert_yaxis()
    axes.set_xlim(0, widest * 1.17)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw(result: dict, target: Path, shade: dict[str, str]) -> None:
    """One picture in one shade."""
    names = [name for name in SETUPS if name != "bare" and any(name in rows for rows in result["functions"].values())]
    figure, grid = plt.subplots(2, 2, figsize=(9.4, 6.4), facecolor=shade["back"])
    for axes, panel in zip(grid.flat, panels(result, names), strict=True):
        bars(axes, *panel, names, shade)
    machine = result["machine"]
    client = result["versions"]["runtime"]["awslambdaric"]
    note = (
        "Added to the bare function; shorter is better. Upper bar: plain function; lower bar: one DynamoDB and one HTTP"
        f" call.\nPython {machine['python']}, awslambdaric {client}, byte code for every setup; counted by callgrind,"
        f" {machine['date']}. Method and limits: docs/bench.md."
    )
    figure.text(0.012, 0.012, note, fontsize=7.5, color=shade["soft"], va="bottom", linespacing=1.5)
    figure.tight_layout(rect=(0, 0.07, 1, 1), w_pad=2.5, h_pad=1.8)
    figure.savefig(target, metadata={"Date": None, "Title": "What each instrument adds to a Lambda function"})
    plt.close(figure)


def main() -> int:
    """Draw both pictures."""
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    result = json.loads(source.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "coldspan"  # the same picture from the same figures
    for name, shade in SHADES.items():
        draw(result, folder / name, shade)
    return 0


if __name__ == "__main__":
    sys.exit(main())
