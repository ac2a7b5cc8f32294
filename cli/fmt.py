"""`resdsl fmt`: lays spec files out in the one canonical way."""

from __future__ import annotations

import os
import sys

from resdsl.diagnostics import MistakeFound
from resdsl.files import replace_text
from resdsl.semantics.program import read_text
from resdsl.source import SourceFile
from resdsl.syntax.format import format_file
from resdsl.syntax.parse import Parser

from .console import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from resdsl.diagnostics import Mistake

OK, USER_MISTAKE = 0, 1
STANDARD_INPUT = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl fmt`."""
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="a spec, a folder (all *.res in it), or - for standard input"
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--check", action="store_true", help="write nothing; show what would change and exit with 1")
    way.add_argument("--stdout", action="store_true", help="write to standard output, not to the files")


def run(args: argparse.Namespace) -> int:
    """Format all files, going on after a faulty one; the exit code is 1 if any is faulty or would change."""
    console: Console = args.console
    parser = Parser()
    faulty = changed = count = 0
    for path in _spec_files(args.paths):
        count += 1
        try:
            changed += _format(path, parser, args)
        except MistakeFound as found:
            faulty += 1
            _show_mistake(console, found.mistake)
        except BrokenPipeError:
            raise
        except OSError as error:
            faulty += 1
            console.print_error(f"{path}: {error.strerror}")
    if count == 0:
        console.print_error(f"no spec (*.res) in {', '.join(args.paths)}")
        return USER_MISTAKE
    if not faulty and not args.stdout and STANDARD_INPUT not in args.paths:
        _conclude(console, args.check, changed, count)
    return USER_MISTAKE if faulty or (args.check and changed) else OK


def _format(path: str, parser: Parser, args: argparse.Namespace) -> bool:
    """Format one file in the way asked for; return whether its layout was another one."""
    console: Console = args.console
    source = _read(path)
    text = format_file(parser.parse(source))
    is_changed = _is_changed(path, source, text)
    if args.stdout or (path == STANDARD_INPUT and not args.check):
        _write_as_it_is(console, text)
    elif args.check and is_changed:
        _show_difference(console, source, text)
    elif is_changed:
        replace_text(path, text)
    return is_changed


def _spec_files(paths: Iterable[str]) -> Iterator[str]:
    """The files named, and for a folder the specs in it and below, sorted; links to other folders are not followed."""
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, below, names in os.walk(path):
            below.sort()
            found = (os.path.join(folder, name) for name in sorted(names) if name.endswith(".res"))
            yield from (file for file in found if not os.path.islink(file))


def _read(path: str) -> SourceFile:
    if path != STANDARD_INPUT:
        return SourceFile(path, read_text(path), path)
    try:
        return SourceFile("<stdin>", sys.stdin.buffer.read().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise OSError(None, "not text in UTF-8") from None


def _write_as_it_is(console: Console, text: str) -> None:
    """Write a spec to standard output: specs are UTF-8, whatever the terminal is."""
    console.output.flush()
    console.output.buffer.write(text.encode())
    console.output.buffer.flush()


def _is_changed(path: str, source: SourceFile, text: str) -> bool:
    """Whether a file would change, be it in its line ends or its byte order mark only."""
    if text != source.text or path == STANDARD_INPUT:
        return text != source.text
    with open(path, "rb") as file:
        return file.read() != text.encode()


def _show_difference(console: Console, source: SourceFile, text: str) -> None:
    if source.text == text:
        console.print(f"{source.name}: line ends or byte order mark would change")
        return
    from difflib import unified_diff

    colors = {"+": "green", "-": "red", "@": "cyan"}
    before, after = source.text.split("\n"), text.split("\n")
    for line in unified_diff(before, after, source.name, f"{source.name} (formatted)", lineterm=""):
        console.print(console.style(line, colors.get(line[0])))


def _show_mistake(console: Console, mistake: Mistake) -> None:
    from resdsl.catalogue import diagnose
    from resdsl.render import ansi_colour, no_colour, render_all

    console.print_note(render_all([diagnose(mistake)], ansi_colour if console.colored_errors else no_colour))


def _conclude(console: Console, is_check: bool, changed: int, count: int) -> None:
    files = "1 file" if count == 1 else f"{count} files"
    if not changed:
        console.print_ok(f"{files} unchanged")
    elif is_check:
        console.print_note(f"{changed} of {files} would change")
    else:
        console.print_ok(f"{changed} of {files} changed")
