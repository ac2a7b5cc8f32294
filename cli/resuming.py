"""The options of a run, kept in its folder: to go on with it nobody need give them again."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from .options import open_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.net import Net
    from resdsl.recipe import Recipe
    from resdsl.source import SourceFile

# What is not of the run itself, but of one call of the program.
_OF_THE_CALL = frozenset({"spec", "spec_again", "out", "resume", "verify_resume", "console", "color"})
_OF_THE_NETWORK = frozenset({"network", "set", "input", "stem", "head", "output_stride", "root"})
_NUMBERS = frozenset({"batch", "lr", "iterations", "epochs", "seed", "seeds", "output_stride"})
_PATHS = frozenset({"data"})

Configure = Callable[[argparse.ArgumentParser], None]


class CannotResumeError(Exception):
    """What keeps a run from going on, in one line."""


def run_options(args: argparse.Namespace, configure: Configure, network: str) -> dict[str, object]:
    """What was given on the command line, as plain values; `network` is the name of the one that was chosen."""
    from resdsl.compiler import spec_place

    options: dict[str, object] = {"spec": os.path.abspath(spec_place(args.spec))}
    for name, default in _defaults(configure).items():
        value = getattr(args, name)
        if name not in _OF_THE_CALL and value != default:
            options[name] = str(value.absolute()) if isinstance(value, Path) else value
    options["root"] = [os.path.abspath(root) for root in args.root]
    options["network"] = network
    if args.recipe is not None:
        options["recipe"] = os.path.abspath(spec_place(args.recipe))
    return options


def compile_resumed(args: argparse.Namespace, configure: Configure, folder: Path) -> tuple[Net, Recipe | None]:
    """The network and the recipe of the run in `folder`, and `args` with the options that it began with.

    Options of this command line come first. A spec and a file with a recipe are read where they were; where they are
    gone, what the run has recorded is taken. Raises CompileError, or CannotResumeError where the folder holds no run.
    """
    from resdsl.compiler import compile_recipe, open_source
    from resdsl.runs import RunError, load_run
    from resdsl.train import TrainError

    try:
        given = _take_up(args, configure, folder)
        is_recorded = _is_gone(args, "spec", folder, "the network") or _is_own(args.spec, folder)
        lender: SourceFile | None = None
        if args.recipe is None:
            lender = _recorded_recipe(folder) if is_recorded else None
        elif "recipe" not in given and _is_gone(args, "recipe", folder, "the recipe"):
            lender = _recorded_recipe(folder)
        else:
            lender = open_source(args.recipe)
        if not is_recorded:
            net = open_network(args, settings=args.setting, recipe=lender)
            return net, net.recipe
        if changed := sorted(given & _OF_THE_NETWORK):
            option = f"--{changed[0].replace('_', '-')}"
            raise CannotResumeError(f"the run goes on with the network that it recorded: leave {option} out")
        net = load_run(folder)
    except (TrainError, RunError) as error:
        raise CannotResumeError(str(error)) from None
    assert lender is not None
    return net, compile_recipe(lender, net.name, (), args.setting)


def _take_up(args: argparse.Namespace, configure: Configure, folder: Path) -> set[str]:
    """Let `args` hold what the run in `folder` began with, wherever this command line says nothing else.

    Gives the names of the options that it does say. Raises TrainError where the folder holds no run.
    """
    from resdsl.train.record import ARGUMENTS, read_arguments

    options = read_arguments(folder)
    began_with = options.get("spec")
    if not isinstance(began_with, str):
        raise CannotResumeError(
            f"the run in {folder} was begun from Python: go on with it there, by train(..., resume=True)"
        )
    given = set()
    for name, default in _defaults(configure).items():
        if name in _OF_THE_CALL:
            continue
        if getattr(args, name) != default:
            given.add(name)
        elif name in options:
            value = options[name]
            if not _fits(name, value, default):
                raise CannotResumeError(f"{folder / ARGUMENTS} is damaged")
            setattr(args, name, Path(str(value)) if name in _PATHS else value)
    args.out = folder
    args.spec = args.spec_again or began_with
    return given


def _fits(name: str, value: object, default: object) -> bool:
    """Whether a recorded value is of the kind that the option has."""
    match default:
        case list():
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case bool():
            return isinstance(value, bool)
    return isinstance(value, str) or (name in _NUMBERS and isinstance(value, int | float))


def _is_gone(args: argparse.Namespace, name: str, folder: Path, what: str) -> bool:
    """Whether a file that the run began with is gone, and told so; one that was named just now is not asked for."""
    path = getattr(args, name)
    if os.path.exists(path) or (name == "spec" and args.spec_again):
        return False
    args.console.print_note(f"{path} is gone: taking {what} as {folder} has recorded it")
    return True


def _is_own(spec: str, folder: Path) -> bool:
    own = folder / "spec.res"
    return own.exists() and os.path.exists(spec) and os.path.samefile(spec, own)


def _recorded_recipe(folder: Path) -> SourceFile:
    """The recipe as the run used it, of several seeds that of the first."""
    from resdsl.source import SourceFile
    from resdsl.train.seeds_record import read_seeds, run_folder
    from resdsl.train.stored import RECIPE, read_recipe_text

    several = read_seeds(folder)
    run = folder if several is None else run_folder(folder, several["seeds"][0])
    return SourceFile(str(run / RECIPE), read_recipe_text(run))


def _defaults(configure: Configure) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    configure(parser)
    return vars(parser.parse_args([""]))
