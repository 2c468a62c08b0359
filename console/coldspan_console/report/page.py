"""The page: template, styles, script, charts and data in one HTML file that asks for nothing else."""

import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

HERE = Path(__file__).parent
ASSETS = HERE / "assets"
SCRIPTS = ("echarts.js", "state.js", "charts.js", "views.js", "waterfall.js", "page.js")


def render(data: "dict[str, Any]") -> str:
    """The page as HTML. The data are compressed text in base64: nothing in them can be read as markup or script."""
    scripts = [(ASSETS / name).read_text("utf-8") for name in SCRIPTS]
    style = (ASSETS / "page.css").read_text("utf-8")
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=select_autoescape(default=True), undefined=StrictUndefined
    )
    policy = "; ".join(
        (
            "default-src 'none'",
            "script-src " + " ".join(_hash(script) for script in scripts),
            "style-src 'unsafe-inline'",  # elements have places and widths of their own
            "img-src data:",
            "connect-src 'self'" if data.get("live") else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return environment.get_template("page.html.j2").render(
        title=data["title"], policy=policy, style=style, scripts=scripts, data=packed(data)
    )


def packed(data: "dict[str, Any]") -> str:
    """The data as base64 of gzip of JSON."""
    return base64.b64encode(gzip.compress(compact(data).encode(), 6, mtime=0)).decode()


def compact(data: Any) -> str:
    """The data as JSON that a browser reads: on one line, in ASCII, without NaN."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False, default=str)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
