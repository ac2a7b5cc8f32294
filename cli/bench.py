"""`resdsl bench`: measures how fast a network trains and infers, beside the same network of torchvision and timm."""

from __future__ import annotations

import argparse
import platform
from functools import partial

from .console import Console
from .device import add_device_options, set_up_libraries
from .options import add_network_options, open_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import torch

    from resdsl.net import Net
    from resdsl.recipe import Recipe
    from resdsl.train.bench import Measured
    from resdsl.weights.peers_alike import Alike

OK, USER_MISTAKE = 0, 1
MIB = 1 << 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl bench`."""
    parser.add_argument("spec", metavar="SPEC", help="the spec")
    add_network_options(parser)
    parser.add_argument("--batch", metavar="N", type=_count, help="images in a step (default: the recipe's, or 128)")
    add_device_options(parser)
    parser.add_argument(
        "--seconds", metavar="S", type=_seconds, default=5.0, help="of measuring for each figure (default: 5)"
    )
    parser.add_argument("--rounds", metavar="N", type=_count, default=5, help="in turn with others (default: 5)")
    parser.add_argument("--only", choices=("training", "inference"), help="(default: both)")
    parser.add_argument(
        "--setting", metavar="LINE", action="append", default=[], help="a line of a recipe, as for `resdsl train`"
    )
    parser.add_argument(
        "--peer",
        metavar="LIBRARY:MODEL",
        action="append",
        default=[],
        help="beside this network: timm:resnet50 (default: those of torchvision and timm that are alike)",
    )
    parser.add_argument("--no-peers", action="store_true", help="beside no other network")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(args: argparse.Namespace) -> int:
    """Measure, and show a table with everything that decides the figures."""
    set_up_libraries()
    from resdsl.diagnostics import CompileError

    from .diagnostics import print_text

    console: Console = args.console
    try:
        net = open_network(args, settings=args.setting)
    except CompileError as error:
        print_text(console, error.diagnostics)
        return USER_MISTAKE
    classes = net.output_shape[0]
    if len(net.output_shape) != 1 or not isinstance(classes, int):
        console.print_error(f"{net.name} gives a map: to measure it, end it in a vector with one number a class")
        return USER_MISTAKE
    free = [str(extent) for extent in net.input_shape if not isinstance(extent, int)]
    if free:
        console.print_error(f"{net.name} takes images of any size: choose one with --input, such as 3x224x224")
        return USER_MISTAKE
    if args.setting and net.recipe is None:
        console.print_error(f"--setting changes a recipe, and {net.name} has none")
        return USER_MISTAKE
    return _measure(net, classes, args)


def _measure(net: Net, classes: int, args: argparse.Namespace) -> int:
    from resdsl.emit.torch_regions import RegionMaker
    from resdsl.recipe import RecipeError
    from resdsl.train import TrainError, choose_device
    from resdsl.train.bench import Other, bench, bench_recipe
    from resdsl.weights.errors import WeightsError

    console: Console = args.console
    try:
        device = choose_device(args.device)
        recipe = bench_recipe(net.recipe, args.batch, net.input_shape)
        peers = _peers(net, args)
        others = [Other(one.name, one.make) for one in peers]
        found = bench(
            partial(net.to_torch, init=recipe.init, auxiliary=bool(net.auxiliary_weights)),
            recipe,
            others,
            classes=classes,
            input_shape=net.input_shape,
            device=device,
            auxiliary_weights=net.auxiliary_weights,
            seconds=args.seconds,
            rounds=args.rounds,
            kinds=(args.only,) if args.only else ("training", "inference"),
            name=f"resdsl:{net.name}",
            engine=args.engine,
            regions=RegionMaker,
            note=console.print_note if console.colored else lambda text: None,
        )
    except (RecipeError, TrainError, WeightsError) as error:
        for line in str(error).splitlines():
            console.print_error(line)
        return USER_MISTAKE
    _show(args, net, recipe, device, peers, found)
    return OK


def _peers(net: Net, args: argparse.Namespace) -> list[Alike]:
    if args.no_peers or len(net.input_shape) != 3:
        return []
    from resdsl.weights.peers_alike import alike_networks

    return alike_networks(net, tuple(args.peer))


# --- output ---


def _show(
    args: argparse.Namespace,
    net: Net,
    recipe: Recipe,
    device: torch.device,
    peers: list[Alike],
    found: list[Measured],
) -> None:
    console: Console = args.console
    costs = {one.name: (one.parameters, one.macs, one.remark) for one in peers}
    if args.json:
        import json

        rows = [_plain(row, costs.get(row.name, (net.parameters, net.macs, ""))) for row in found]
        content = {"network": net.name, "hash": net.hash, "batch": recipe.batch, **_surroundings(device)}
        content |= {"input": list(net.input_shape), "recipe": recipe.as_dict(), "results": rows}
        console.print(json.dumps(content, indent=2))
        return
    from .tables import print_tables, text_table

    surroundings = _surroundings(device)
    size = " x ".join(map(str, net.input_shape))
    versions = ", ".join(f"{name} {version}" for name, version in surroundings["versions"].items())
    title = f"batch {recipe.batch} of {size} on {surroundings['device']}"
    head = ("network", "what", "images/s", "quartiles", "memory")
    print_tables(console, [text_table(title, head, [_row(row) for row in found], left={"network", "what"})])
    console.print()
    for name, hows in _hows(found).items():
        parameters, macs, remark = costs.get(name, (net.parameters, net.macs, ""))
        known = f"{parameters:,} parameters" + ("" if macs is None else f", {macs:,} multiply-adds")
        console.print(f"{name}: {'; '.join(part for part in (known, *hows, remark) if part)}")
    for row in found:
        if row.failure:
            console.print_note(f"{row.name}, {row.kind}: {row.failure}")
    turns = f"{_counted(len(found[0].rounds), 'round')} in turn"
    console.print(f"{versions}; made-up images on the device; {turns}")


def _row(row: Measured) -> tuple[str, ...]:
    memory = "" if row.memory is None else f"{row.memory / MIB:,.0f} MiB"
    if row.failure:
        return row.name, row.kind, "", "", ""
    low, high = row.quartiles
    return row.name, row.kind, _speed(row.median), f"{_speed(low)} to {_speed(high)}", memory


def _speed(images: float) -> str:
    return f"{images:,.1f}" if images < 1000 else f"{images:,.0f}"


def _hows(found: list[Measured]) -> dict[str, list[str]]:
    """How each network was run; where training and inference differ, which is which."""
    hows: dict[str, dict[str, str]] = {}
    for row in found:
        hows.setdefault(row.name, {})[row.kind] = row.how
    return {
        name: list(each.values())[:1]
        if len(set(each.values())) == 1
        else [f"{kind}: {how}" for kind, how in each.items()]
        for name, each in hows.items()
    }


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _plain(row: Measured, costs: tuple[int, Any, str]) -> dict[str, Any]:
    parameters, macs, remark = costs
    speeds = None
    if row.rounds:
        low, high = row.quartiles
        speeds = {"median": row.median, "quartiles": [low, high], "rounds": row.rounds}
    return {
        "network": row.name,
        "what": row.kind,
        "how": row.how,
        "images_per_second": speeds,
        "peak_memory": row.memory,
        "preparation_seconds": row.preparation,
        "parameters": parameters,
        "macs": macs,
        "remark": remark,
        "failure": row.failure,
    }


def _surroundings(device: torch.device) -> dict[str, Any]:
    from resdsl.train.identity import surroundings
    from resdsl.weights.peers_alike import library_versions

    around = surroundings(device)
    versions = {"torch": around["torch"], **library_versions()}
    name = around["device"] if device.type == "cuda" else f"CPU, {_counted(around['threads'], 'thread')}"
    return {"device": name, "versions": {"Python": platform.python_version(), **versions}}


# --- options ---


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:12]) <= 10**6:
        raise argparse.ArgumentTypeError(f"write a whole number above 0, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"write seconds above 0 and up to 3600, not {text!r}")
    return seconds
