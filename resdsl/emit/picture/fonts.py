"""Widths of text, so that boxes fit their words everywhere: Helvetica's, which Arial and Liberation Sans share."""

from __future__ import annotations

FONT = "Helvetica,Arial,sans-serif"

# Thousandths of the font size; every other character counts as wide as a figure, those beyond Latin as wide as an em.
_BY_WIDTH = {
    191: "'", 222: "ijl", 260: "|", 278: " !,./:;I[]\\ft", 333: "()-`r", 334: "{}", 355: '"', 389: "*", 469: "^",
    500: "Jckvsxyz", 584: "+<>=~×−", 611: "FTZ", 667: "&ABEKPSVXY", 722: "CDHNRUw", 778: "GOQ", 833: "Mm", 889: "%",
    944: "W", 1000: "→…", 1015: "@",
}  # fmt: skip
_WIDTH = {character: width for width, characters in _BY_WIDTH.items() for character in characters}


def text_width(text: str, size: float, *, is_bold: bool = False) -> float:
    """Width of one line in points at a font size in points."""
    total = sum(_WIDTH.get(character, 556 if character < "\u0300" else 1000) for character in text)
    return total * size / 1000 * (1.08 if is_bold else 1)
