"""Names, paths and labels that try to be DOT, Graphviz escapes, entities or SVG."""

from __future__ import annotations

import subprocess
from xml.etree import ElementTree as ET

import pytest

from resdsl.emit.dot import emit_dot
from resdsl.emit.picture.text import bold_words, name, words
from resdsl.ir.lower import FlatGraph, OpNode
from resdsl.semantics.model import Template
from resdsl.source import SourceFile, Span
from tests.pictures.conftest import load, read_dot

HOSTILE = (
    'a"b',
    'quote" ]; evil [label="x',
    "back\\",
    'both\\"',
    "\\N \\G \\E \\T \\H \\L \\l \\r \\n",
    "<b>bold</b>",
    "<<TABLE><TR><TD>x</TD></TR></TABLE>>",
    "<script>alert(1)</script>",
    "]]><!-- -->",
    "&lt;script&gt; &#60; &amp;",
    "line\nbreak\r\ttab\x00nul\x1b[31m",
    "a:b:c -> d; } digraph {",
    "bidi \u202e abc \u2066",
    "surrogate \ud800",
    "ünï-ço∂é 漢字 🙂",
    "javascript:alert(1)",
    "%s %d {0} ${x}",
    "x" * 5000,
)


def poisoned(text: str) -> FlatGraph:
    """A network in which everything a user can name, and the file's own name, is the text."""
    graph = load("net")
    source = SourceFile(text, graph.network.source.text)

    def moved(span: Span) -> Span:
        return Span(source, span.start, span.end)

    def renamed(key: str) -> str:
        return key if key == "input" else f"{text}.{key}"

    def poison(node: OpNode) -> OpNode:
        changed: OpNode = node.replaced(
            name=renamed(node.name),
            inputs=tuple(renamed(key) for key in node.inputs),
            place=moved(node.place),
            part=text,
            option=text if node.option else "",
            shortcut_from=renamed(node.shortcut_from) if node.shortcut_from else "",
        )
        return changed

    block = next(i for i, node in enumerate(graph.network.nodes) if isinstance(node.content, Template))
    network = graph.network.replaced(
        name=text, source=source, span=moved(graph.network.span), places={**graph.network.places, text: block}
    )
    result: FlatGraph = graph.replaced(
        network=network, nodes=tuple(map(poison, graph.nodes)), output=renamed(graph.output)
    )
    return result


@pytest.mark.parametrize("text", HOSTILE)
def test_the_structure_stays_what_it_is(text: str, level: str) -> None:
    clean = read_dot(emit_dot([load("net")], level))
    dirty = read_dot(emit_dot([poisoned(text)], level))
    if level != "stage":
        assert len(dirty.edges) == len(clean.edges)
    allowed = {"pos", "width", "height", "label", "tooltip", "shape", "style", "fillcolor", "color", "penwidth",
               "fontsize", "fontcolor", "arrowsize"}  # fmt: skip
    assert all(node.keys() <= allowed for node in dirty.nodes.values())
    assert all(attributes.keys() <= allowed for _, _, attributes in dirty.edges)


@pytest.mark.parametrize("text", HOSTILE)
def test_graphviz_shows_hostile_names_as_they_are(text: str, dot: str) -> None:
    done = subprocess.run(
        [dot, "-Tsvg"], input=emit_dot([poisoned(text)], "layer").encode(), capture_output=True, check=True
    )
    remarks = [line for line in done.stderr.splitlines() if b"size too small for label" not in line]
    assert not remarks
    root = ET.fromstring(done.stdout)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "g", "title", "polygon", "ellipse", "path", "polyline", "text", "a"}
    links = {value for element in root.iter() for key, value in element.attrib.items() if key.endswith("href")}
    assert not links
    if text.isprintable() and len(text) < 60:
        tips = [value for element in root.iter() for key, value in element.attrib.items() if key.endswith("}title")]
        assert any(text in tip for tip in tips)
        shown = ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")]
        assert text.replace(" ", "") in [line.replace("\xa0", "").replace(" ", "") for line in shown]


def test_words_are_quoted() -> None:
    assert words('a"\\N&\n\x07') == '"a\\"\\\\N&amp;\\n "'
    assert bold_words('<i>&"\n') == "<<B>&lt;i&gt;&amp;&quot; </B>>"


def test_names_are_encoded_one_to_one() -> None:
    encoded = [name(text) for text in HOSTILE]
    assert len(set(encoded)) == len(HOSTILE)
    assert all(not set(text[1:-1]) & set('"\\<>\n') for text in encoded)
