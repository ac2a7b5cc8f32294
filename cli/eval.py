"""`resdsl eval`: tests trained networks as papers do: crops, scales, ensembles, exact statistics, several seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import Console
from .device import set_up_libraries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from resdsl.net import Net
    from resdsl.train.assess import Assessed, Member, Wanted

OK, USER_MISTAKE = 0, 1
SHOWN_CLASSES = 30  # a wider confusion matrix is for programs


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl eval`."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run folders, or those of several seeds")
    parser.add_argument("--data", metavar="DIR", type=Path, help="the images (default: where they were in training)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    parser.add_argument("--crops", type=int, choices=(1, 10), help="views of an image (default: 1, without --scales)")
    parser.add_argument(
        "--shorter-side",
        metavar="N",
        type=_positive,
        help="of the images that 10 crops are cut from (default: padded as in training, else 8/7 of the crop: 256)",
    )
    parser.add_argument(
        "--scales",
        metavar="N,N",
        type=_sizes,
        default=(),
        help="whole images at these shorter sides, averaged: 224,256,384,480,640",
    )
    parser.add_argument("--ensemble", action="store_true", help="also all runs together: their softmax averaged")
    parser.add_argument(
        "--precise-bn",
        metavar="N",
        type=_positive,
        default=0,
        help="first compute BN's statistics anew, from N training images",
    )
    parser.add_argument("--per-class", action="store_true", help="also the error of each class")
    parser.add_argument("--confusion", action="store_true", help="also the confusion matrix")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(args: argparse.Namespace) -> int:
    """Test all runs and show the results; each is also put on record in its run folder."""
    set_up_libraries()
    from resdsl.runs import RunError
    from resdsl.train import TrainError, choose_device
    from resdsl.train.assess import Wanted, assess
    from resdsl.train.seeds_record import single_runs

    from .progress import EvalProgress

    console: Console = args.console
    crops = args.crops or (0 if args.scales else 1)
    wanted = Wanted(crops, args.shorter_side, args.scales, args.precise_bn, args.ensemble)
    try:
        args.runs = single_runs(args.runs, console.print_note)
        if fault := _usage_fault(args):
            raise TrainError(fault)
        device = choose_device(args.device)
        members = [_member(folder, wanted, args, device) for folder in args.runs]
        with EvalProgress(console) as progress:
            results = assess(
                members,
                wanted,
                device=device,
                loading=progress.loading,
                testing=progress.testing,
                note=progress.note,
            )
    except (RunError, TrainError) as error:
        console.print_error(str(error))
        return USER_MISTAKE
    _show(console, members, results, args)
    _record(console, members, results, wanted)
    return OK


def _usage_fault(args: argparse.Namespace) -> str:
    if args.ensemble and len(args.runs) < 2:
        return "an ensemble needs two runs or more"
    if args.shorter_side and args.crops != 10:
        return "--shorter-side is for --crops 10"
    if args.precise_bn == 1:
        return "--precise-bn needs two images or more"
    twice = next((folder for place, folder in enumerate(args.runs) if folder in args.runs[:place]), None)
    return f"{twice} is named twice" if twice else ""


def _member(folder: Path, wanted: Wanted, args: argparse.Namespace, device: Any) -> Member:
    from resdsl.runs import load_run
    from resdsl.train.assess import open_member
    from resdsl.train.stored import read_run

    read_run(folder)  # says better than the compiler what is no run folder
    net = load_run(folder)
    free = _at_any_size(net) if wanted.scales else None
    least = None
    if free is not None:
        _, height, width = free.summary()["minimum_input"]
        least = (height, width)
    model = (free or net).to_torch(auxiliary=bool(net.auxiliary_weights))
    return open_member(folder, model, net.input_shape, least=least, place=args.data, device=device)


def _at_any_size(net: Net) -> Net | None:
    """The network for images of any height and width; None where it has none."""
    from resdsl.diagnostics import CompileError

    if len(net.input_shape) != 3:
        return None
    try:
        return net.retarget(input=f"{net.input_shape[0]} x H x W")
    except CompileError:
        return None


# --- output ---


def _show(console: Console, members: list[Member], results: list[Assessed], args: argparse.Namespace) -> None:
    spreads = _spreads(members, results)
    if args.json:
        import json

        console.print(json.dumps({"results": [_plain(result) for result in results], "spreads": spreads}, indent=2))
        return
    from .tables import print_tables, text_table

    tables = [_overview(results, spreads)]
    if args.per_class:
        for result in results:
            images = result.counts.confusion.sum(dim=1).tolist()
            errors = ["" if error is None else _percent(error) for error in result.counts.class_errors]
            rows = [(name, f"{n:,}", error) for name, n, error in zip(result.classes, images, errors, strict=True)]
            tables.append(text_table(_title(result), ("class", "images", "top-1 error"), rows, left={"class"}))
    if args.confusion:
        tables += [_confusion(result) for result in results if len(result.classes) <= SHOWN_CLASSES]
    print_tables(console, tables)
    if args.confusion and any(len(result.classes) > SHOWN_CLASSES for result in results):
        console.print_note(f"confusion matrices of more than {SHOWN_CLASSES} classes are shown with --json only")


def _overview(results: list[Assessed], spreads: list[dict[str, Any]]) -> Any:
    from .tables import text_table

    rows: list[tuple[str, ...]] = []
    for result in results:
        top5 = result.counts.top5_error
        found = (_percent(result.counts.top1_error), "" if top5 is None else _percent(top5))
        rows.append((_who(result), result.views, f"{result.counts.images:,}", *found))
    for entry in spreads:
        means = (_with_deviation(entry[word]) for word in ("top1_error", "top5_error"))
        rows.append((f"{entry['network']}: mean of {len(entry['runs'])}", entry["views"], "", *means))
    head: tuple[str, ...] = ("run", "test", "images", "top-1 error", "top-5 error")
    if not any(row[4] for row in rows):
        head, rows = head[:4], [row[:4] for row in rows]
    return text_table("", head, rows, left={"run", "test"})


def _confusion(result: Assessed) -> Any:
    from .tables import text_table

    names = [f"{place}" for place in range(len(result.classes))]
    rows = [
        (f"{name} ({number})", *(f"{images:,}" if images else "." for images in row))
        for number, (name, row) in enumerate(zip(result.classes, result.counts.confusion.tolist(), strict=True))
    ]
    title = f"{_title(result)}, confusion: class by row, first guess by column"
    return text_table(title, ("class", *names), rows, left={"class"})


def _spreads(members: list[Member], results: list[Assessed]) -> list[dict[str, Any]]:
    """Mean and deviation over the runs that differ by their seed alone, for each kind of test."""
    from resdsl.train.scores import spread

    records = {member.record.folder: member.record for member in members}
    groups: dict[object, dict[object, Assessed]] = {}
    for result in results:
        if len(result.members) == 1:
            record = records[result.members[0]]
            # Of one seed's runs, which a copied folder is, too, one counts.
            groups.setdefault((record.kind, result.views), {}).setdefault(record.recipe.get("seed"), result)
    found = []
    for (kind, views), seeds in groups.items():  # type: ignore[misc]
        group = list(seeds.values())
        if len(group) < 2:
            continue
        entry: dict[str, Any] = {"network": kind[0], "views": views}  # type: ignore[has-type]
        entry["runs"] = [str(result.members[0]) for result in group]
        for word in ("top1_error", "top5_error"):
            values = [getattr(result.counts, word) for result in group]
            over = None if None in values else spread(values)
            entry[word] = None if over is None else {"mean": over.mean, "deviation": over.deviation}
        found.append(entry)
    return found


def _plain(result: Assessed) -> dict[str, Any]:
    errors = result.counts.class_errors
    return {
        "runs": [str(member) for member in result.members],
        "views": result.views,
        "images": result.counts.images,
        "top1_error": result.counts.top1_error,
        "top5_error": result.counts.top5_error,
        "classes": list(result.classes),
        "class_errors": errors,
        "confusion": result.counts.confusion.tolist(),
    }


def _record(console: Console, members: list[Member], results: list[Assessed], wanted: Wanted) -> None:
    """Each run's own results into its folder; where that cannot be written to, a line says so."""
    from resdsl.train.page import add_evaluation

    steps = {member.record.folder: member.stored.step for member in members}
    for result in results:
        if len(result.members) > 1:
            continue
        folder = result.members[0]
        row = {word: value for word, value in _plain(result).items() if word in _RECORDED}
        try:
            add_evaluation(folder, row | {"precise_bn": wanted.precise_bn, "step": steps[folder]})
        except OSError as error:
            console.print_note(f"not put on record in {folder}: {error.strerror}")


_RECORDED = ("views", "images", "top1_error", "top5_error")


def _who(result: Assessed) -> str:
    return str(result.members[0]) if len(result.members) == 1 else f"ensemble of {len(result.members)}"


def _title(result: Assessed) -> str:
    return f"{_who(result)}, {result.views}"


def _percent(error: float) -> str:
    return f"{error:.2%}".replace("%", " %")


def _with_deviation(entry: dict[str, float] | None) -> str:
    return "" if entry is None else f"{100 * entry['mean']:.2f} ± {100 * entry['deviation']:.2f} %"


# --- options ---


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:12]) <= 10**9:
        raise argparse.ArgumentTypeError(f"write a whole number above 0, not {text!r}")
    return int(text)


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(_positive(part.strip()) for part in text.split(","))
    if len(set(sizes)) < len(sizes) or max(sizes) > 10_000:
        raise argparse.ArgumentTypeError(
            f"write different sides in pixels, at most 10000, such as 224,256, not {text!r}"
        )
    return sizes
