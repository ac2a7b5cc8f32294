"""`resdsl train`: trains a network by the recipe in its spec and leaves a run folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from resdsl.recipe_schema import EXAMPLE

from .console import Console
from .options import add_network_options, open_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.net import Net
    from resdsl.recipe import Recipe
    from resdsl.train import Result

OK, USER_MISTAKE, INTERRUPTED = 0, 1, 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl train`."""
    parser.add_argument("spec", help="the spec, with a `train` block")
    add_network_options(parser)
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder or tar with the images")
    parser.add_argument("--out", metavar="DIR", type=Path, help="the run folder (default: runs/NETWORK)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    overriding = parser.add_argument_group("instead of what the recipe says")
    overriding.add_argument(
        "--setting",
        metavar="LINE",
        action="append",
        default=[],
        help="a line of a recipe: 'schedule cosine', 'ema 0.999'",
    )
    overriding.add_argument("--batch", metavar="N", type=int, help="images in one step")
    overriding.add_argument("--lr", metavar="RATE", type=float, help="base learning rate")
    overriding.add_argument("--iterations", metavar="N", type=int, help="length in steps")
    overriding.add_argument("--epochs", metavar="N", type=int, help="length in epochs")
    overriding.add_argument("--seed", metavar="N", type=int, help="seed")


def run(args: argparse.Namespace) -> int:
    """Compile, train, and say where the results lie; a stopped run is saved and ends with 130."""
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
        console.print_error(f"{net.name} gives a map: to train it, end it in a vector with one number a class")
        return USER_MISTAKE
    if net.recipe is None:
        console.print_error(f"{args.spec}: {net.name} has no recipe; add one to the spec, for example:\n\n{EXAMPLE}")
        return USER_MISTAKE
    return _train(net, net.recipe, classes, args)


def _train(net: Net, written: Recipe, classes: int, args: argparse.Namespace) -> int:
    from resdsl.recipe import RecipeError, override
    from resdsl.train import TrainError, choose_device, seed_weights, train

    from .progress import ProgressReporter

    console: Console = args.console
    try:
        device = choose_device(args.device)
        recipe = override(
            written, batch=args.batch, lr=args.lr, iterations=args.iterations, epochs=args.epochs, seed=args.seed
        )
        seed_weights(recipe.seed)
        with ProgressReporter(console) as reporter:
            result = train(
                net.to_torch(init=recipe.init, auxiliary=bool(net.auxiliary_weights)),
                recipe,
                args.out or free_folder(Path("runs"), net.name),
                classes=classes,
                input_shape=net.input_shape,
                name=net.name,
                device=device,
                data_dir=args.data,
                spec_text=net.source_text,
                spec_hash=net.hash,
                auxiliary_weights=net.auxiliary_weights,
                reporter=reporter,
            )
    except (RecipeError, TrainError) as error:
        for line in str(error).splitlines():
            console.print_error(line)
        return USER_MISTAKE
    return _conclude(console, net.name, result)


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or `parent/name-2` and so on where that is taken."""
    folder, number = parent / name, 1
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


def _conclude(console: Console, name: str, result: Result) -> int:
    if result.interrupted:
        console.print_note(f"stopped at iteration {result.steps:,} of {result.planned_steps:,}")
    else:
        errors = f"test error {result.test_error:.2%}, training error {result.train_error:.2%}"
        if result.validation_error is not None:
            errors += f", validation error {result.validation_error:.2%}"
        console.print_ok(f"{name}: {errors} after {result.steps:,} iterations in {result.seconds:.1f} s")
    if result.pictures:
        console.print(f"curves      {', '.join(str(path) for path in result.pictures)}")
    console.print(f"checkpoint  {result.checkpoint}")
    return INTERRUPTED if result.interrupted else OK
