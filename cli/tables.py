"""Tables in a terminal; plain aligned text when piped."""

from __future__ import annotations

from typing import Any

from .console import Console, terminal_width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.table import Table


def stage_table(summary: dict[str, Any], contents: list[str]) -> Table:
    """Stages with output sizes, contents, parameters and multiply-adds."""
    table = _table(f"{summary['network']}: {_shape(summary['input'])} to {_shape(summary['output'])}")
    table.add_column("stage")
    table.add_column("output", justify="right")
    table.add_column("layers")
    table.add_column("parameters", justify="right")
    table.add_column("multiply-adds", justify="right")
    for stage, content in zip(summary["stages"], contents, strict=True):
        table.add_row(
            _plain(stage["name"]),
            _shape(stage["output"]),
            _plain(content),
            f"{stage['parameters']:,}",
            _count(stage["macs"]),
        )
    table.add_section()
    table.add_row("all", "", "", f"{summary['parameters']:,}", _count(summary["macs"]))
    return table


def layer_table(summary: dict[str, Any]) -> Table:
    """One row an op."""
    table = _table("layers")
    for name in ("name", "op"):
        table.add_column(name, no_wrap=True)
    for name in ("output", "parameters", "multiply-adds", "line"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in summary["layers"]:
        table.add_row(
            _plain(layer["name"]),
            layer["op"],
            _shape(layer["output"]),
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            _count(layer["macs"]) if layer["macs"] else "",
            str(layer["line"]),
        )
    return table


def print_tables(console: Console, tables: list[Table]) -> None:
    """Print tables one under the other, as wide as the terminal, or as they need when piped."""
    from rich.console import Console as RichConsole

    width = terminal_width() if console.colored else 400
    rich = RichConsole(width=width, no_color=not console.colored, force_terminal=console.colored, highlight=False)
    for table in tables:
        with rich.capture() as captured:
            rich.print(table)
        for line in captured.get().rstrip("\n").split("\n"):
            console.print(line.rstrip())


def _table(title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=_plain(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _shape(shape: list[int | str]) -> str:
    return " x ".join(str(extent) for extent in shape)


def _count(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value
