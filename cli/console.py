"""Streams, colour and files: everything the commands do to the world outside goes through here."""

from __future__ import annotations

import io
import os
import sys

COLOR_MODES = ("auto", "always", "never")

_RESET = "\x1b[0m"
_COLOR_CODES = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "grey": 90}
_WIDEST = 100


class Console:
    """The two output streams of a command, with one decision about colour for each.

    `mode` is the value of `--color`; see `wants_color`.
    """

    __slots__ = ("colored", "colored_errors", "errors", "output")

    def __init__(self, mode: str = "auto") -> None:
        self.output = sys.stdout
        self.errors = sys.stderr
        # File names that are no valid text, and terminals that are not UTF-8, must not end in an exception.
        if isinstance(self.output, io.TextIOWrapper):
            self.output.reconfigure(errors="backslashreplace")
        self.colored = wants_color(self.output, mode)
        self.colored_errors = wants_color(self.errors, mode)

    def print(self, text: str = "") -> None:
        """Write text and a line feed to standard output."""
        print(text, file=self.output)

    def print_ok(self, text: str) -> None:
        """Write a line that reports success to standard output: `ok: text`."""
        self.print(f"{self.style('ok', 'green', bold=True)}: {text}")

    def begin_error(self) -> bool:
        """An error comes next, with notes before it; whether it will be shown."""
        return True

    def print_error(self, text: str) -> None:
        """Write a line that reports the user's mistake to standard error: `error: text`."""
        label = style("error", "red", bold=True) if self.colored_errors else "error"
        self.print_note(f"{label}: {text}")

    def print_note(self, text: str) -> None:
        """Write text and a line feed to standard error, where it does not mix with a command's result."""
        self.output.flush()
        print(text, file=self.errors)

    def style(self, text: str, color: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
        """`style`, or the bare text where standard output shows no colour."""
        return style(text, color, bold=bold, dim=dim) if self.colored else text


def style(text: str, color: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
    """The text within ANSI codes for a colour (red, green, yellow, blue, magenta, cyan, grey) and weight."""
    codes = [str(code) for code, wanted in ((1, bold), (2, dim)) if wanted]
    if color is not None:
        codes.append(str(_COLOR_CODES[color]))
    return f"\x1b[{';'.join(codes)}m{text}{_RESET}" if codes else text


def wants_color(stream: object, mode: str = "auto") -> bool:
    """Whether to colour what goes to a stream.

    `always` and `never` are obeyed. `auto` asks, in this order: NO_COLOR (set: no), FORCE_COLOR (set: yes), then
    whether the stream is a terminal that is not "dumb".
    """
    if mode != "auto":
        return mode == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") != "0":
        return True
    is_terminal = getattr(stream, "isatty", None)
    return is_terminal is not None and is_terminal() and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    """Columns to fill with text: COLUMNS, else the terminal's, else 80; at most 100, which still reads well."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return min(int(columns), _WIDEST)
    try:
        width = os.get_terminal_size(1).columns
    except OSError:
        width = 0
    return min(width, _WIDEST) if width > 0 else 80
