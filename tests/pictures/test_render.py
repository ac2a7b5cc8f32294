"""From DOT text to files: by the program, by pygraphviz' library, or a line that says how."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from resdsl.emit.dot import emit_dot
from resdsl.emit.render_dot import FORMATS, HOW_TO_RENDER, RenderError, render
from tests.pictures.conftest import load

MAGIC = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}


@pytest.fixture
def text() -> str:
    return emit_dot([load("net")], "block")


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No program dot on the way."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize("picture_format", FORMATS)
def test_the_program_draws(text: str, picture_format: str, dot: str, tmp_path: Path) -> None:
    path = tmp_path / f"net.{picture_format}"
    render(text, str(path), picture_format)
    assert path.read_bytes().startswith(MAGIC[picture_format])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_svg_has_tooltips_and_text(text: str, dot: str, tmp_path: Path) -> None:
    path = tmp_path / "net.svg"
    render(text, str(path))
    root = ET.fromstring(path.read_bytes())
    tooltips = [value for element in root.iter() for key, value in element.attrib.items() if key.endswith("}title")]
    assert any(load("net").nodes[0].place.place() in tooltip for tooltip in tooltips)
    assert "3x3 conv, 16" in ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")]


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize("picture_format", FORMATS)
def test_the_library_draws_without_the_program(text: str, picture_format: str, tmp_path: Path) -> None:
    pytest.importorskip("pygraphviz", minversion="2.0")
    path = tmp_path / "net"
    render(text, str(path), picture_format)
    assert path.read_bytes().startswith(MAGIC[picture_format])


@pytest.mark.usefixtures("no_program")
def test_without_both_a_line_says_how(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    path = tmp_path / "net.svg"
    path.write_text("an earlier picture")
    with pytest.raises(RenderError) as caught:
        render(text, str(path))
    assert str(caught.value) == HOW_TO_RENDER
    assert "\n" not in HOW_TO_RENDER
    assert path.read_text() == "an earlier picture"


def test_a_failure_keeps_the_earlier_picture(dot: str, tmp_path: Path) -> None:
    path = tmp_path / "net.svg"
    path.write_text("an earlier picture")
    with pytest.raises(RenderError, match="Graphviz made no picture"):
        render("this is not DOT", str(path))
    assert [file.read_text() for file in tmp_path.iterdir()] == ["an earlier picture"]


def test_a_folder_in_the_way_leaves_nothing_behind(text: str, dot: str, tmp_path: Path) -> None:
    (tmp_path / "net.svg").mkdir()
    with pytest.raises(OSError, match=r"net\.svg"):
        render(text, str(tmp_path / "net.svg"))
    assert [file.name for file in tmp_path.iterdir()] == ["net.svg"]


def test_unknown_formats_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="svg, pdf, png"):
        render(text, str(tmp_path / "net"), "ps")
