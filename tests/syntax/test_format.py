"""The canonical layout: golden cases, and what must hold for every text that parses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resdsl.cli.main import main
from resdsl.diagnostics import MistakeFound
from resdsl.source import SourceFile, Span
from resdsl.syntax import tree
from resdsl.syntax.format import format_file, format_source
from resdsl.syntax.page import WIDTH
from resdsl.syntax.parse import Parser
from tests.syntax.random_text import RandomText

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").rglob("*.res"))
CASES = sorted((Path(__file__).parent / "format").glob("*.in.res"))
PARSER = Parser()
MESSY = "block a{conv(3x3,64)->bn;relu}"
MISTYPED = [*'{}()[];#"\n\t ,=-><+/%x.0_aA', "else", "if", "->", " x ", "3x3", "and", "not ", "# c\n"]
TIDY = "block a { conv(3x3, 64) -> bn; relu }\n"


def formatted(text: str) -> str:
    return format_file(PARSER.parse(SourceFile("test.res", text)))


def meaning(part: object) -> object:
    """A syntax tree as nested tuples, without places."""
    if isinstance(part, Span | SourceFile):
        return None
    if isinstance(part, tuple):
        return tuple(map(meaning, part))
    if type(part).__module__ == tree.__name__:
        return (type(part), *(meaning(getattr(part, field)) for field in type(part).__annotations__))
    return (type(part), part)


def meaning_of(text: str) -> object:
    return meaning(PARSER.parse(SourceFile("test.res", text)))


def comments_of(text: str) -> Counter[str]:
    pieces: list[str] = re.findall(r'"[^"\n]*"|#[^\n]*', text)
    return Counter(piece.rstrip() for piece in pieces if piece.startswith("#"))


def assert_formats_well(text: str) -> None:
    after = formatted(text)
    assert formatted(after) == after
    assert meaning_of(after) == meaning_of(text)
    assert comments_of(after) == comments_of(text)
    assert after == "" or after.endswith("\n")
    assert "\n\n\n" not in after
    assert not re.search(r"[ \t\r]$|\n\Z\n|\A\n|^\t", after, re.MULTILINE) or after == ""


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_golden(case: Path, golden: Callable[[str, Path], None]) -> None:
    text = case.read_bytes().decode()
    assert_formats_well(text)
    after = formatted(text)
    golden(after, Path("format") / case.name.replace(".in.res", ".res"))
    assert all(len(line.partition("#")[0].rstrip()) <= WIDTH for line in after.splitlines())


@settings(max_examples=80, deadline=None)
@given(st.integers(min_value=0, max_value=2**63))
def test_any_text_keeps_its_meaning_and_comments(seed: int) -> None:
    assert_formats_well(RandomText(Random(seed)).text())


@settings(max_examples=80, deadline=None)
@given(st.integers(min_value=0, max_value=2**63))
def test_a_mistyped_text_is_refused_or_keeps_its_meaning(seed: int) -> None:
    random = Random(seed)
    text = RandomText(random).text()
    place = random.randint(0, len(text))
    text = text[:place] + random.choice(["", *MISTYPED]) + text[place + random.randint(0, 2) :]
    try:
        PARSER.parse(SourceFile("test.res", text))
    except MistakeFound:
        return
    assert_formats_well(text)


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_specs_are_formatted(spec: Path) -> None:
    text = spec.read_bytes().decode()
    assert formatted(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \n\n;\n", ""),
        ("\n\n# only this\n\n\n# and this", "# only this\n\n# and this\n"),
        (MESSY, TIDY),
        ("block a{\r\n\tbn\r\n}\r\n", "block a {\n  bn\n}\n"),
        ("block a{}block b{}".replace("}b", "}\nb"), "block a {}\nblock b {}\n"),
        ('use "a.res"\nblock b{}', 'use "a.res"\n\nblock b {}\n'),
        ('block b{bn# "x\n}', 'block b {\n  bn                                           # "x\n}\n'),
        ('use "a#b.res"# c', 'use "a#b.res"                                  # c\n'),
        ("block b {\n\n\n  bn\n\n\n}", "block b {\n  bn\n}\n"),
        ("block b { 5 %2 x bn }".replace("5 %2", "(5 %2)"), "block b { (5 % 2) x bn }\n"),
        ("block b{f(-a,- -a,not(a),a[0][n-1])}", "block b { f(-a, --a, not (a), a[0][n - 1]) }\n"),
        ("block b{f(1 if n>1 else 2,80%,[ ],)}", "block b { f(1 if n > 1 else 2, 80%, []) }\n"),
    ],
)
def test_small(text: str, expected: str) -> None:
    assert formatted(text) == expected


def test_a_body_of_one_line_is_broken_where_it_does_not_fit() -> None:
    body = " -> ".join(["relu"] * 10)
    name = "n" * (WIDTH - len(f"block  {{ {body} }}"))
    assert formatted(f"block {name} {{ {body} }}") == f"block {name} {{ {body} }}\n"
    assert formatted(f"block {name}n {{ {body} }}") == f"block {name}n {{\n  {body}\n}}\n"


def test_a_syntax_mistake_is_raised() -> None:
    with pytest.raises(MistakeFound) as caught:
        format_source(SourceFile("test.res", "block {"))
    assert caught.value.mistake.code == "R0101"


def test_many_else_ifs_do_not_nest_calls() -> None:
    text = formatted("block a {" + "if n == 1 { bn } else " * 90 + "{ relu } }")
    assert text.count("  } else if n == 1 {\n    bn\n") == 89
    assert formatted(text) == text


# --- the command ---


def test_the_command_writes_what_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "below").mkdir()
    messy, tidy, windows = tmp_path / "below" / "b.res", tmp_path / "a.res", tmp_path / "c.res"
    messy.write_text(MESSY)
    tidy.write_text(TIDY)
    windows.write_bytes(TIDY.replace("\n", "\r\n").encode())
    os.utime(tidy, (1, 1))
    assert main(["fmt", str(tmp_path), "--check"]) == 1
    captured = capsys.readouterr()
    assert f"-{MESSY}\n" in captured.out
    assert f"+{TIDY}" in captured.out
    assert "c.res: line ends or byte order mark would change" in captured.out
    assert captured.err == "2 of 3 files would change\n"
    assert messy.read_text() == MESSY
    assert main(["fmt", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "ok: 2 of 3 files changed\n"
    assert messy.read_bytes() == tidy.read_bytes() == windows.read_bytes() == TIDY.encode()
    assert tidy.stat().st_mtime == 1
    assert main(["fmt", str(tmp_path), "--check"]) == 0


def test_the_command_goes_on_after_a_faulty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faulty, messy = tmp_path / "a.res", tmp_path / "b.res"
    faulty.write_text("block {")
    messy.write_text(MESSY)
    missing = tmp_path / "none.res"
    assert main(["fmt", str(faulty), str(missing), str(messy)]) == 1
    captured = capsys.readouterr()
    assert "error[R0101]" in captured.err
    assert "error[R0001]" in captured.err
    assert captured.out == ""
    assert faulty.read_text() == "block {"
    assert messy.read_text() == TIDY


def test_the_command_follows_no_link_out_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "a.res").write_text(MESSY)
    (inside / "folder").symlink_to(outside)
    (inside / "file.res").symlink_to(outside / "a.res")
    assert main(["fmt", str(inside)]) == 1
    assert "no spec (*.res)" in capsys.readouterr().err
    assert (outside / "a.res").read_text() == MESSY


def test_the_command_writes_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.res").write_text(MESSY)
    assert main(["fmt", "--stdout", str(tmp_path / "a.res")]) == 0
    assert capsys.readouterr().out == TIDY
    assert (tmp_path / "a.res").read_text() == MESSY


@pytest.mark.parametrize(
    ("options", "given_bytes", "code", "output"),
    [
        ([], MESSY.encode(), 0, TIDY),
        (["--check"], TIDY.encode(), 0, ""),
        (["--check"], MESSY.encode(), 1, None),
        ([], "# \u03b2\n".encode(), 0, "# \u03b2\n"),
        ([], b"block {", 1, ""),
        ([], b"\xff\xfe", 1, ""),
    ],
)
def test_the_command_reads_standard_input(
    options: list[str], given_bytes: bytes, code: int, output: str | None
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "resdsl", "fmt", *options, "-"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        input=given_bytes,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (code, False)
    if output is not None:
        assert done.stdout.decode() == output
