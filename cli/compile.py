"""`resdsl compile`: writes a stand-alone model, a summary and pictures, and proves the graph by running it."""

from __future__ import annotations

import argparse
import os

from resdsl.files import replace_text

from .console import Console
from .options import add_network_options, changes_of, open_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.net import Net

OK, USER_MISTAKE = 0, 1
LEVELS = ("stage", "block", "layer")
FORMATS = ("svg", "pdf", "png")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl compile`."""
    parser.add_argument("spec", metavar="SPEC", help="the spec")
    add_network_options(parser)
    parser.add_argument("--out", metavar="DIR", help="folder to write to (default: build/NETWORK)")
    parser.add_argument(
        "--draw",
        nargs="?",
        const="svg",
        choices=FORMATS,
        metavar="FORMAT",
        help="also draw it (svg, pdf or png; default: svg); all networks of the spec side by side unless one is named",
    )
    parser.add_argument("--level", choices=LEVELS, default="block", help="what one box of the picture is")


def run(args: argparse.Namespace) -> int:
    """Compile one network; nothing is written unless everything is right."""
    from resdsl.diagnostics import CompileError

    from .diagnostics import print_text

    console: Console = args.console
    try:
        net = open_network(args)
        drawn = networks_to_draw(args, net) if args.draw else []
    except CompileError as error:
        print_text(console, error.diagnostics)
        return USER_MISTAKE
    folder = args.out or os.path.join("build", net.name)
    files = {"model.py": net.to_source(), "summary.json": _summary_text(net)}
    prove(net)
    os.makedirs(folder, exist_ok=True)
    beside = os.path.join(folder, f".resdsl-{os.urandom(6).hex()}.tmp")
    os.mkdir(beside)
    try:
        for name, text in files.items():
            replace_text(os.path.join(beside, name), text)
        note = draw(net, drawn, beside, args) if args.draw else ""
        written = move_all(beside, folder)
    finally:
        remove(beside)
    console.print_ok(f"{net.name}: depth {net.depth}, {net.parameters:,} parameters, {_count(net.macs)} multiply-adds")
    for name in written:
        console.print(f"  {os.path.join(folder, name)}")
    if note:
        console.print_note(note)
    return OK


def move_all(beside: str, folder: str) -> list[str]:
    """Put finished files in the place of an earlier build's: all, or none where a folder is in the way; their names."""
    names = sorted(os.listdir(beside))
    for name in names:
        target = os.path.join(folder, name)
        if os.path.isdir(target):
            raise OSError(None, "Not a regular file", target)
    for name in names:
        os.replace(os.path.join(beside, name), os.path.join(folder, name))
    return names


def remove(beside: str) -> None:
    """Remove the folder of unfinished files, and what a failure left in it."""
    for name in os.listdir(beside):
        os.unlink(os.path.join(beside, name))
    os.rmdir(beside)


def networks_to_draw(args: argparse.Namespace, net: Net) -> list[Net]:
    """The network itself when it was named, given arguments or changed, else all networks of the spec side by side."""
    from resdsl.compiler import Compilation, open_source

    if args.network or args.set or changes_of(args).texts:
        return [net]
    compilation = Compilation(open_source(args.spec), args.root)
    names = [
        network.name.name
        for network in compilation.own_networks()
        if all(parameter.default is not None for parameter in network.parameters)
    ]
    return [net if name == net.name else open_network(args, name) for name in names]


def prove(net: Net) -> None:
    """Verify the graph and run the module on the meta device: every shape must be as the compiler says.

    Raises:
        InternalError: it is not.
    """
    from resdsl.emit.torch_proof import prove_on_meta

    _ = net.graph
    prove_on_meta(net.flat)


def draw(net: Net, drawn: list[Net], folder: str, args: argparse.Namespace) -> str:
    """Write the picture and its source; what to do where it cannot be rendered is returned."""
    from resdsl.emit.dot import emit_dot
    from resdsl.emit.render_dot import RenderError, render

    text = emit_dot([one.flat for one in drawn], args.level)
    base = os.path.join(folder, net.name)
    replace_text(f"{base}.gv", text)
    try:
        render(text, f"{base}.{args.draw}", args.draw)
    except RenderError as error:
        return str(error)
    return ""


def _summary_text(net: Net) -> str:
    import json

    return json.dumps(net.summary(layers=True), indent=2) + "\n"


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
