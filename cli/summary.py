"""`resdsl summary`: shows a network as the papers' tables do, and what it costs."""

from __future__ import annotations

import argparse
from typing import Any

from .options import add_network_options, open_network

OK, USER_MISTAKE = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl summary`."""
    parser.add_argument("spec", metavar="SPEC", help="the spec")
    add_network_options(parser)
    parser.add_argument("--layers", action="store_true", help="also a row for each op")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(args: argparse.Namespace) -> int:
    """Print the table of one network."""
    from resdsl.diagnostics import CompileError

    from .diagnostics import print_text

    try:
        net = open_network(args)
    except CompileError as error:
        print_text(args.console, error.diagnostics)
        return USER_MISTAKE
    summary = net.summary(layers=args.layers)
    if args.json:
        import json

        args.console.print(json.dumps(summary, indent=2))
        return OK
    from .tables import layer_table, print_tables, stage_table

    tables = [stage_table(summary, stage_contents(net))]
    if args.layers:
        tables.append(layer_table(summary))
    print_tables(args.console, tables)
    print_facts(args, summary)
    return OK


def stage_contents(net: Any) -> list[str]:
    """For each part its blocks and steps, as in Table 1 of He et al. 2015."""
    from resdsl.ir.contents import part_contents

    return [part_contents(net.network, part) for part in net.network.parts]


def print_facts(args: argparse.Namespace, summary: dict[str, Any]) -> None:
    """The lines under the table, each with its convention."""
    facts = [
        ("depth", summary["depth"], "weighted layers on the trunk"),
        ("parameters", summary["parameters"], f"and {_grouped(summary['buffers'])} buffers"),
        ("multiply-adds", summary["macs"], "of convolutions and linear layers, one image"),
        ("activations", summary["activations"], "outputs of convolutions and linear layers, one image"),
        ("output stride", summary["stride"], ""),
        ("receptive field", summary["receptive_field"], "of the last map, in pixels of the input"),
        ("smallest input", " x ".join(str(extent) for extent in summary["minimum_input"]), ""),
    ]
    args.console.print()
    for name, value, note in facts:
        remark = args.console.style(f"  {note}", dim=True) if note else ""
        args.console.print(f"{name:<16}{_grouped(value)}{remark}")
    if summary["published"]:
        args.console.print(f"{'published':<16}{_published(summary['published'])}")


def _published(facts: dict[str, Any]) -> str:
    errors = [
        f"{name} error {100 * facts[word]:.4g} %"
        for name, word in (("top-1", "top1_error"), ("top-5", "top5_error"))
        if word in facts
    ]
    found = ", ".join(errors) + (f" on {facts['data']}" if errors and "data" in facts else "")
    details = "; ".join(facts[word] for word in ("paper", "note") if word in facts)
    return f"{found} ({details})" if found else details


def _grouped(value: object) -> str:
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
