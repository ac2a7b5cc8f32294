"""The pictures of runs: error against iterations, as in Figures 4 and 6 of He et al. 2015."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from resdsl.files import replace_file
from resdsl.train.errors import TrainError

Metrics = list[dict[str, float | None]]
Points = list[tuple[float, float]]

# Okabe and Ito: safe for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TEST_COLOUR, TRAIN_COLOUR, VALIDATION_COLOUR = COLOURS[:3]
LINES = (
    ("train_error", "training", TRAIN_COLOUR, "--", 1.0),
    ("validation_error", "validation", VALIDATION_COLOUR, "-", 1.2),
    ("test_error", "test", TEST_COLOUR, "-", 2.0),
)
NEEDS_MATPLOTLIB = "it needs matplotlib (pip install 'resdsl[plot]')"
WITHOUT = f"no curve picture: {NEEDS_MATPLOTLIB}"
FORMATS = ("svg", "png")
TENS_OF_THOUSANDS_FROM = 20_000  # iterations


@dataclass(frozen=True, slots=True)
class Curve:
    """One network's errors in a picture: one run, or several seeds of it. `drops` are steps at which the rate falls."""

    label: str
    runs: tuple[Metrics, ...]
    drops: tuple[float, ...] = ()


def has_matplotlib() -> bool:
    """Whether pictures can be drawn."""
    try:
        return find_spec("matplotlib") is not None
    except ValueError:  # somebody put None in its place
        return False


def draw_curves(folder: Path, title: str, metrics: Metrics) -> list[Path]:
    """Write curves.svg and curves.png into the run folder; their paths, or none where matplotlib is missing."""
    if not has_matplotlib():
        return []
    paths = [folder / f"curves.{suffix}" for suffix in FORMATS]
    with _figure() as (figure, axes):
        for key, label, colour, style, width in LINES:
            if points := error_points(metrics, key):
                label = f"{label} ({points[-1][1]:.2f} % at the end)"
                _line(axes, points, style, color=colour, linewidth=width, label=label)
        _mark_drops(axes, rate_drops(metrics, {}))
        axes.set(title=title)
        axes.set_xlim(left=0)
        axes.set_ylim(0, _sensible_top([Curve(title, (metrics,))]))
        _count_in_tens_of_thousands(axes)
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize="small"
        )
        for path in paths:
            _save(figure, path)
    return paths


def plot_runs(curves: Sequence[Curve], paths: Sequence[Path], *, log: bool, top: float | None, title: str) -> None:
    """One picture of several networks: test error bold, training error thin and dashed, one colour a network.

    Of several seeds it shows the median, with a band from the least to the largest test error. `top` is the upper end
    of the axis in percent; without one the first tenth of the iterations, where all errors are large, may lie above
    it. Raises TrainError without matplotlib, or for a file that is neither SVG nor PNG.
    """
    for path in paths:
        if path.suffix[1:].lower() not in FORMATS:
            raise TrainError(f"{path} must end in .svg or .png")
    if not has_matplotlib():
        raise TrainError(f"no picture: {NEEDS_MATPLOTLIB}")
    from matplotlib.ticker import FuncFormatter

    with _figure() as (figure, axes):
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(_count))
        for place, curve in enumerate(curves):
            _draw(axes, curve, place)
        _mark_drops(axes, {step for curve in curves for step in curve.drops})
        ends = [points[-1][0] for curve in curves for points in _all_points(curve)]
        if not log:
            axes.set_xlim(0, max(ends))
            _count_in_tens_of_thousands(axes)
        axes.set_ylim(0, top or _sensible_top(curves))
        if title:
            axes.set(title=title)
        _legend(figure, axes)
        for path in paths:
            _save(figure, path)


def error_points(metrics: Metrics, key: str) -> Points:
    """(iterations, error in percent) of one column of metrics.jsonl, without lines that lack it."""
    found = []
    for row in metrics:
        step, error = row["step"], row.get(key)
        if step is not None and error is not None:
            found.append((step, error * 100))
    return found


def rate_drops(metrics: Metrics, recipe: dict[str, Any]) -> tuple[float, ...]:
    """The steps at which the learning rate falls: those of the recipe, or where it fell at once after a while."""
    schedule = recipe.get("schedule")
    if isinstance(schedule, dict) and schedule.get("name") == "steps":
        an_epoch = next((row["step"] / row["epoch"] for row in metrics if row["step"] and row["epoch"]), 1.0)
        unit = an_epoch if schedule.get("unit") == "epochs" else 1.0
        last = max((row["step"] or 0.0 for row in metrics), default=0.0)
        return tuple(at * unit for at in schedule["at"] if at * unit <= last)
    rows = [(row["step"], row["lr"]) for row in metrics if row["step"] and row.get("lr")]
    drops = []
    # Of a rate that falls bit by bit nothing is marked.
    for ((_, first), (before, second)), ((_, _), (_, third)) in pairwise(pairwise(rows)):
        if first is not None and first == second and third is not None and before and third <= first / 2:
            drops.append(float(before))
    return tuple(drops)


