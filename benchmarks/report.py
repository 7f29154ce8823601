"""What the benchmark says of its rounds: medians, a table for people, JSON and a picture.

In: results by load and target. Out: text and files. Knows nothing of how they were measured.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Results = dict[str, dict[str, list[dict[str, Any]]]]  # load -> target -> one result per round
LATENCIES = [
    ("envoy_ms", "p50"),
    ("envoy_ms", "p99"),
    ("envoy_ms", "p99.9"),
    ("latency_ms", "p50"),
    ("latency_ms", "p99"),
]
COLUMNS = ["", "req/s", "CPU us", "above bare", "with OPA", "MB"]
COLUMNS += ["Envoy p50 ms", "p99", "p99.9", "client p50", "p99", "denied %"]


def brief(result: dict[str, Any]) -> str:
    rate, p99 = result["requests"] / result["seconds"], result["envoy_ms"]["p99"]
    return f"{rate:7.0f}/s {result['cpu_us']:6.1f} us p99 {p99} ms"


def summary(results: Results) -> dict[str, Any]:
    """Medians for every load and target, and of the differences to bare and its ratios, round by round."""
    return {
        load: {name: _row(taken, targets["bare"]) for name, taken in targets.items()}
        for load, targets in results.items()
    }


def _row(taken: list[dict[str, Any]], bare: list[dict[str, Any]]) -> dict[str, float]:
    def median(*path: str) -> float:
        return statistics.median(_at(item, path) for item in taken)

    row = {name: median(name) for name in ("cpu_us", "cpu_all_us", "resident_mb")}
    row["denied"] = max(item["denied"] for item in taken)
    row["rate"] = statistics.median(item["requests"] / item["seconds"] for item in taken)
    for place in ("envoy_ms", "latency_ms"):
        for rank in taken[0][place]:
            row[f"{place} {rank}"] = median(place, rank)
    pairs = list(zip(taken, bare, strict=True))
    row["cpu_above_bare_us"] = statistics.median(a["cpu_us"] - b["cpu_us"] for a, b in pairs)
    row["cpu_ratio"] = statistics.median(a["cpu_us"] / b["cpu_us"] for a, b in pairs)
    return {key: round(value, 3) for key, value in row.items()}


def _at(tree: Any, path: tuple[str, ...]) -> float:
    for name in path:
        tree = tree[name]
    return float(tree)


def show(table: dict[str, Any]) -> None:
    for load, targets in table.items():
        shown = Table(title=load)
        for column in COLUMNS:
            shown.add_column(column, justify="right")
        for name, row in targets.items():
            figures = ("rate", "cpu_us", "cpu_above_bare_us", "cpu_all_us", "resident_mb")
            cells = [f"{row[figure]:.0f}" for figure in figures]
            cells += [f"{row[f'{place} {rank}']:.2f}" for place, rank in LATENCIES]
            shown.add_row(name, *cells, f"{row['denied'] * 100:.2f}")
        Console(width=120).print(shown)


def write(found: dict[str, Any], out: Path) -> None:
    """`out`.json, and `out`.png where an authorizer was compared."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_name(out.name + ".json").write_text(json.dumps(found, indent=1) + "\n")
    if "harder" in found:
        _draw(found, out.with_name(out.name + ".png"))


def _draw(found: dict[str, Any], file: Path) -> None:
    """CPU per decision at 16 connections, and the P99 at Envoy at 1,000 requests/s in every condition."""
    import matplotlib as mpl  # only here: `make bench` without a comparison runs without it

    mpl.use("Agg")
    from matplotlib import pyplot

    closed = found["summary"]["16 connections"]
    at_rate = {"at rest": found["summary"]["1000/s"]}
    at_rate |= {name: part["summary"]["1000/s"] for name, part in found["harder"].items()}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), width_ratios=[1, 2], layout="constrained")
    names = list(closed)
    left.barh(names, [closed[name]["cpu_all_us"] for name in names], color="0.6")
    left.barh(names, [closed[name]["cpu_us"] for name in names])
    left.invert_yaxis()
    left.set(title="16 connections", xlabel="CPU per decision, us (grey: OPA's)")
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        places = [place + number * width for place in range(len(at_rate))]
        heights = [
            table[name]["envoy_ms p99"] if name in table else float("nan") for table in at_rate.values()
        ]
        right.bar(places, heights, width, label=name)
    right.set_xticks([place + 0.4 - width / 2 for place in range(len(at_rate))], list(at_rate), rotation=15)
    right.set(title="1,000 requests/s", ylabel="P99 at Envoy, ms", yscale="log")
    right.legend(fontsize="small")
    figure.savefig(file, dpi=90)
    pyplot.close(figure)
