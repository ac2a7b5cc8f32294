"""`resdsl deepen`: a trained network's weights for a deeper one that gives the same outputs."""

from __future__ import annotations

import argparse
import os

from .console import Console
from .options import add_network_options, assignment, open_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.net import Net

OK, USER_MISTAKE, USAGE = 0, 1, 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl deepen`."""
    parser.add_argument("spec", metavar="SPEC", help="the spec with both networks, or with one and its parameters")
    add_network_options(parser)
    parser.add_argument("--to", metavar="NAME", help="the deeper network (default: the same with other parameters)")
    parser.add_argument("--to-spec", metavar="SPEC", help="the deeper network's spec, where it is another one")
    parser.add_argument(
        "--set-to",
        metavar="NAME=VALUE",
        action="append",
        type=assignment,
        default=[],
        help="set a parameter of the deeper network; where that is the same one, it has those of --set, too",
    )
    parser.add_argument("--weights", metavar="FILE", required=True, help="the trained weights, in any format")
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="what to write: .safetensors, .pth or .pt")
    parser.add_argument("--no-verify", action="store_true", help="compare no outputs with torchvision's network")


def run(args: argparse.Namespace) -> int:
    """Deepen, prove that the outputs are the same, and write the weights."""
    from resdsl.diagnostics import CompileError

    from .diagnostics import print_text

    console: Console = args.console
    if not (args.to or args.to_spec or args.set_to):
        console.print_error("name the deeper network with --to, or set its parameters with --set-to, such as n=5")
        return USAGE
    if os.path.realpath(args.out) == os.path.realpath(args.weights):
        console.print_error(f"{args.out}: the trained weights would be lost; name another file with -o")
        return USER_MISTAKE
    try:
        shallow = open_network(args)
        deep = open_network(deeper(args))
    except CompileError as error:
        print_text(console, error.diagnostics)
        return USER_MISTAKE
    return _deepen(shallow, deep, args)


def deeper(args: argparse.Namespace) -> argparse.Namespace:
    """The options that name the deeper network."""
    is_same = not args.to_spec and args.to in (None, args.network)
    changed = {name_of(text) for text in args.set_to}
    kept = [text for text in args.set if name_of(text) not in changed] if is_same else []
    chosen = {
        "spec": args.to_spec or args.spec,
        "network": args.network if is_same else args.to,
        "set": [*kept, *args.set_to],
    }
    return argparse.Namespace(**{**vars(args), **chosen})


def name_of(text: str) -> str:
    """The name in NAME=VALUE."""
    return text.partition("=")[0].strip()


def _deepen(shallow: Net, deep: Net, args: argparse.Namespace) -> int:
    from resdsl import __version__
    from resdsl.transfer.deepening import DeepenError, deepen
    from resdsl.weights.checkpoint import read_checkpoint
    from resdsl.weights.errors import WeightsError
    from resdsl.weights.load import load_checkpoint
    from resdsl.weights.permissions import Permissions
    from resdsl.weights.record import record_of
    from resdsl.weights.save import check_ending, save_weights
    from resdsl.weights.wording import DEEPEN_COMMAND

    console: Console = args.console
    try:
        check_ending(args.out)
        module = shallow.to_torch()
        permissions = Permissions(wording=DEEPEN_COMMAND)
        receipt = load_checkpoint(module, read_checkpoint(args.weights), permissions, not args.no_verify)
        deepened = deepen(module, deep)
        metadata = {**record_of(deepened, deep, args.weights, __version__), "deepened_from": shallow.hash}
        save_weights(args.out, deepened.state_dict(), metadata)
    except (DeepenError, WeightsError) as error:
        heading, *rest = str(error).splitlines()
        console.print_error(heading)
        for line in rest:
            console.print_note(line)
        return USER_MISTAKE
    depths = f"depth {shallow.depth} to {deep.depth}, {shallow.parameters:,} to {deep.parameters:,} parameters"
    console.print_ok(f"{deep.name}: {depths}, with the same outputs")
    for note in receipt.notes:
        console.print(f"  {note}")
    console.print(f"  {args.out}")
    return OK
