"""Networks to draw, and DOT text read back: our own writer puts one statement on a line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

import resdsl
from resdsl.emit.dot import emit_dot
from resdsl.ir.lower import FlatGraph

SPEC = Path(__file__).parent / "nets.res"
NAMES = (
    "net", "plain", "zeros", "all_projections", "deep", "own_option", "bottlenecks", "gated", "preact", "branches",
    "dense_net", "long_ways", "odd_ways", "vectors", "transitions", "supervised", "stochastic", "carries",
)  # fmt: skip
LEVELS = ("stage", "block", "layer")

_STRING = r'"(?:[^"\\]|\\.)*"'
_STATEMENT = re.compile(rf"  ({_STRING})(?: -> ({_STRING}))? \[(.*)\]$")
_ATTRIBUTE = re.compile(rf"(\w+)=({_STRING}|<<B>.*?</B>>|[^,\]]+)(?:, |$)")
_FRAME = re.compile(rf"  subgraph ({_STRING}) {{ (.*) }}$")

Attributes = dict[str, str]


@dataclass
class Picture:
    """Nodes, edges and frames of a DOT text, attribute strings without their quotes."""

    nodes: dict[str, Attributes] = field(default_factory=dict)
    edges: list[tuple[str, str, Attributes]] = field(default_factory=list)
    frames: dict[str, Attributes] = field(default_factory=dict)

    def labels(self) -> list[str]:
        """The words of all nodes in order."""
        return [node["label"] for node in self.nodes.values() if node.get("label")]

    def edge(self, tail: str, head: str) -> Attributes:
        """The attributes of the only edge from tail to head."""
        (found,) = [attributes for source, target, attributes in self.edges if (source, target) == (tail, head)]
        return found

    def y(self, key: str) -> float:
        """Height of a node above the picture's lower edge, in points."""
        return float(self.nodes[key]["pos"].split(",")[1])

    def x(self, key: str) -> float:
        """Distance of a node from the picture's left edge, in points."""
        return float(self.nodes[key]["pos"].split(",")[0])


def read_dot(text: str) -> Picture:
    """Read a picture's text back; a line that is no statement of ours fails."""
    picture = Picture()
    first, *lines, last = text.splitlines()
    assert first.startswith('digraph "')
    assert first.endswith("{")
    assert last == "}"
    for line in lines:
        if line.startswith(("  graph [", "  node [", "  edge [")):
            continue
        frame = _FRAME.match(line)
        if frame:
            picture.frames[frame[1].strip('"')] = dict(item.split("=", 1) for item in frame[2].split("; "))
            continue
        found = _STATEMENT.match(line)
        assert found, line
        attributes = {key: value.strip('"') for key, value in _ATTRIBUTE.findall(found[3])}
        if found[2]:
            picture.edges.append((found[1].strip('"'), found[2].strip('"'), attributes))
        else:
            assert found[1] not in picture.nodes
            picture.nodes[found[1].strip('"')] = attributes
    return picture


@cache
def load(name: str) -> FlatGraph:
    return resdsl.load(SPEC, name).flat


@pytest.fixture
def graph() -> Callable[[str], FlatGraph]:
    """`graph("net")`: the op graph of a network of nets.res."""
    return load


@pytest.fixture
def draw() -> Callable[..., Picture]:
    """`draw("plain", "net", level="block")`: their picture, read back."""

    def draw_networks(*names: str, level: str = "block", most_equal: int = 12) -> Picture:
        return read_dot(emit_dot([load(name) for name in names], level, most_equal=most_equal))

    return draw_networks


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each network of nets.res."""
    return str(request.param)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    """Each level."""
    return str(request.param)
