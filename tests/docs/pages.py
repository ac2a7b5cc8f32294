"""The code blocks of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```(?P<kind>\S*) *(?P<marks>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its place, its kind (`res`, `sh`, ...), the words behind it, its text."""

    place: str
    kind: str
    marks: tuple[str, ...]
    text: str

    @property
    def error(self) -> str | None:
        """The code that a wrong example must give: ```` ```res error=R0301 ````."""
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


BLOCKS = [block for page in PAGES if page.exists() for block in blocks_of(page)]
