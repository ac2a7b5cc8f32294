"""Tables in a terminal; plain aligned text when piped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .console import Console, terminal_width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.table import Table

    from resdsl.weights.receipt import Receipt, Row


# A terminal that is narrower wraps the lines; a number that loses digits would be a wrong number.
LEAST_WIDTH = 79
FEW_ALIKE = 5


def stage_table(summary: dict[str, Any], contents: list[str]) -> Table:
    """Stages with output sizes, contents, parameters and multiply-adds."""
    rows = [
        (
            _plain(stage["name"]),
            _shape(stage["output"]),
            _plain(content),
            f"{stage['parameters']:,}",
            _count(stage["macs"]),
        )
        for stage, content in zip(summary["stages"], contents, strict=True)
    ]
    total = ("all", "", "", f"{summary['parameters']:,}", _count(summary["macs"]))
    table = _table(f"{summary['network']}: {_shape(summary['input'])} to {_shape(summary['output'])}")
    headings = ("stage", "output", "layers", "parameters", "multiply-adds")
    # With a free size the multiply-adds are sums of products, longer than any line.
    is_free = isinstance(summary["macs"], str)
    wrapping = {"layers", "multiply-adds"} if is_free else {"layers"}
    _add_columns(table, headings, [*rows, total], left={"stage", "layers"}, wrapping=wrapping)
    for row in rows:
        table.add_row(*row)
    table.add_section()
    table.add_row(*total)
    return table


def layer_table(summary: dict[str, Any]) -> Table:
    """One row an op."""
    rows = [
        (
            _plain(layer["name"]),
            layer["op"],
            _shape(layer["output"]),
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            _count(layer["macs"]) if layer["macs"] else "",
            str(layer["line"]),
        )
        for layer in summary["layers"]
    ]
    table = _table("layers")
    _add_columns(table, ("name", "op", "output", "parameters", "multiply-adds", "line"), rows, left={"name", "op"})
    for row in rows:
        table.add_row(*row)
    return table


def receipt_table(receipt: Receipt, *, all_rows: bool) -> Table | None:
    """One row a tensor: where its values came from, what became of it, and why.

    Without `all_rows` those that are not plainly loaded, the first few of each kind; None where there are none.
    """
    shown = receipt.rows
    rest: dict[tuple[str, str], int] = {}
    if not all_rows:
        alike: dict[tuple[str, str], list[Row]] = {}
        for one in receipt.rows:
            if one.status != "loaded" or one.is_by_order:
                alike.setdefault((one.status, one.how), []).append(one)
        shown = tuple(one for some in alike.values() for one in some[:FEW_ALIKE])
        rest = {kind: len(some) - FEW_ALIKE for kind, some in alike.items() if len(some) > FEW_ALIKE}
    rows = [
        (_plain(one.target), _plain(one.source), _shape(list(one.shape)), one.status, _plain(one.how)) for one in shown
    ]
    rows += [(f"and {count} more", "", "", status, _plain(how)) for (status, how), count in rest.items()]
    if not rows:
        return None
    table = _table(f"{receipt.source} to {receipt.network}")
    headings = ("tensor", "in the file", "shape", "status", "how")
    _add_columns(table, headings, rows, left={"tensor", "in the file", "status", "how"}, wrapping={"how"})
    for row in rows:
        table.add_row(*row)
    return table


def text_table(title: str, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], left: set[str]) -> Table:
    """Any texts; columns not named in `left` stand flush right."""
    table = _table(title)
    shown = [tuple(map(_plain, row)) for row in rows]
    _add_columns(table, headings, shown, left=left)
    for row in shown:
        table.add_row(*row)
    return table


def _add_columns(
    table: Table,
    headings: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    left: set[str],
    wrapping: frozenset[str] | set[str] = frozenset(),
) -> None:
    """Columns as wide as their longest text, so that no number loses digits; those that wrap may be narrower."""
    for position, heading in enumerate(headings):
        longest = max((len(row[position]) for row in rows), default=0)
        table.add_column(
            heading,
            justify="left" if heading in left else "right",
            no_wrap=heading not in wrapping,
            overflow="fold",
            min_width=18 if heading in wrapping else max(longest, len(heading)),
        )


def print_tables(console: Console, tables: list[Table]) -> None:
    """Print tables one under the other, as wide as the terminal, or as they need when piped."""
    from rich.console import Console as RichConsole
    from rich.measure import Measurement

    width = max(LEAST_WIDTH, terminal_width()) if console.colored else 400
    rich = RichConsole(width=width, no_color=not console.colored, force_terminal=console.colored, highlight=False)
    for table in tables:
        least = Measurement.get(rich, rich.options, table).minimum
        with rich.capture() as captured:
            rich.print(table, width=max(width, least), crop=False)
        for line in captured.get().rstrip("\n").split("\n"):
            console.print(line.rstrip())


def _table(title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=_plain(title) or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _shape(shape: list[int | str]) -> str:
    return " x ".join(str(extent) for extent in shape)


def _count(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value
