"""Measures the recorder and its peers side by side: `python bench/run.py --help`. Methods and limits: docs/bench.md."""

import argparse
import json
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# `bench` is a package: its own folder, first on the path of a script, would shadow the library's `profile`
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import clock, table  # noqa: E402
from bench.count import METHOD, count  # noqa: E402
from bench.machine import describe  # noqa: E402
from bench.prepare import (  # noqa: E402
    ROOT,
    UnavailableError,
    Workshop,
    build,
    build_drawing,
    digest,
    run,
    versions_of,
    zipped_bytes,
)
from bench.runtime_api import EndedError, Server  # noqa: E402
from bench.sandbox import can_mount  # noqa: E402
from bench.setups import FUNCTIONS, SETUPS  # noqa: E402

RESULTS = ROOT / "bench" / "results"
PARTS = ("count", "modules", "memory", "time", "size")


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--only", help=f"setups, comma-separated: {','.join(SETUPS)}")
    parser.add_argument("--functions", default=",".join(FUNCTIONS), help="plain,calls")
    parser.add_argument("--parts", help=f"what to measure: {','.join(PARTS)}; --quick alone means count,size")
    parser.add_argument(
        "--quick", action="store_true", help="few repetitions, implies --keep; writes to build/bench only"
    )
    parser.add_argument("--keep", action="store_true", help="keep peers' counts of a run with the same inputs")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=int, default=cores, help="functions counted at once; changes no count")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the functions")
    asked = parser.parse_args()
    asked.only = asked.only.split(",") if asked.only else list(SETUPS)
    if "bare" not in asked.only:
        asked.only.insert(0, "bare")
    asked.functions = asked.functions.split(",")
    asked.keep = asked.keep or asked.quick
    asked.parts = asked.parts.split(",") if asked.parts else ["count", "size"] if asked.quick else list(PARTS)
    unknown = set(asked.only) - set(SETUPS) | set(asked.functions) - set(FUNCTIONS) | set(asked.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return asked


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


def counted(workshop: Workshop, name: str, function: str, *, quick: bool, keep: bool) -> dict:
    """Count; with `keep`, take over what an earlier run counted with the same inputs, except for coldspan."""
    warm_up, warm = (6, 6) if quick else (20, 40)
    folders = (workshop.runtime, workshop.task(SETUPS[name]), workshop.layer(SETUPS[name]))
    built = [(folder / ".built-from").read_text() for folder in folders if (folder / ".built-from").exists()]
    key = digest(METHOD, repr(SETUPS[name]), function, str(warm), str(can_mount()), workshop.python, *built)
    kept = workshop.base / "counts" / f"{key}.json"
    if keep and name != "coldspan" and kept.exists():
        return json.loads(kept.read_text()) | {"kept": True}
    found = count(Server(), workshop, SETUPS[name], function, warm_up, warm)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(found))
    return found


def count_all(asked: argparse.Namespace, workshop: Workshop, names: list[str], reasons: dict[str, str]) -> dict:
    """Instructions by function and setup; several at once, which changes no count."""
    pairs = [(function, name) for function in asked.functions for name in names]
    found: dict[str, dict[str, dict]] = {function: {} for function in asked.functions}
    with ProcessPoolExecutor(asked.jobs) as pool:
        tasks = {
            pair: pool.submit(counted, workshop, pair[1], pair[0], quick=asked.quick, keep=asked.keep) for pair in pairs
        }
        for (function, name), task in tasks.items():
            try:
                found[function][name] = {"instructions": task.result()}
                say(f"counted {function} under {name}")
            except EndedError as error:
                reasons[f"{name} ({function})"] = str(error)
    return found


def measure(asked: argparse.Namespace, workshop: Workshop, names: list[str], reasons: dict[str, str]) -> dict:
    """Everything asked for, by function and setup. A setup that fails is left out, its reason noted."""
    found: dict[str, dict[str, dict]] = {function: {name: {} for name in names} for function in asked.functions}
    if "count" in asked.parts:
        found = count_all(asked, workshop, names, reasons)
    server = Server()
    for function, rows in found.items():
        try:
            measure_uncounted(asked, server, workshop, function, rows)
        except EndedError as error:
            reasons[f"time and memory ({function})"] = str(error)
    return found


