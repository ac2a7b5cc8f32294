"""Golden cases: each file of tests/cases/err beside its exact diagnostics; those of tests/cases/ok have none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resdsl.catalogue import all_codes
from resdsl.compiler import check_file
from resdsl.render import render_all

CASES = Path(__file__).parents[1] / "cases"
# These depend on limits, on the disk or on the command line, not on a text: see test_catalogue.py.
WITHOUT_CASE = {"R0001", "R0002", "R0415", "R0416", "R0605", "R0710", "R0711"}


def names(folder: str) -> list[str]:
    return sorted(path.name for path in (CASES / folder).glob("*.res"))


@pytest.mark.parametrize("name", names("err"))
def test_wrong(name: str, golden: Callable[[str, Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES / "err")
    text = render_all(check_file(name).diagnostics)
    assert text
    golden(text, CASES / "err" / f"{Path(name).stem}.txt")


@pytest.mark.parametrize("name", names("ok"))
def test_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES / "ok")
    result = check_file(name)
    assert not result.diagnostics, render_all(result.diagnostics)
    assert result.networks


def test_every_code_has_a_case() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (CASES / "err").glob("*.txt")]
    shown = {line[6:11] for text in texts for line in text.split("\n") if line.startswith("error[")}
    assert shown == set(all_codes()) - WITHOUT_CASE


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in (CASES / "err").glob("*.txt")} == {Path(name).stem for name in names("err")}
