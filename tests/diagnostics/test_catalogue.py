"""Each code has words, each entry an example that provokes it and one that is right."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import resdsl.semantics.program
import resdsl.syntax.parse
from resdsl.catalogue import ENTRIES, all_codes, diagnose, explain, is_code
from resdsl.compiler import check_file, check_source, compile_network
from resdsl.diagnostics import CompileError, Mistake
from resdsl.render import render_all
from resdsl.source import SourceFile, Span

ROOT = Path(__file__).parents[2]
EXPLAINED = ROOT / "tests" / "cases" / "explain"

# Mistakes that no short text has; each is provoked by a test below.
NOT_IN_A_TEXT = {"R0001", "R0002", "R0003", "R0005", "R0415", "R0416", "R0605", "R0710", "R0711"}


def codes_in_the_compiler() -> set[str]:
    """All codes that some finder reports."""
    found: set[str] = set()
    for path in (ROOT / "resdsl").rglob("*.py"):
        if path.parent.name != "catalogue":
            found.update(re.findall(r'"(R\d{4})"', path.read_text(encoding="utf-8")))
    return found


def test_every_code_has_an_entry_and_every_entry_a_finder() -> None:
    assert set(all_codes()) == codes_in_the_compiler()


def test_examples_are_missing_only_where_no_text_has_the_mistake() -> None:
    assert {code for code, entry in ENTRIES.items() if not entry.wrong} == NOT_IN_A_TEXT


@pytest.mark.parametrize("code", [code for code in all_codes() if ENTRIES[code].wrong])
def test_examples(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ENTRIES[code]
    monkeypatch.chdir(tmp_path)
    for name, text in {"example.res": entry.wrong, "right.res": entry.right, **entry.beside}.items():
        Path(name).write_text(text, encoding="utf-8")
    wrong, right = check_file("example.res"), check_file("right.res")
    assert [diagnostic.code for diagnostic in wrong.diagnostics] == [code], render_all(wrong.diagnostics)
    assert "..." not in render_all(wrong.diagnostics).replace("{ ... }", "").replace("= ...)", "")
    assert not right.diagnostics, render_all(right.diagnostics)


def report(text: str) -> str:
    return render_all(check_source(SourceFile("example.res", text)).diagnostics)


@pytest.mark.parametrize("code", ["R0103", "R0301", "R0309", "R0401", "R0603", "R0704"])
def test_explanation(code: str, golden: Callable[[str, Path], None]) -> None:
    golden(explain(code, report), EXPLAINED / f"{code}.txt")


@pytest.mark.parametrize("code", all_codes())
def test_explanations_are_whole(code: str) -> None:
    text = explain(code)
    assert text.startswith(f"{code}: ")
    assert "{" not in text.partition("Wrong:")[0].replace("{ ... }", "").replace("{ gate } { transform }", "")


def test_explain_suggests_a_code() -> None:
    assert is_code("r0301")
    assert explain("r0301") == explain("R0301")
    with pytest.raises(KeyError, match=r"did you mean R0301\?"):
        explain("R03O1")


def only_code(source: SourceFile | str) -> str:
    result = check_file(source) if isinstance(source, str) else check_source(source)
    (diagnostic,) = result.diagnostics
    return diagnostic.code


def test_file_that_is_not_there(tmp_path: Path) -> None:
    assert only_code(str(tmp_path / "none.res")) == "R0001"
    assert only_code(str(tmp_path)) == "R0001"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("specs/resnet5.res", "specs/resnet50.res"), ("resnet34", "specs/resnet34.res"), ("zzzzzz.res", None)],
)
def test_a_file_that_could_have_been_meant(
    written: str, meant: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (diagnostic,) = check_file(written).diagnostics
    assert diagnostic.hints == ((f"did you mean `{meant}`?",) if meant else ())


def test_specs_that_come_along_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not check_file("specs/resnet34.res").diagnostics
    assert not check_file("resnet34.res").diagnostics
    assert only_code("../specs/resnet34.res") == "R0001"
    (tmp_path / "resnet34.res").write_text("network n { input 3 x 8 x 8; nothing }\n", encoding="utf-8")
    assert only_code("resnet34.res") == "R0202"  # the user's own comes first


def test_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "large.res"
    spec.write_text("# a comment\n" * 3, encoding="utf-8")
    monkeypatch.setattr(resdsl.semantics.program, "MAX_BYTES", 30)
    assert only_code(str(spec)) == "R0002"


def test_text_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resdsl.syntax.parse, "MAX_CHARACTERS", 100_000)
    assert only_code(SourceFile("large.res", "\n" * 100_001)) == "R0002"


def test_nesting_too_deep() -> None:
    brackets = "(" * 5000 + "1" + ")" * 5000
    assert only_code(SourceFile("deep.res", f"block b(n = {brackets}) {{ relu }}\n")) == "R0003"
    sums = " + ".join("1" * 3000)
    assert only_code(SourceFile("deep.res", f"block b(n = {sums}) {{ relu }}\n")) == "R0003"


def test_not_utf8(tmp_path: Path) -> None:
    spec = tmp_path / "latin.res"
    spec.write_bytes("# Übung\n".encode("latin-1"))
    assert only_code(str(spec)) == "R0005"


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / f"{name}.res").write_text(f"block block_{name} {{ relu }}\n", encoding="utf-8")
    spec = tmp_path / "main.res"
    spec.write_text('use "a.res"\nuse "b.res"\nuse "c.res"\n', encoding="utf-8")
    monkeypatch.setattr(resdsl.semantics.program, "MAX_FILES", 2)
    assert only_code(str(spec)) == "R0605"


@pytest.mark.parametrize(
    ("text", "network", "code"),
    [("block b { relu }\n", None, "R0415"), ("network tiny { input 3; relu }\n", "tinny", "R0416")],
)
def test_no_network_to_choose(text: str, network: str | None, code: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_network(SourceFile("spec.res", text), network)
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == [code]


def test_hints_without_their_facts_are_left_out() -> None:
    span = Span(SourceFile("spec.res", "rellu"), 0, 5)
    with_guess = diagnose(Mistake("R0202", span, {"name": "rellu", "guess": "relu"}, hints=("the finder's own",)))
    assert with_guess.hints == ("the finder's own", "did you mean `relu`?")
    assert diagnose(Mistake("R0202", span, {"name": "rellu", "guess": None})).hints == ()
