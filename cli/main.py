"""The program `resdsl`: finds the command, loads its module and nothing else, and turns its end into an exit code."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module

from .console import COLOR_MODES, Console, style, terminal_width, wants_color

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Never

    from _typeshed import SupportsWrite

OK, USER_MISTAKE, USAGE, OUR_BUG = 0, 1, 2, 3
INTERRUPTED, BROKEN_PIPE = 130, 141  # as a shell reports SIGINT and SIGPIPE

# Command and module have one name. A module offers configure(parser) and run(args) -> exit code; args.console is
# the Console to write to.
COMMANDS = {
    "check": "report all faults of spec files",
    "fmt": "lay spec files out in the one canonical way",
    "summary": "show stages, output sizes, parameters and multiply-adds",
    "compile": "write a PyTorch model, a picture and a summary",
    "explain": "tell what a diagnostic means, with a wrong and a right example",
    "train": "train a network by the recipe in its spec",
    "eval": "test trained networks as papers do: crops, scales, ensembles",
    "bench": "measure images a second in training and inference, beside other libraries",
    "plot": "draw the errors of runs over the iterations",
    "pack": "put a folder of images into one file that trains faster",
    "weights": "carry the weights of another library's checkpoint over to a network",
    "deepen": "make a trained network deeper without changing its outputs",
}


_HEADING = re.compile(r"^(?:usage:|[a-z ]+:$)", re.MULTILINE | re.IGNORECASE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name) and return the exit code.

    0 is success, 1 the user's mistake (a faulty spec, an unreadable file), 2 wrong usage, 3 a bug of resdsl.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run_until_exit(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more at exit; there must be somewhere for it to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last line of defence
        code = _report_failure(error)
    return code


def _run_until_exit(arguments: list[str]) -> int:
    try:
        return _run(arguments)
    except SystemExit as stop:  # argparse ends --help and wrong usage in this way
        return stop.code if isinstance(stop.code, int) else USAGE


def _run(arguments: list[str]) -> int:
    color = _requested_color(arguments)
    own, command, rest = _split_at_command(arguments)
    top = _top_parser(color)
    options = top.parse(own)
    if options.version:
        Console(color).print(f"resdsl {_version()}")
        return OK
    if command is None:
        top.print_help(sys.stderr)
        return USAGE
    if command not in COMMANDS:
        top.error(f"there is no command '{command}'{_did_you_mean(command, COMMANDS)}")
    parser = _command_parser(command, color)
    module = import_module(f".{command}", __package__)
    module.configure(parser)
    args = parser.parse(rest)
    args.console = Console(args.color or options.color or "auto")
    code: int = module.run(args)
    return code


def _split_at_command(arguments: list[str]) -> tuple[list[str], str | None, list[str]]:
    """The program's own options, the command, and what follows it."""
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        index += 2 if arguments[index] == "--color" else 1
    if index >= len(arguments):
        return arguments, None, []
    return arguments[:index], arguments[index], arguments[index + 1 :]


def _requested_color(arguments: list[str]) -> str:
    """The value of --color, wherever it stands: help and usage errors are coloured before options are parsed."""
    for index, argument in enumerate(arguments):
        value = "".join(arguments[index + 1 : index + 2]) if argument == "--color" else argument[len("--color=") :]
        if argument.startswith("--color") and value in COLOR_MODES:
            return value
    return "auto"


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """argparse's layout with capital headings."""

    def __init__(self, prog: str) -> None:
        # Without a width argparse imports shutil, and with it the compression modules.
        super().__init__(prog, max_help_position=28, width=terminal_width() - 2)

    def format_help(self) -> str:
        return _HEADING.sub(lambda match: match[0].capitalize(), super().format_help())


class _Parser(argparse.ArgumentParser):
    """argparse with messages in the form of all our errors, and a suggestion for a misspelt option."""

    def __init__(self, *, prog: str, description: str, color: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )
        self._color = color
        self.add_argument("-h", "--help", action="help", help="show this help")
        self.add_argument("--color", choices=COLOR_MODES, help="colour the output (default: auto)")

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Like `parse_args`, with the suggestion."""
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            name = unknown[0].partition("=")[0]
            kind = "option" if name.startswith("-") else "argument"
            self.error(f"unexpected {kind} '{name}'{_did_you_mean(name, known)}")
        return parsed

    def error(self, message: str) -> Never:
        from .together import is_silent

        if is_silent(os.environ):
            self.exit(USAGE)
        Console(self._color).print_error(message)
        self.exit(USAGE, f"{self.format_usage()}Try '{self.prog} --help'.\n")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # All of argparse's output passes here, and here only the stream is known.
        if wants_color(file, self._color):
            message = _HEADING.sub(lambda match: style(match[0], "cyan", bold=True), message)
        super()._print_message(message, file)


def _top_parser(color: str) -> _Parser:
    width = max(len(name) for name in COMMANDS)
    commands = "\n".join(f"  {name:{width}}  {purpose}" for name, purpose in COMMANDS.items())
    parser = _Parser(
        prog="resdsl",
        description="Compiles residual networks written in the resdsl language.",
        epilog=f"commands:\n{commands}\n\nTry 'resdsl COMMAND --help'.",
        color=color,
    )
    parser.usage = "resdsl [options] COMMAND ..."
    parser.add_argument("--version", action="store_true", help="show the version")
    return parser


def _command_parser(command: str, color: str) -> _Parser:
    purpose = COMMANDS[command]
    return _Parser(prog=f"resdsl {command}", description=f"{purpose[0].upper()}{purpose[1:]}.", color=color)


def _did_you_mean(word: str, candidates: Iterable[str]) -> str:
    from resdsl.suggest import closest

    guess = closest(word, candidates)
    return f"; did you mean '{guess}'?" if guess else ""


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("resdsl")
    except PackageNotFoundError:
        return "(not installed)"


def _report_failure(error: Exception) -> int:
    console = Console()
    if isinstance(error, OSError) and error.filename is not None:
        console.print_error(f"{os.fsdecode(error.filename)}: {error.strerror}")
        return USER_MISTAKE
    import traceback

    text = "".join(traceback.format_exception(error))
    if os.environ.get("RESDSL_TRACEBACK") == "1":
        console.print_note(text)
    console.print_error(f"internal error: {type(error).__name__}")
    console.print_note("This is a bug of resdsl, not of your spec. Please report it" + _where_to_find(text))
    return OUR_BUG


def _where_to_find(traceback_text: str) -> str:
    if os.environ.get("RESDSL_TRACEBACK") == "1":
        return ", with the traceback above."
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="resdsl-", suffix=".txt", encoding="utf-8", errors="backslashreplace", delete=False
        ) as file:
            file.write(traceback_text)
    except OSError:
        return "; RESDSL_TRACEBACK=1 shows the traceback."
    return f", with the file {file.name}"
