"""`resdsl plot`: draws the errors of runs over the iterations, as in the papers' figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.train.curves import Curve
    from resdsl.train.stored import RunRecord

OK, USER_MISTAKE = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl plot`."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run folders, or those of several seeds")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        type=Path,
        action="append",
        help="what to write: .svg or .png; may be given for both (default: curves.svg)",
    )
    parser.add_argument("--log", action="store_true", help="iterations on a logarithmic axis")
    parser.add_argument("--top", metavar="PERCENT", type=_percent, help="upper end of the error axis")
    parser.add_argument("--title", metavar="TEXT", default="", help="a title")


def run(args: argparse.Namespace) -> int:
    """Draw one picture of all runs."""
    from resdsl.train import TrainError
    from resdsl.train.curves import plot_runs
    from resdsl.train.seeds_record import single_runs
    from resdsl.train.stored import read_run

    console: Console = args.console
    paths = args.out or [Path("curves.svg")]
    try:
        curves = _curves([read_run(folder) for folder in single_runs(args.runs, console.print_note)])
        plot_runs(curves, paths, log=args.log, top=args.top, title=args.title)
    except TrainError as error:
        console.print_error(str(error))
        return USER_MISTAKE
    for path in paths:
        console.print(str(path))
    return OK


def _curves(runs: list[RunRecord]) -> list[Curve]:
    """One curve a network and recipe; runs of it that differ by their seed alone go together."""
    from resdsl.train import TrainError
    from resdsl.train.curves import Curve, rate_drops

    groups: dict[object, list[RunRecord]] = {}
    for run in runs:
        if not run.metrics:
            raise TrainError(f"{run.folder} has no evaluation yet: there is nothing to draw")
        groups.setdefault(run.kind, []).append(run)
    labels = [_label(group) for group in groups.values()]
    curves = []
    for label, group in zip(labels, groups.values(), strict=True):
        # Two recipes of one network are told apart by their folders.
        name = label if labels.count(label) == 1 else f"{label}, {group[0].folder.name}"
        drops = rate_drops(group[0].metrics, group[0].recipe)
        curves.append(Curve(name, tuple(run.metrics for run in group), drops))
    return curves


def _label(group: list[RunRecord]) -> str:
    first = group[0]
    depth, parameters = first.facts.get("depth"), first.facts.get("parameters")
    facts = [f"{depth} layers"] if isinstance(depth, int) else []
    if isinstance(parameters, int):
        facts.append(_millions(parameters) if parameters >= 1e4 else f"{parameters:,} parameters")
    label = first.network + (f" ({', '.join(facts)})" if facts else "")
    return label if len(group) == 1 else f"{label}, median of {len(group)}"


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.2f} M" if parameters < 1e7 else f"{parameters / 1e6:.1f} M"


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = 0.0
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"write a number above 0, at most 100, not {text!r}")
    return value
