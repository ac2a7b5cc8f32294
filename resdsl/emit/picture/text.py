"""DOT as text: names and words quoted so that nothing in them is read as DOT, as an escape or as an entity."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import quote

Value = str | float | int

_CONTROL = dict.fromkeys((*range(10), *range(11, 32), *range(127, 160), 0x2028, 0x2029), " ")
# Lone surrogates cannot be written as UTF-8, and bidirectional controls would reorder the words around them.
_CONTROL |= dict.fromkeys((*range(0xD800, 0xE000), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "?")


def words(text: str) -> str:
    r"""A quoted label or tooltip that shows `text` as it is.

    Graphviz replaces `\N`, `\G`, `\E`, `\L` and the like, and entities such as `&lt;`; backslashes and ampersands are
    doubled or written out, so that neither happens.
    """
    clean = text.translate(_CONTROL).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + clean.replace("\n", "\\n") + '"'


def bold_words(text: str) -> str:
    """A bold label. Only Graphviz' HTML-like labels are bold in whichever font of a list a machine has."""
    return f"<<B>{escape(text.translate(_CONTROL))}</B>>"


def name(text: str) -> str:
    """A quoted node or graph name; everything but letters, figures and `_ . : / -` is percent-encoded, one to one."""
    return '"' + quote(text, safe="_.:/- ", errors="backslashreplace") + '"'


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
