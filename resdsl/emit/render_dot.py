"""DOT text to a picture file: by the program `dot`, else by the library that pygraphviz brings along."""

from __future__ import annotations

import contextlib
import os
import warnings

FORMATS = ("svg", "pdf", "png")
HOW_TO_RENDER = (
    "no picture: Graphviz is missing; install it (`apt install graphviz`, `brew install graphviz`) "
    "or `pip install 'resdsl[render]'`, or open the .gv file in any Graphviz viewer"
)


class RenderError(Exception):
    """There is no picture; the message is one line: how to get one, or Graphviz' last words."""


def render(dot_text: str, path: str, picture_format: str = "svg") -> None:
    """Write a picture beside its place and move it there; an earlier picture stays when anything fails.

    Args:
        dot_text: what resdsl.emit.dot.emit_dot gives.
        path: the file to write.
        picture_format: svg, pdf or png.

    Raises:
        ValueError: an unknown format.
        RenderError: no Graphviz is installed, or it failed; the message is one line that says what to do.
        OSError: the file cannot be written.
    """
    if picture_format not in FORMATS:
        raise ValueError(f"picture format {picture_format!r}: wanted one of {', '.join(FORMATS)}")
    picture = _by_program(dot_text, picture_format)
    if picture is None:
        picture = _by_library(dot_text, picture_format)
    if picture is None:
        raise RenderError(HOW_TO_RENDER)
    _write_beside(path, picture)


def _by_program(dot_text: str, picture_format: str) -> bytes | None:
    """The picture, or None where the program `dot` is not installed."""
    import graphviz

    try:
        return bytes(graphviz.Source(dot_text).pipe(format=picture_format, quiet=True))
    except graphviz.ExecutableNotFound:
        return None
    except graphviz.CalledProcessError as error:
        raise RenderError(_last_line(error.stderr)) from None


def _by_library(dot_text: str, picture_format: str) -> bytes | None:
    """The picture, or None where pygraphviz is not installed or is one that needs the program `dot`."""
    try:
        import pygraphviz
    except ImportError:
        return None
    with warnings.catch_warnings():
        # Remarks on fonts; where there is no picture an exception follows.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            graph = pygraphviz.AGraph(string=dot_text)
            graph.layout(prog="nop2")
            return bytes(graph.draw(format=picture_format))
        except ValueError as error:
            if "not found" in str(error):
                return None
            raise RenderError(_last_line(error)) from None
        except OSError as error:
            raise RenderError(_last_line(error)) from None


def _last_line(words: object) -> str:
    text = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"Graphviz made no picture: {lines[-1] if lines else 'it gave no reason'}"


def _write_beside(path: str, picture: bytes) -> None:
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name[:40]}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(picture)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
