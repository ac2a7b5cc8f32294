"""What the pages say is true: examples compile, commands run, shown output is what the program prints."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from resdsl.catalogue import all_codes
from resdsl.cli.main import COMMANDS, main
from resdsl.compiler import check_source, load
from resdsl.render import render_all
from resdsl.source import SourceFile
from resdsl.syntax.format import format_source

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
_BLOCK = re.compile(r"^```(?P<kind>\S+) *(?P<marks>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its place, its kind (`res`, `sh`, ...), the words behind it, its text."""

    place: str
    kind: str
    marks: tuple[str, ...]
    text: str

    @property
    def error(self) -> str | None:
        """The code that a wrong example gives: its first line is ```` ```res error=R0301 ````."""
        return next((mark.removeprefix("error=") for mark in self.marks if mark.startswith("error=")), None)

    @property
    def spec(self) -> str:
        """The example as a whole file: a fragment stands in a network."""
        if "fragment" not in self.marks:
            return self.text
        lines = "".join(f"  {line}\n" if line else "\n" for line in self.text.splitlines())
        return f"network example {{\n  input 3 x 32 x 32\n{lines}}}\n"


def blocks_of(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(f"{page.name}:{line}", match["kind"], tuple(match["marks"].split()), match["text"])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks(kind: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind == kind]


def only_block(kind: str, page: str) -> Block:
    """The one block of a kind on a page."""
    (found,) = (block for block in blocks(kind) if block.place.startswith(f"{page}:"))
    return found


def commands() -> list[str]:
    """The command lines of resdsl on all pages, without their comments, each once."""
    lines = (line.partition("#")[0].strip() for block in blocks("sh") for line in block.text.splitlines())
    return list(dict.fromkeys(line for line in lines if line.startswith("resdsl ")))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that has the specs, and in which commands may write."""
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the language --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("res"), ids=lambda block: block.place)
def test_an_example_compiles_or_gives_its_code(block: Block) -> None:
    diagnostics = check_source(SourceFile(block.place, block.spec)).diagnostics
    assert {item.code for item in diagnostics} == ({block.error} if block.error else set()), render_all(diagnostics)


@pytest.mark.parametrize("block", blocks("res"), ids=lambda block: block.place)
def test_an_example_is_in_the_canonical_layout(block: Block) -> None:
    assert format_source(SourceFile(block.place, block.spec)) == block.spec


def test_the_reference_names_the_whole_library() -> None:
    text = (DOCS / "language.md").read_text(encoding="utf-8")
    specs = [path.read_text(encoding="utf-8") for path in (ROOT / "specs" / "library").glob("*.res")]
    names = [name for spec in specs for name in re.findall(r"^(?:block|shortcut) (\w+)", spec, re.MULTILINE)]
    assert names
    assert not [name for name in names if not re.search(rf"`{name}\b", text)]


# --- generated parts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*sorted(DOCS.glob("*.md")), ROOT / "specs" / "README.md"], ids=lambda page: page.name)
def test_generated_parts_are_current(page: Path, generate: ModuleType) -> None:
    assert not generate.refresh(page, write=False), "run `python docs/generate.py`"


def test_the_reference_says_what_explain_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / "language.md").read_text(encoding="utf-8")
    assert main(["--color", "never", "explain", "R0301"]) == 0
    assert f"### {capsys.readouterr().out}" in text
    assert re.findall(r"^### (R\d{4}):", text, re.MULTILINE) == list(all_codes())


def test_every_package_and_every_command_is_documented() -> None:
    folders = {path.parent.relative_to(ROOT / "resdsl").as_posix() for path in (ROOT / "resdsl").rglob("*.py")}
    wanted = {folder.removeprefix(".") for folder in folders - {"grammars", "specs"}} | {"cli"}
    internals = (DOCS / "internals.md").read_text(encoding="utf-8")
    listed = re.findall(r"^<!-- generated: modules ?(\S*) -->$", internals, re.MULTILINE)
    assert wanted - {"specs/families", "specs/library"} == set(listed)
    commands = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", commands, re.MULTILINE) == list(COMMANDS)
    assert re.findall(r"^\| \[`(\w+)`\]", commands, re.MULTILINE) == list(COMMANDS)


# --- commands ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", commands())
def test_a_command_line_is_right(line: str, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command runs; the lines of those that need data or weights must be understood."""
    _, command, *rest = shlex.split(line)
    parser = argparse.ArgumentParser(prog=command)
    import_module(f"resdsl.cli.{command}").configure(parser)
    parser.parse_args(rest)
    if command not in ("train", "eval", "bench", "plot", "pack", "weights", "deepen"):
        assert main([command, *rest]) == 0, capsys.readouterr().err


def test_the_readme_shows_what_check_prints(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, _, shown = only_block("console", "README.md").text.partition("\n")
    spec = only_block("res", "README.md").text
    broken = re.sub(r"shortcut  -> option.*", "shortcut  -> identity", spec)
    (checkout / "broken.res").write_text(broken, encoding="utf-8")
    assert main(shlex.split(command.removeprefix("$ resdsl "))) == 1
    assert capsys.readouterr().err == shown


def test_the_readme_shows_the_spec() -> None:
    spec = (ROOT / "specs" / "resnet34.res").read_text(encoding="utf-8")
    assert spec.partition("\n")[2] == only_block("res", "README.md").text


def test_json_diagnostics_are_as_shown(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "tiny.res").write_text("network tiny {\n  input 3 x 32 x 32\n  conv(3x3, 16) -> rellu\n}\n")
    assert main(["check", "--format", "json", "tiny.res"]) == 1
    assert json.loads(capsys.readouterr().out) == json.loads(only_block("json", "cli.md").text)


def test_all_keys_of_a_summary_are_documented() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    summary = load(ROOT / "specs" / "resnet20_digits.res").summary(layers=True)
    keys = [*summary, *summary["stages"][0], *summary["layers"][0]]
    assert not [key for key in keys if f"`{key}`" not in text]


# --- Python and links ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.place)
def test_python_examples_run(block: Block, checkout: Path) -> None:
    exec(compile(block.text, block.place, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def anchors(page: Path) -> set[str]:
    """The names under which the headings of a page are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