def _mark_drops(axes: Any, steps: Iterable[float]) -> None:
    for step in sorted(steps):
        axes.axvline(step, color="0.75", linewidth=0.8, linestyle=":", zorder=0)


def _draw(axes: Any, curve: Curve, place: int) -> None:
    colour = COLOURS[place % len(COLOURS)]
    # When the colours begin again, marks tell the lines apart.
    marks = (
        {"marker": "osD^v"[place // len(COLOURS) % 5], "markevery": 0.1, "markersize": 4}
        if place >= len(COLOURS)
        else {}
    )
    training = over_seeds([error_points(metrics, "train_error") for metrics in curve.runs])
    test = over_seeds([error_points(metrics, "test_error") for metrics in curve.runs])
    if training:
        points = [(step, middle) for step, _, middle, _ in training]
        _line(axes, points, "--", color=colour, linewidth=0.8, alpha=0.8)
    if test:
        points = [(step, middle) for step, _, middle, _ in test]
        _line(axes, points, "-", color=colour, linewidth=1.8, label=f"{curve.label}: {points[-1][1]:.2f} %", **marks)
        if len(curve.runs) > 1:
            steps, least, _, largest = zip(*test, strict=True)
            axes.fill_between(steps, least, largest, color=colour, alpha=0.2, linewidth=0)


def over_seeds(runs: Sequence[Points]) -> list[tuple[float, float, float, float]]:
    """(step, least, median, largest) for every step that all runs have."""
    tables = [dict(points) for points in runs]
    steps = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    found = []
    for step in steps:
        values = [table[step] for table in tables]
        found.append((step, min(values), median(values), max(values)))
    return found


def _all_points(curve: Curve) -> Iterator[Points]:
    for metrics in curve.runs:
        for key in ("train_error", "test_error"):
            if points := error_points(metrics, key):
                yield points


def _sensible_top(curves: Sequence[Curve]) -> float:
    everything = [points for curve in curves for points in _all_points(curve)]
    settled = [error for points in everything for step, error in points if step > points[-1][0] / 10]
    return max(*settled, 0.1, 0.1) * 1.08


def _line(axes: Any, points: Points, style: str, **look: Any) -> None:
    steps, errors = zip(*points, strict=True)
    # A single point would be no line at all.
    axes.plot(steps, errors, style, **({"marker": "o"} if len(points) == 1 else {}), **look)


def _legend(figure: Any, axes: Any) -> None:
    """Below the axes, where it hides no curve, however many there are."""
    from matplotlib.lines import Line2D

    lines, labels = axes.get_legend_handles_labels()
    test = Line2D([], [], color="0.4", linewidth=1.8)
    training = Line2D([], [], color="0.4", linewidth=0.8, linestyle="--")
    lines = [*lines, test, training]
    figure.set_size_inches(7.2, 4.2 + 0.2 * -(-len(lines) // 2))
    figure.legend(
        lines,
        [*labels, "test error", "training error"],
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize="small",
    )


def _count_in_tens_of_thousands(axes: Any) -> None:
    """Long runs as the papers count them: 1 to 6, times 10,000."""
    from matplotlib.ticker import FuncFormatter

    if axes.get_xlim()[1] >= TENS_OF_THOUSANDS_FROM:
        axes.set(xlabel="iterations (1e4)")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, place: f"{step / 1e4:g}"))


def _count(step: float, place: int | None) -> str:
    return f"{step:,.0f}"


@contextmanager
def _figure() -> Iterator[tuple[Any, Any]]:
    """A figure with its axes; what is saved within is the same for the same runs."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    # Names in the SVG depend on this salt alone. Names of networks may hold anything: no dollar begins a formula.
    with rc_context({"svg.hashsalt": "resdsl", "font.size": 10, "text.parse_math": False}):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set(xlabel="iterations", ylabel="top-1 error (%)")
        axes.xaxis.set_major_formatter(FuncFormatter(_count))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        yield figure, axes


def _save(figure: Any, path: Path) -> None:
    if path.suffix.lower() == ".svg":
        replace_file(path, lambda file: figure.savefig(file, format="svg", metadata={"Date": None}))
    else:
        replace_file(path, lambda file: figure.savefig(file, format="png", dpi=160))
