"""Results as Markdown: what is added to the bare function, one table per function."""

from collections import Counter

from bench.setups import SETUPS


def markdown(result: dict) -> str:
    """The whole page, from the result that run.py writes as JSON."""
    machine, runtime = result["machine"], result["versions"]["runtime"]
    where = (
        "mounted read-only at /opt"
        if result["mounted"]
        else "not at /opt (no mount namespace here; Datadog sees no extension)"
    )
    lines = [
        f"# Figures, Python {machine['python']}",
        "",
        f"`{result['command']}` on {machine['date']}, revision {machine['revision']}, {result['seconds']} s.",
        "",
        f"On {machine['processor']}, {machine['cores']} cores, {machine['system']}, valgrind {machine['valgrind']}.",
        f"Load average {machine['load_average_at_start']} at the start (0 is a machine with nothing else to do).",
        f"Runtime: awslambdaric {runtime.get('awslambdaric')}, boto3 {runtime.get('boto3')}; layers {where};",
        "byte code for every setup. How it is measured, and what it does not say: docs/bench.md.",
        "",
    ]
    if "coldspan" in result["origin"]:
        lines += [f"The recorder: {result['origin']['coldspan']}.", ""]
    lines += [f"- {SETUPS[name].title}: {SETUPS[name].how}" for name in result["origin"]] + [""]
    for function, rows in result["functions"].items():
        lines += section(function, rows)
    lines += size_section(result["layers"])
    tables = result["functions"].values()
    if any(row.get("instructions", {}).get("kept") for rows in tables for row in rows.values()):
        lines += ["Instructions other than coldspan's are kept from an earlier run with the same inputs.", ""]
    for name, reason in result["not_measured"].items():
        lines += [f"Not measured: {name}: {reason}", ""]
    return "\n".join(lines).rstrip() + "\n"


def section(function: str, rows: dict[str, dict]) -> list[str]:
    """The tables of one function."""
    titles = {"plain": "Plain function (imports json only)", "calls": "Function with one DynamoDB and one HTTP call"}
    bare = rows.get("bare", {})
    lines = [f"## {titles[function]}", ""]
    if bare.get("instructions"):
        lines += instructions(rows, bare["instructions"])
    if bare.get("warm"):
        lines += times(rows)
    if bare.get("cold") or bare.get("modules"):
        lines += cold(rows, bare)
    return lines


def instructions(rows: dict[str, dict], bare: dict) -> list[str]:
    """Millions of instructions, and what each setup adds."""
    lines = [
        "Instructions in millions; the first line in full, the others what they add to it. `before`: the share",
        "of a warm invocation before its response arrives.",
        "",
        "| | init | up to the second `next` | warm, unsampled | before | warm, sampled | before |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        counts = row.get("instructions")
        if not counts:
            continue
        base = Counter() if name == "bare" else bare
        shown = [
            counts["init"] - base["init"],
            counts["init"] + counts["first"] - base["init"] - base["first"],
            *(counts[key] - base[key] for key in ("warm_unsampled", "hot_unsampled", "warm_sampled", "hot_sampled")),
        ]
        cells = [f"{value / 1e6:.1f}" for value in shown[:2]] + [f"{value / 1e6:.3f}" for value in shown[2:]]
        lines.append(f"| {SETUPS[name].title} | {' | '.join(cells)} |")
    return [*lines, ""]


def times(rows: dict[str, dict]) -> list[str]:
    """Warm invocations in µs."""
    lines = [
        "Warm invocations in µs, all setups interleaved. `added`: the median of the differences from the bare",
        "function in the same round; for `bare again` it is the noise floor.",
        "",
        "| | trace | caller, median | p99 | added | total, median | p99 | added | processor time | log bytes |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        for kind, warm in row.get("warm", {}).items():
            keys = [f"{until}_{what}_us" for until in ("caller", "total") for what in ("median", "p99", "added")]
            cells = [f"{warm[key]:.0f}" for key in (*keys, "cpu_us", "log_bytes")]
            title = SETUPS[name].title if name in SETUPS else name
            lines.append(f"| {title} | {kind} | {' | '.join(cells)} |")
    return [*lines, ""]


def cold(rows: dict[str, dict], bare: dict) -> list[str]:
    """Cold starts: milliseconds, memory, modules."""
    lines = [
        "Cold starts (medians) and what they hold; the first line in full, the others what they add to it.",
        "",
        "| | init ms | first invocation ms | RSS MB | RSS MB, warm | PSS MB, warm | modules | modules, warm |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    shown = (
        ("init_ms", 1, 1),
        ("first_ms", 1, 1),
        *((f"{key}_bytes", 1e6, 2) for key in ("rss_init", "rss_warm", "pss_warm")),
    )
    for name, row in rows.items():
        if name not in SETUPS:
            continue
        base = {} if name == "bare" else bare
        cells = [added(row, base, "cold", key, unit, digits) for key, unit, digits in shown]
        cells += [added(row, base, "modules", key, 1, 0) for key in ("init", "first")]
        lines.append(f"| {SETUPS[name].title} | {' | '.join(cells)} |")
    return [*lines, ""]


def added(row: dict, base: dict, part: str, key: str, unit: float, digits: int) -> str:
    """One cell: the value less the base's; empty when it was not measured."""
    if key not in row.get(part, {}):
        return ""
    return f"{(row[part][key] - base.get(part, {}).get(key, 0)) / unit:.{digits}f}"


def size_section(layers: dict[str, dict]) -> list[str]:
    """Bytes of the layers."""
    if not layers:
        return []
    lines = ["## Layer, zipped", "", "| | KB without byte code | KB with byte code |", "|---|---:|---:|"]
    for name, size in layers.items():
        cells = [f"{size[key] / 1000:,.0f}" for key in ("zip_bytes", "zip_bytes_with_byte_code")]
        lines.append(f"| {SETUPS[name].title} | {' | '.join(cells)} |")
    return [*lines, ""]
