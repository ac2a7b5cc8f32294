"""DOT as text: names and words quoted so that nothing in them is read as DOT, as an escape or as an entity."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from string import ascii_letters, digits

Value = str | float | int

_PLAIN = frozenset(ascii_letters + digits + "_.:/- ")
_CONTROL = dict.fromkeys((*range(10), *range(11, 32), *range(127, 160), 0x2028, 0x2029), " ")
# Lone surrogates cannot be written as UTF-8, and bidirectional controls would reorder the words around them.
_CONTROL |= dict.fromkeys((*range(0xD800, 0xE000), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "?")


def words(text: str, *, backslash: str = "\\\\") -> str:
    r"""A quoted label that shows `text` as it is.

    Graphviz replaces `\N`, `\G`, `\E`, `\L` and the like, and entities such as `&lt;`; backslashes and ampersands are
    doubled or written out, so that neither happens.
    """
    clean = text.translate(_CONTROL).replace("&", "&amp;").replace("\\", backslash).replace('"', '\\"')
    return '"' + clean.replace("\n", "\\n") + '"'


def hover(text: str) -> str:
    """A quoted tooltip. Graphviz replaces its escapes twice, so that a backslash needs four."""
    return words(text, backslash="\\" * 4)


def bold_words(text: str) -> str:
    r"""A bold label. Only Graphviz' HTML-like labels are bold in whichever font of a list a machine has.

    There, too, Graphviz replaces `\N` and the like.
    """
    clean = escape(text.translate(_CONTROL).replace("\n", " ")).replace("\\", "\\\\")
    return f"<<B>{clean}</B>>"


def name(text: str) -> str:
    """A quoted node or graph name; what is not in _PLAIN is written as `~code~`, one to one.

    A percent sign would not do: Graphviz keeps names that begin with one for itself.
    """
    return '"' + "".join(letter if letter in _PLAIN else f"~{ord(letter):x}~" for letter in text) + '"'


def attributes(values: Mapping[str, Value | None]) -> str:
    """`[a=1, b="x"]`; strings that are words, names or colours come quoted already. None is left out."""
    given = [f"{key}={number(value)}" for key, value in values.items() if value is not None]
    return f"[{', '.join(given)}]" if given else ""


def number(value: Value) -> str:
    """A number without needless digits, so that the same picture is the same text; strings as they are."""
    if isinstance(value, str):
        return value
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
