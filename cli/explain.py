"""`resdsl explain`: tells what a diagnostic means."""

from __future__ import annotations

import argparse

OK, USER_MISTAKE = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl explain`."""
    parser.add_argument("code", nargs="?", help="a code such as R0301; without one, all are listed")


def run(args: argparse.Namespace) -> int:
    """Print the explanation of a code, or the list of codes."""
    from resdsl.catalogue import ENTRIES, all_codes, explain, plain_title
    from resdsl.suggest import closest

    if args.code is None:
        for code in all_codes():
            args.console.print(f"{code}  {plain_title(ENTRIES[code].title)}")
        return OK
    code = args.code.upper()
    if code not in ENTRIES:
        guess = closest(code, ENTRIES)
        hint = f"; did you mean {guess}?" if guess else "; `resdsl explain` lists all codes"
        args.console.print_error(f"there is no diagnostic {args.code[:20]}{hint}")
        return USER_MISTAKE
    args.console.print(explain(code, _report).rstrip("\n"))
    return OK


def _report(text: str) -> str:
    """The diagnostics of an example, as `resdsl check` shows them."""
    from resdsl.compiler import check_source
    from resdsl.render import render_all
    from resdsl.source import SourceFile

    return render_all(check_source(SourceFile("example.res", text)).diagnostics)
