"""`resdsl weights`: carries the weights of another library's checkpoint over to a network, verified, with a receipt."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from .console import Console
from .options import add_network_options, open_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.net import Net
    from resdsl.weights.carry import Carried
    from resdsl.weights.layers import Checkpoint

OK, USER_MISTAKE = 0, 1
ANY_PEER = "auto"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl weights`."""
    parser.add_argument("spec", metavar="SPEC", help="the spec")
    add_network_options(parser)
    parser.add_argument("--from", dest="source", metavar="FILE", required=True, help="the checkpoint")
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="what to write: .safetensors, .pth or .pt")
    parser.add_argument(
        "--allow-fresh",
        metavar="NAME",
        action="append",
        default=[],
        help="a part, block or layer that may keep its first weights: head",
    )
    parser.add_argument(
        "--allow-left-over", metavar="NAME", action="append", default=[], help="names in the file that may go nowhere"
    )
    parser.add_argument(
        "--adapt-input",
        choices=("sum", "repeat"),
        help="for another number of input channels: sum their weights to one, or repeat their mean",
    )
    parser.add_argument("--ema", action="store_true", help="take averaged weights where the file holds both")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--verify",
        nargs="?",
        const=ANY_PEER,
        metavar="LIBRARY:MODEL",
        help="insist on comparing outputs, with torchvision's network of these tensors or with the one named: "
        "timm:resnetv2_50, keras:ResNet50",
    )
    group.add_argument("--no-verify", action="store_true", help="compare no outputs")
    parser.add_argument("--rows", action="store_true", help="a row for each tensor, not only for those to look at")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(args: argparse.Namespace) -> int:
    """Carry the weights over; nothing is written unless everything fits and the outputs are equal."""
    # Keras takes what is set, else another backend than the one that is surely there.
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from resdsl.diagnostics import CompileError
    from resdsl.weights.errors import WeightsError

    from .diagnostics import print_text

    console: Console = args.console
    try:
        return _carry_over(args)
    except CompileError as error:
        print_text(console, error.diagnostics)
    except WeightsError as error:
        heading, *rest = str(error).splitlines()
        console.print_error(heading)
        for line in rest:
            console.print_note(line)
    return USER_MISTAKE


def _carry_over(args: argparse.Namespace) -> int:
    from resdsl.weights.checkpoint import read_checkpoint
    from resdsl.weights.errors import WeightsError
    from resdsl.weights.save import check_ending

    net = open_network(args)
    check_ending(args.out)
    if os.path.realpath(args.out) == os.path.realpath(args.source):
        raise WeightsError(f"{args.out} is the checkpoint itself")
    checkpoint = read_checkpoint(args.source, ema=args.ema)
    done, note = _choose(args, net, checkpoint)
    metadata = done.save(args.out, args.source, _version())
    _report(args, done, note, metadata)
    return OK


def _choose(args: argparse.Namespace, net: Net, checkpoint: Checkpoint) -> tuple[Carried, str]:
    """The network whose outputs are right: the one asked for, or where none was named another one of the file."""
    from resdsl.weights.errors import WeightsError

    done = _transfer(args, net, checkpoint)
    difference = done.fitting.difference
    if not difference:
        return done, ""
    for other in _other_networks(args, net):
        try:
            tried = _transfer(args, other, checkpoint)
        except WeightsError:
            continue
        verification = tried.fitting.comparison.verification
        if verification is not None and verification.is_equal:
            if args.network:
                raise WeightsError(f"{difference}; {other.name} is equal: --network {other.name}")
            default = difference.replace(" fits,", ", the spec's default, fits,", 1)
            return tried, f"{other.name} is taken: {default}"
    raise WeightsError(difference)


def _transfer(args: argparse.Namespace, net: Net, checkpoint: Checkpoint) -> Carried:
    from resdsl.weights.carry import carry_over
    from resdsl.weights.permissions import Permissions
    from resdsl.weights.wording import WEIGHTS_COMMAND

    permissions = Permissions(tuple(args.allow_fresh), tuple(args.allow_left_over), args.adapt_input, WEIGHTS_COMMAND)
    named = args.verify not in (None, ANY_PEER)
    verify = args.verify if named else not args.no_verify
    return carry_over(net, checkpoint, permissions, verify, needs_verification=args.verify is not None)


def _other_networks(args: argparse.Namespace, net: Net) -> Iterator[Net]:
    """The other networks of the spec that need no arguments."""
    from resdsl.compiler import Compilation, open_source
    from resdsl.diagnostics import CompileError

    for network in Compilation(open_source(args.spec), args.root).own_networks():
        if network.name.name != net.name and all(one.default is not None for one in network.parameters):
            try:
                yield open_network(args, network.name.name)
            except CompileError:
                continue  # it has no such parameter


def _report(args: argparse.Namespace, done: Carried, note: str, metadata: dict[str, str]) -> None:
    console: Console = args.console
    comparison = done.fitting.comparison
    verified = None if comparison.verification is None else str(comparison.verification)
    receipt = done.fitting.prepared.receipt
    if args.json:
        import json

        content = {**receipt.as_dict(), "verified": verified, "chosen": note or None, "output": args.out}
        console.print(json.dumps({**content, "metadata": metadata}, indent=2))
        return
    from .tables import print_tables, receipt_table

    if note:
        console.print(console.style(note, "yellow", bold=True))
    table = receipt_table(receipt, all_rows=args.rows)
    if table is not None:
        print_tables(console, [table])
        console.print()
    console.print_ok(f"{receipt.source} to {receipt.network}: {receipt.counts_text()}")
    reasons = ", ".join(f"{how} ({count})" for how, count in receipt.reasons().items())
    if reasons:
        console.print(f"  decided by: {reasons}" + ("" if args.rows else "; --rows lists them"))
    for line in receipt.notes:
        console.print(f"  {line}")
    if receipt.by_order:
        count = len(receipt.by_order)
        console.print(console.style(f"  {count} are told from others of their shape by their order only", "yellow"))
    console.print(f"  {verified or _not_verified(comparison.reason)}")
    console.print(f"  {args.out}")


def _not_verified(reason: str) -> str:
    because = f" ({reason})" if reason else ""
    return f"not verified{because}: --verify LIBRARY:MODEL names what to compare outputs with"


def _version() -> str:
    import resdsl

    return resdsl.__version__
