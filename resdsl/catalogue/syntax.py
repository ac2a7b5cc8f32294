"""Words for mistakes in the writing: signs, words and brackets."""

from __future__ import annotations

from resdsl.catalogue.entry import Entry

_GOOD = """\
network tiny {
  input 3 x 32 x 32
  conv(3x3, 16) -> bn -> relu
}
"""

ENTRIES = (
    Entry(
        "R0101",
        "{found} cannot stand here",
        "expected {expected}",
        "The text up to here is understood, and nothing of the language goes on in this way. Only the first "
        "such place "
        "of a file is reported: what follows it could be meant in more than one way.",
        "network tiny {\n  input 3 x 32 x 32\n  conv(3x3, 16 -> bn -> relu\n}\n",
        _GOOD,
    ),
    Entry(
        "R0102",
        "`{text}` is no word or sign of the language",
        "",
        "Specs are made of names (letters, digits and `_`, not beginning with a digit), numbers (`64`, `0.5`, `1e-4`, "
        '`64k`, `80%`), sizes (`3x3`), texts (`"..."`), and the signs of the language. A comment begins with `#`.',
        "network tiny {\n  input 3 x 32 x 32\n  conv(3x3, 16) -> bn -> relu!\n}\n",
        _GOOD,
    ),
    Entry(
        "R0103",
        "the file ends too early",
        "expected {expected}",
        "A brace or bracket is open at the end of the file, or the last line stops in the middle.",
        "network tiny {\n  input 3 x 32 x 32\n  conv(3x3, 16) -> bn -> relu\n",
        _GOOD,
        related={"opened": "this is never closed"},
    ),
    Entry(
        "R0104",
        "the number `{text}` is too large",
        "at most 2^62, and no more than 40 characters",
        "Numbers of the language go up to 2^62, about 4.6e18.",
        "network tiny(n = 99999999999999999999) {\n  input 3 x 32 x 32\n  conv(3x3, 16) -> bn -> relu\n}\n",
        "network tiny(n = 9) {\n  input 3 x 32 x 32\n  conv(3x3, 16) -> bn -> relu\n}\n",
    ),
    Entry(
        "R0105",
        "the `{sign}` of line {line} is never closed",
        "another definition begins here",
        "Networks, blocks, shortcuts, recipes, `train` and `use` stand side by side, none in another one, so a brace "
        "or bracket that is open in front of them was forgotten.",
        _GOOD.removesuffix("}\n") + "\nblock unit { relu }\n",
        _GOOD + "\nblock unit { relu }\n",
        related={"opened": "this is never closed"},
    ),
)
