"""Draws the panels of the dashboard from a Prometheus, for people without a Grafana.

    python deploy/grafana/draw.py --prometheus http://127.0.0.1:9090 --minutes 5 --out docs/dashboard.png

In: aegis.json beside this file and the answers of a running Prometheus to the panels' own queries
(`query_range`). Out: one PNG. It shows what the queries say; Grafana's look and its transformations it does
not have. The tests take the panels and their queries from here too.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DASHBOARD: Final = Path(__file__).with_name("aegis.json")
COLUMNS: Final = 24  # of Grafana's grid
_INCHES_A_COLUMN, _INCHES_A_ROW = 0.62, 0.3
_LONGEST_LEGEND: Final = 8
_DOTS_AN_INCH: Final = 72
_COLOURS: Final = 32  # enough for lines and text, and a small file
_SECONDS_FROM: Final = 10  # longer times are shown in seconds
_ORANGE: Final = "#d9480f"
_UNITS: Final = {
    "s": ("ms", 1000.0),
    "percentunit": ("%", 100.0),
    "bytes": ("GB", 1e-9),
    "reqps": ("/s", 1.0),
}


@dataclass(frozen=True)
class Panel:
    """One panel with (query, legend) for each of its targets."""

    title: str
    kind: str  # Grafana's type
    unit: str
    place: tuple[int, int, int, int]  # x, y, width, height on Grafana's grid
    queries: tuple[tuple[str, str], ...]
    limits: tuple[float, ...]  # lines that Grafana draws across


def panels(dashboard: Path = DASHBOARD) -> list[Panel]:
    return [_panel(each) for each in json.loads(dashboard.read_text())["panels"]]


def _panel(tree: dict[str, Any]) -> Panel:
    at, shown = tree["gridPos"], tree.get("fieldConfig", {}).get("defaults", {})
    drawn = shown.get("custom", {}).get("thresholdsStyle", {}).get("mode") == "line"
    steps = shown["thresholds"]["steps"] if drawn else []
    return Panel(
        tree["title"],
        tree["type"],
        shown.get("unit", ""),
        (at["x"], at["y"], at["w"], at["h"]),
        tuple((target["expr"], target["legendFormat"]) for target in tree.get("targets", [])),
        tuple(step["value"] for step in steps if step["value"] is not None),
    )


def filled_in(query: str, interval: str = "1m") -> str:
    """The query as Grafana sends it, for all workers and with `interval` for the rate's window."""
    return query.replace("$__rate_interval", interval).replace("$instance", ".*")


def ask(prometheus: str, path: str, **parameters: str) -> Any:
    """`data` of the answer of Prometheus's HTTP API. Raises RuntimeError with what it says is wrong."""
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - the caller's own Prometheus
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{path} {parameters}: {json.load(error)['error']}") from None


