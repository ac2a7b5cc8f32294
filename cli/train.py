"""`resdsl train`: trains a network by the recipe in its spec and leaves a run folder."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

from .console import Console
from .device import add_device_options, let_cublas_repeat, set_up_libraries
from .options import add_network_options, open_network
from .recipe_example import example_recipe
from .together import is_one_of_several, reporter_of, run_together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from resdsl.emit.torch_module import NetModule
    from resdsl.net import Net
    from resdsl.recipe import Recipe
    from resdsl.train import Result, World

OK, USER_MISTAKE, USAGE = 0, 1, 2
MOST_SEEDS = 100
STOPPED = 128  # with the number of the signal added, as shells report it: 130 for SIGINT, 143 for SIGTERM


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl train`."""
    parser.add_argument("spec", help="the spec, with a `train` block; with --resume the run folder")
    add_network_options(parser)
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder, tar or packed file with the images")
    parser.add_argument("--out", metavar="DIR", type=Path, help="the run folder (default: runs/NETWORK)")
    add_device_options(parser)
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="insist on TensorBoard's events, written by themselves if it is installed",
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="take only kernels that give the same bits each time"
    )
    parser.add_argument(
        "--seeds", metavar="N", type=_count, help="so many runs side by side: the seed, the next one, and so on"
    )
    going_on = parser.add_argument_group("never losing a run")
    going_on.add_argument(
        "--resume", action="store_true", help="go on with a stopped run, with the options it began with"
    )
    going_on.add_argument(
        "--spec", dest="spec_again", metavar="FILE", help="where the run's spec is now; RUN/spec.res is its own copy"
    )
    going_on.add_argument(
        "--verify-resume",
        action="store_true",
        help="train a few steps with and without a stop, compare every bit, and do no more",
    )
    overriding = parser.add_argument_group("instead of what the recipe says")
    overriding.add_argument("--recipe", metavar="FILE", help="a file whose recipe takes the place of the spec's")
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
    """Compile, train, and say where the results lie; a stopped run is saved and ends with 130 or 143."""
    set_up_libraries()
    if is_one_of_several(os.environ):
        return run_together(args, _run)
    return _run(args)


def _run(args: argparse.Namespace, world: World | None = None) -> int:
    from resdsl.diagnostics import CompileError

    from .diagnostics import print_text
    from .resuming import CannotResumeError

    console: Console = args.console
    if conflict := _conflict(args):
        console.print_error(conflict)
        return USAGE
    if not args.resume and os.path.isdir(args.spec):
        is_run = any(os.path.exists(os.path.join(args.spec, name)) for name in ("arguments.json", "recipe.json"))
        what = "is the folder of a run: go on with it by --resume" if is_run else "is no spec but a folder"
        console.print_error(f"{args.spec} {what}")
        return USER_MISTAKE
    try:
        net, recipe = _compiled(args)
    except CompileError as error:
        print_text(console, error.diagnostics)
        return USER_MISTAKE
    except CannotResumeError as error:
        console.print_error(str(error))
        return USER_MISTAKE
    classes = net.output_shape[0]
    if len(net.output_shape) != 1 or not isinstance(classes, int):
        console.print_error(f"{net.name} gives a map: to train it, end it in a vector with one number a class")
        return USER_MISTAKE
    if recipe is None:
        advice = "take another file's with --recipe FILE, or add one to the spec, for example:"
        example = example_recipe(net.input_shape, classes)
        console.print_error(f"{args.spec}: {net.name} has no recipe; {advice}\n\n{example}")
        return USER_MISTAKE
    return _train(net, recipe, classes, args, world)


def _conflict(args: argparse.Namespace) -> str:
    """What is wrong between options, "" where nothing is."""
    if args.spec_again and not args.resume:
        return "--spec is for --resume: it says where the spec of a run is now"
    if args.resume and args.verify_resume:
        return "--resume goes on with a run, --verify-resume keeps none: give one of them"
    if args.resume and args.out is not None:
        return "a run goes on in its own folder: leave --out out"
    return ""


