"""The options of a run, kept in its folder: to go on with it nobody need give them again."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

# What is not of the run itself, but of one call of the program.
_OF_THE_CALL = frozenset({"spec", "spec_again", "out", "resume", "verify_resume", "console", "color"})
_PATHS = frozenset({"data"})

Configure = Callable[[argparse.ArgumentParser], None]


def run_options(args: argparse.Namespace, configure: Configure, network: str) -> dict[str, object]:
    """What was given on the command line, as plain values; `network` is the name of the one that was chosen."""
    options: dict[str, object] = {"spec": os.path.abspath(args.spec)}
    for name, default in _defaults(configure).items():
        value = getattr(args, name)
        if name not in _OF_THE_CALL and value != default:
            options[name] = str(value.absolute()) if isinstance(value, Path) else value
    options["root"] = [os.path.abspath(root) for root in args.root]
    options["network"] = network
    return options


def take_up_options(args: argparse.Namespace, configure: Configure, folder: Path) -> None:
    """Let `args` hold what the run in `folder` began with, wherever this command line says nothing else.

    Where the spec is gone, the run's own copy of it is taken. Raises TrainError where the folder holds no run.
    """
    from resdsl.train import TrainError
    from resdsl.train.record import read_arguments

    options = read_arguments(folder)
    began_with = options.get("spec")
    if not isinstance(began_with, str):
        raise TrainError(f"the run in {folder} was begun from Python: go on with it there, by train(..., resume=True)")
    for name, default in _defaults(configure).items():
        if name in options and name not in _OF_THE_CALL and getattr(args, name) == default:
            value = options[name]
            setattr(args, name, Path(str(value)) if name in _PATHS else value)
    args.out = folder
    own = folder / "spec.res"
    args.spec = args.spec_again or began_with
    if not os.path.exists(args.spec) and not args.spec_again:
        args.console.print_note(f"{args.spec} is gone: taking the run's own copy, {own}")
        args.spec = str(own)
    used = folder / "used"
    if os.path.abspath(args.spec) == str(own.absolute()) and used.is_dir():
        # What the spec imported when the run began, a folder for each place where it lay.
        args.root = [*args.root, *sorted(str(place) for place in used.iterdir() if place.is_dir())]


def _defaults(configure: Configure) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    configure(parser)
    return vars(parser.parse_args([""]))