class Drawing:
    """One figure with a panel where Grafana would have it."""

    def __init__(self, prometheus: str, minutes: float, interval: str) -> None:
        self._prometheus, self._interval = prometheus, interval
        self._until = time.time()
        self._since = self._until - minutes * 60
        self._step = max(1.0, minutes * 60 / 240)

    def save(self, listed: list[Panel], out: Path) -> None:
        from matplotlib import pyplot
        from PIL import Image

        pyplot.rcParams |= {"font.size": 7, "axes.titlesize": 8, "axes.spines.top": False}
        rows = max(y + height for _, y, _, height in (panel.place for panel in listed))
        size = (COLUMNS * _INCHES_A_COLUMN, rows * _INCHES_A_ROW)
        figure = pyplot.figure(figsize=size, facecolor="white")
        for panel in listed:
            x, y, width, height = panel.place
            box = ((x + 0.75) / COLUMNS, 1 - (y + height - 0.9) / rows, (width - 1.1) / COLUMNS)
            if panel.kind == "row":
                figure.text(0.01, 1 - (y + 0.8) / rows, panel.title, fontsize=10, weight="bold")
                continue
            axes = figure.add_axes((*box, (height - 2.0) / rows))
            axes.set_title(panel.title, loc="left")
            {"stat": self._stat, "table": self._table, "heatmap": self._heat}.get(panel.kind, self._lines)(
                axes, panel
            )
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=_DOTS_AN_INCH)
        pyplot.close(figure)
        Image.open(drawn).convert("RGB").quantize(_COLOURS).save(out, optimize=True)

    def _lines(self, axes: Any, panel: Panel) -> None:
        lines = [
            (_named(legend, labels), points)
            for query, legend in panel.queries
            for labels, points in self._series(query)[:_LONGEST_LEGEND]
        ]
        highest = max((value for _, points in lines for _, value in points), default=0.0)
        unit, factor = _unit(panel.unit, highest)
        for label, points in lines:
            xs = [at - self._until for at, _ in points]
            axes.plot(xs, [value * factor for _, value in points], lw=1, label=label)
        for limit in panel.limits:
            if limit < 2 * highest:  # a limit far above would press the line to the ground
                axes.axhline(limit * factor, color=_ORANGE, lw=0.8, ls="--")
        axes.set_xlim(self._since - self._until, 0)
        axes.set_ylim(0, max(axes.get_ylim()[1], highest * factor * 1.3))  # room for the legend
        axes.set_ylabel(unit)
        axes.tick_params(length=2)
        if axes.lines:
            axes.legend(loc="upper left", fontsize=6, frameon=False, ncols=2)

    def _stat(self, axes: Any, panel: Panel) -> None:
        ((query, _),) = panel.queries
        found = self._ask_now(query)
        value = float(found[0]["value"][1]) if found else math.nan
        unit, factor = _unit(panel.unit, value)
        text = f"{value * factor:.3g} {unit}" if found else "no data"
        axes.set_axis_off()
        axes.text(0.5, 0.3, text, ha="center", fontsize=13, weight="bold")

    def _table(self, axes: Any, panel: Panel) -> None:
        ((query, _),) = panel.queries
        axes.set_axis_off()
        for number, row in enumerate(self._ask_now(query)):
            labels = {name: value[:16] for name, value in row["metric"].items() if name[:1] != "_"}
            axes.text(0, 0.85 - 0.15 * number, "   ".join(labels.values()), family="monospace")

    def _heat(self, axes: Any, panel: Panel) -> None:
        ((query, _),) = panel.queries
        bounds = sorted(self._series(query), key=lambda one: float(one[0]["le"]))
        heights = [dict(points) for _, points in bounds]
        times = sorted(set().union(*heights))
        rows = [[row.get(at, 0.0) for at in times] for row in heights]
        below = [[0.0] * len(times), *rows[:-1]]
        cells = [
            [max(0.0, a - b) for a, b in zip(*pair, strict=True)] for pair in zip(rows, below, strict=True)
        ]
        axes.imshow(cells, aspect="auto", origin="lower", cmap="Oranges", interpolation="nearest")
        names = [f"{float(labels['le']) * 1000:g}" for labels, _ in bounds]
        axes.set_yticks(range(0, len(names), 3), names[::3])
        axes.set_xticks([])
        axes.set_ylabel("ms")

    def _ask_now(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ask(
            self._prometheus, "query", query=filled_in(query, self._interval), time=str(self._until)
        )["result"]
        return found

    def _series(self, query: str) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        found = ask(
            self._prometheus,
            "query_range",
            query=filled_in(query, self._interval),
            start=str(self._since),
            end=str(self._until),
            step=str(self._step),
        )["result"]
        return [(one["metric"], list(_finite(one["values"]))) for one in found]


def _unit(of: str, highest: float) -> tuple[str, float]:
    return ("s", 1.0) if of == "s" and highest >= _SECONDS_FROM else _UNITS.get(of, ("", 1.0))


def _finite(values: list[list[Any]]) -> Iterator[tuple[float, float]]:
    for at, text in values:
        value = float(text)
        if math.isfinite(value):
            yield float(at), value


def _named(legend: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        legend = legend.replace("{{" + name + "}}", value)
    return legend


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the dashboard's panels from a Prometheus.")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--interval", default="1m", help="window of rates: at least four scrapes")
    parser.add_argument("--out", type=Path, default=Path("dashboard.png"))
    told = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    Drawing(told.prometheus, told.minutes, told.interval).save(panels(), told.out)


if __name__ == "__main__":
    main()