def measure_uncounted(
    asked: argparse.Namespace, server: Server, workshop: Workshop, function: str, rows: dict[str, dict]
) -> None:
    """Modules, memory and time of one function under every setup."""
    setups = [SETUPS[name] for name in rows]
    if "modules" in asked.parts:
        say(f"modules of {function}")
        for setup in setups:
            loaded = clock.modules(server, workshop, setup, function)
            rows[setup.name]["modules"] = {moment: len(those) for moment, those in loaded.items()}
    if "memory" in asked.parts:
        say(f"cold starts of {function}")
        times = 3 if asked.quick else 9
        for name, row in clock.cold_starts(server, workshop, setups, function, times, 20).items():
            rows[name]["cold"] = row
    for kind in ("unsampled", "sampled") if "time" in asked.parts else ():
        say(f"warm invocations of {function}, {kind}")
        rounds = 150 if asked.quick else 600
        warm = clock.warm_invocations(server, workshop, setups, function, rounds, sampled=kind == "sampled")
        for name, row in warm.items():
            rows.setdefault(name, {}).setdefault("warm", {})[kind] = row


def sizes(workshop: Workshop, names: list[str]) -> dict[str, dict[str, int]]:
    """Zipped bytes of each layer."""
    say("layer sizes")
    target = workshop.base / "layer.zip"
    found = {}
    for name in names:
        folder = workshop.layer(SETUPS[name])
        if name != "bare":
            found[name] = {
                "zip_bytes": zipped_bytes(folder, target, with_byte_code=False),
                "zip_bytes_with_byte_code": zipped_bytes(folder, target, with_byte_code=True),
            }
    ours = ROOT / "build" / "coldspan-recorder.zip"
    if "coldspan" in found and ours.exists():
        found["coldspan"]["zip_bytes_with_byte_code"] = ours.stat().st_size
    return found


def main() -> int:
    """Build, measure, write; 1 when nothing could be measured."""
    asked = arguments()
    if "count" in asked.parts and not shutil.which("valgrind"):
        say("valgrind is not installed: instructions are left out (Debian and Ubuntu: apt-get install valgrind)")
        asked.parts.remove("count")
    began = time.monotonic()
    workshop = Workshop(asked.python)
    machine = describe(workshop)
    say(f"building for Python {workshop.version} in {workshop.base.relative_to(ROOT)}")
    try:
        origins, reasons = build(workshop, asked.only)
    except UnavailableError as error:
        say(str(error))
        return 1
    names = [name for name in asked.only if name in origins]
    found = measure(asked, workshop, names, reasons)
    result = {
        "command": " ".join(["bench/run.py", *sys.argv[1:]]),
        "machine": machine,
        "versions": {
            "runtime": versions_of(workshop.runtime),
            "function": versions_of(workshop.task(SETUPS["bare"])),
            **{
                name: versions_of(workshop.layer(SETUPS[name]) / "python")
                for name in names
                if SETUPS[name].requirements
            },
        },
        "mounted": can_mount(),
        "origin": origins,
        "not_measured": reasons,
        "functions": found,
        "layers": sizes(workshop, names) if "size" in asked.parts else {},
        "seconds": round(time.monotonic() - began),
    }
    target = workshop.base if asked.quick else RESULTS
    target.mkdir(parents=True, exist_ok=True)
    text = table.markdown(result)
    (target / f"python{workshop.version}.json").write_text(json.dumps(result, indent=1) + "\n")
    (target / f"python{workshop.version}.md").write_text(text)
    print(text)
    if not asked.quick:
        draw(workshop, target / f"python{workshop.version}.json", ROOT / "docs" / "images")
    return 0


def draw(workshop: Workshop, result: Path, folder: Path) -> None:
    """Make the picture, where matplotlib can be had."""
    try:
        packages = build_drawing(workshop)
        script = [workshop.python, str(ROOT / "bench" / "picture.py"), str(result), str(folder)]
        run(script, env=os.environ | {"PYTHONPATH": str(packages)})
    except UnavailableError as error:
        say(f"no picture: {error}")


if __name__ == "__main__":
    sys.exit(main())
