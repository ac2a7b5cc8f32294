"""`resdsl check`: reports all faults of spec files."""

from __future__ import annotations

import argparse
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.diagnostics import Diagnostic

OK, USER_MISTAKE = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl check`."""
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="spec files, or folders of them")
    parser.add_argument("--root", action="append", default=[], metavar="DIR", help="a folder that `use` may read from")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json for editors (default: text)")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing when all is well")


def run(args: argparse.Namespace) -> int:
    """Check every spec; all faults of all of them are reported."""
    from resdsl.compiler import check_file

    from .diagnostics import print_json, print_text, unique

    found: list[Diagnostic] = []
    count = 0
    paths = spec_files(args.specs)
    for path in paths:
        result = check_file(path, args.root)
        found.extend(result.diagnostics)
        count += len(result.networks)
    found = unique(found)
    if args.format == "json":
        print_json(args.console, found)
    elif found:
        print_text(args.console, found)
    elif not args.quiet:
        networks = f"{count} network" + ("" if count == 1 else "s")
        files = "" if len(paths) == 1 else f" in {len(paths)} files"
        args.console.print_ok(f"{networks}{files}")
    return USER_MISTAKE if found else OK


def spec_files(paths: list[str]) -> list[str]:
    """The files themselves, and all `.res` files in folders, in a fixed order."""
    found: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            found.append(path)
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            found.extend(os.path.join(folder, name) for name in sorted(names) if name.endswith(".res"))
    return found
