"""Colour decisions, and files that are replaced whole or not at all."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from resdsl.cli.console import Console, style, terminal_width, wants_color
from resdsl.files import replace_bytes, replace_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("mode", "environment", "is_terminal", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "0"}, False, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_color_decision(
    mode: str, environment: dict[str, str], is_terminal: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_color(Terminal() if is_terminal else io.StringIO(), mode) is expected


def test_style() -> None:
    assert style("x", "red", bold=True) == "\x1b[1;31mx\x1b[0m"
    assert style("x", dim=True) == "\x1b[2mx\x1b[0m"
    assert style("x") == "x"


@pytest.mark.parametrize(("columns", "expected"), [("60", 60), ("1000", 100), ("0", None), ("wide", None)])
def test_terminal_width(columns: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert 1 <= terminal_width() <= 100
    assert expected is None or terminal_width() == expected


def test_lines_go_to_their_streams(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console("never")
    console.print_ok("3 files")
    console.print_error("no such network")
    console.print_note("see docs/language.md")
    captured = capsys.readouterr()
    assert captured.out == "ok: 3 files\n"
    assert captured.err == "error: no such network\nsee docs/language.md\n"


def test_text_that_no_encoding_holds_is_escaped(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Console("never").print("name-\udcff.res")
    assert capfdbinary.readouterr().out == b"name-\\udcff.res\n"


def test_writes_and_replaces(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    replace_text(str(file), "first\r\n")
    replace_text(str(file), "zweite Größe\n")
    assert file.read_bytes() == "zweite Größe\n".encode()
    assert list(tmp_path.iterdir()) == [file]


def test_a_relative_name_is_written_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    replace_bytes("a.bin", b"\0")
    assert (tmp_path / "a.bin").read_bytes() == b"\0"


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "net.res", tmp_path / "link.res"
    file.write_text("old", encoding="utf-8")
    file.chmod(0o640)
    link.symlink_to(file.name)
    replace_text(str(link), "new")
    assert link.is_symlink()
    assert file.read_text(encoding="utf-8") == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_failure_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "net.res"
    file.write_text("old", encoding="utf-8")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        replace_text(str(file), "new")
    assert file.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("place", ["missing/net.res", "."])
def test_an_impossible_place_is_named(place: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="file") as caught:
        replace_text(str(tmp_path / place), "new")
    assert caught.value.filename


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(OSError, match="Not a regular file"):
        replace_text("/dev/null", "new")
    assert Path("/dev/null").is_char_device()
