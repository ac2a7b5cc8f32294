"""Options that several commands share: which network, with which arguments."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.net import Net


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Which network of the spec, its arguments, and where imports may come from."""
    parser.add_argument("--network", metavar="NAME", help="which network, where the spec has several")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        type=_assignment,
        default=[],
        help="set a parameter of the network, as in the language: n=18, option=A, blocks=[3,4,6,3]",
    )
    parser.add_argument("--root", action="append", default=[], metavar="DIR", help="a folder that `use` may read from")


def _assignment(text: str) -> str:
    """NAME=VALUE as written; anything else is wrong usage."""
    name, sign, value = text.partition("=")
    if not (name.strip().isidentifier() and sign and value.strip()):
        raise argparse.ArgumentTypeError(f"write NAME=VALUE, not {text!r}")
    return text


def open_network(args: argparse.Namespace, network: str | None = None, settings: list[str] | None = None) -> Net:
    """The network that the options ask for; raises resdsl.CompileError."""
    from resdsl.compiler import compile_network, open_source

    return compile_network(
        open_source(args.spec), network or args.network, args.root, settings or [], ", ".join(args.set)
    )