def _compiled(args: argparse.Namespace) -> tuple[Net, Recipe | None]:
    """The network and its recipe; what `args` leaves out is taken from the run that goes on."""
    from resdsl.compiler import open_source

    if args.resume:
        from .resuming import compile_resumed

        return compile_resumed(args, configure, Path(args.spec))
    lender = None if args.recipe is None else open_source(args.recipe)
    net = open_network(args, settings=args.setting, recipe=lender)
    return net, net.recipe


def _train(net: Net, written: Recipe, classes: int, args: argparse.Namespace, world: World | None) -> int:
    from resdsl.emit.torch_regions import RegionMaker
    from resdsl.recipe import RecipeError, override
    from resdsl.runs import run_files
    from resdsl.train import (
        ALONE,
        ResumeError,
        TrainError,
        choose_device,
        seed_weights,
        train,
        train_seeds,
        verify_resume,
    )

    from .resuming import run_options
    from .seeds import SeedsProgress, conclude_seeds

    console: Console = args.console
    if args.deterministic:
        let_cublas_repeat()
    try:
        device = choose_device(args.device)
        if world is not None:
            device = world.device(device)
        recipe = override(
            written, batch=args.batch, lr=args.lr, iterations=args.iterations, epochs=args.epochs, seed=args.seed
        )
        make_model = partial(net.to_torch, init=recipe.init, auxiliary=bool(net.auxiliary_weights))
        common: dict[str, Any] = {
            "classes": classes,
            "input_shape": net.input_shape,
            "device": device,
            "data_dir": args.data,
            "auxiliary_weights": net.auxiliary_weights,
            "deterministic": args.deterministic,
            "engine": args.engine,
            "regions": RegionMaker,
        }
        if world is not None and (args.verify_resume or args.seeds is not None):
            option = "--verify-resume" if args.verify_resume else "--seeds"
            raise TrainError(f"{option} is for one process: call it without torchrun")
        if args.verify_resume:
            if args.seeds is not None:
                raise TrainError("--verify-resume tries one run: leave --seeds out")
            with reporter_of(console) as reporter:
                difference = verify_resume(make_model, recipe, reporter=reporter, **common)
            return _tell_difference(console, difference)
        folder = args.out or free_folder(Path("runs"), net.name)
        common |= {
            "name": net.name,
            "spec_text": net.source_text,
            "spec_hash": net.hash,
            "resume": args.resume,
            "place_of": lambda layer: _place(make_model(), layer),
            "arguments": run_options(args, configure, net.name),
            "files": run_files(net),
            "tensorboard": args.tensorboard,
        }
        if args.seeds is not None:
            with SeedsProgress(console) as progress:
                together = train_seeds(
                    make_model, recipe, folder, seeds=args.seeds, reporter_of=progress.of_seed, **common
                )
            return conclude_seeds(console, net.name, together)
        seed_weights(recipe.seed)
        with reporter_of(console) as reporter:
            result = train(make_model(), recipe, folder, reporter=reporter, world=world or ALONE, **common)
    except ResumeError as error:
        console.print_error(str(error))
        for line in error.difference:
            console.print_note(line)
        return USER_MISTAKE
    except (RecipeError, TrainError) as error:
        for line in str(error).splitlines():
            console.print_error(line)
        return USER_MISTAKE
    return _conclude(console, net.name, result, "resdsl" if world is None else "torchrun ... -m resdsl")


def _place(model: NetModule, layer: str) -> str | None:
    from resdsl.emit.torch_module import place_of

    try:
        return place_of(model, layer)
    except KeyError:
        return None


def _tell_difference(console: Console, place: str | None) -> int:
    if place is not None:
        console.print_error(f"a run that stops and goes on ends otherwise than one that does not: first at {place}")
        return USER_MISTAKE
    console.print_ok("a run that stops and goes on ends with the same bits as one that does not")
    return OK


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 3 or not 1 <= int(text) <= MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"write a whole number from 1 to {MOST_SEEDS}, not {text!r}")
    return int(text)


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or `parent/name-2` and so on where that is taken."""
    folder, number = parent / name, 1
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


def _conclude(console: Console, name: str, result: Result, program: str) -> int:
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
    if result.stopped_by is None:
        return OK
    console.print_note(f"go on with: {program} train {result.folder} --resume")
    return STOPPED + result.stopped_by
