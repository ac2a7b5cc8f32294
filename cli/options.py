"""Options that several commands share: which network, with which arguments and changes."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.net import Net
    from resdsl.semantics.retarget import Changes
    from resdsl.source import SourceFile


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Which network of the spec, its arguments and changes, and where imports may come from."""
    parser.add_argument("--network", metavar="NAME", help="which network, where the spec has several")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        type=assignment,
        default=[],
        help="set a parameter of the network, as in the language: n=18, option=A, blocks=[3,4,6,3]",
    )
    parser.add_argument("--input", metavar="SIZES", help="another input: 1x32x32, '3 x H x W'")
    parser.add_argument("--stem", metavar="STEPS", help="another stem, as in the language: cifar_stem")
    parser.add_argument(
        "--head", metavar="STEPS", help="another head, as in the language; or none, avg, max: no head, or a global pool"
    )
    parser.add_argument(
        "--output-stride", metavar="N", type=int, help="from stride N on dilate in place of striding: 8, 16"
    )
    parser.add_argument("--root", action="append", default=[], metavar="DIR", help="a folder that `use` may read from")


def changes_of(args: argparse.Namespace) -> Changes:
    """What the options change in the network."""
    from resdsl.semantics.retarget import Changes

    stride = None if args.output_stride is None else str(args.output_stride)
    given = {"input": args.input, "stem": args.stem, "head": args.head, "output_stride": stride}
    return Changes((what, f"--{what.replace('_', '-')}", text) for what, text in given.items() if text is not None)


def assignment(text: str) -> str:
    """NAME=VALUE as written; anything else is wrong usage."""
    name, sign, value = text.partition("=")
    if not (name.strip().isidentifier() and sign and value.strip()):
        raise argparse.ArgumentTypeError(f"write NAME=VALUE, not {text!r}")
    return text


def open_network(
    args: argparse.Namespace,
    network: str | None = None,
    settings: list[str] | None = None,
    recipe: SourceFile | None = None,
) -> Net:
    """The network that the options ask for, with the recipe of another file if that is given.

    Raises resdsl.CompileError.
    """
    from resdsl.compiler import compile_network, open_source

    return compile_network(
        open_source(args.spec),
        network or args.network,
        args.root,
        settings or [],
        ", ".join(args.set),
        changes_of(args),
        recipe=recipe,
    )
