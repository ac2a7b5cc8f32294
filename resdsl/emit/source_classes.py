"""The classes of an emitted file: one for all uses of a block that are built alike."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from resdsl.emit.source_calls import Leaf, arguments, number_text
from resdsl.emit.source_items import Item, Steps, needed_nodes, steps_of
from resdsl.emit.source_parameters import Hole, Parameter, find_parameters
from resdsl.emit.torch_names import class_name
from resdsl.ir.lower import FlatGraph
from resdsl.ops.core import channels_of
from resdsl.semantics.model import Node, Template
from resdsl.source import Span


@dataclass(slots=True, eq=False)
class SourceClass:
    """A class to be written.

    Attributes:
        texts: for each item the texts of the numbers in its call.
        origin: where the spec defines it.
    """

    name: str
    steps: Steps
    texts: list[list[str]]
    parameters: list[Parameter] = field(default_factory=list)
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """A class with the values of its parameters, as one block of a network uses it."""

    source: SourceClass
    values: tuple[float, ...]


class Classes:
    """The classes of a network's blocks, inner ones first, and the use of one that each block is."""

    def __init__(self, graph: FlatGraph, overwriting: frozenset[str]) -> None:
        self.found: list[SourceClass] = []
        self._uses: dict[int, Use] = {}
        self._names: set[str] = {class_name(graph.network.name, "Net")}
        firsts: dict[int, tuple[Template, str]] = {}
        ends = [graph.network.output, *(head.output for head in graph.network.auxiliaries)]
        _collect(graph.network.nodes, ends, "", firsts)
        by_level: dict[int, list[tuple[Template, str]]] = {}
        for template, path in firsts.values():
            by_level.setdefault(template.level, []).append((template, path))
        for level in sorted(by_level):
            self._add_level(by_level[level], overwriting)

    def use_of(self, template: Template) -> Use:
        """The class of a block, with its values."""
        return self._uses[id(template)]

    def numbers(self, item: Item) -> list[tuple[str, float]]:
        """The numbers of an item's call, each with what it is."""
        found: list[tuple[str, float]] = []

        def leaf(kind: str, value: float) -> str:
            found.append((kind, value))
            return number_text(value)

        self.form(item, leaf)
        return found

    def form(self, item: Item, leaf: Leaf) -> str:
        """An item's call as text; `leaf` writes the numbers."""
        if item.template is not None:
            return f"{self.use_of(item.template).source.name}({', '.join(self.arguments(item, leaf))})"
        assert item.call is not None
        return f"{item.call.kind} {item.call.target}({', '.join(self.arguments(item, leaf))})"

    def arguments(self, item: Item, leaf: Leaf) -> list[str]:
        """The arguments of an item's call: of a block's class those that differ from their defaults."""
        if item.template is None:
            assert item.call is not None
            inplace = ["inplace=True"] if item.call.has_inplace and item.is_overwriting else []
            return arguments(item.call, leaf) + inplace
        use = self.use_of(item.template)
        texts = []
        for parameter, value in zip(use.source.parameters, use.values, strict=True):
            text = leaf(parameter.kind, value)
            if parameter.default is None or text != str(parameter.default):
                texts.append(text if parameter.kind == "channels" else f"{parameter.name}={text}")
        return texts

    def _add_level(self, templates: list[tuple[Template, str]], overwriting: frozenset[str]) -> None:
        clusters: dict[tuple[str, object], list[tuple[Template, Steps]]] = {}
        for template, path in templates:
            steps = steps_of(template.nodes, template.input_shape, template.output, (), f"{path}.", overwriting)
            clusters.setdefault((template.block, self._form(steps)), []).append((template, steps))
        counts: dict[str, int] = {}
        for block, _ in clusters:
            counts[block] = counts.get(block, 0) + 1
        for (block, _), members in clusters.items():
            variant = _variant(members[0][1]) if counts[block] > 1 else ""
            self._add_class(block, variant, members)

    def _form(self, steps: Steps) -> object:
        """All of a class but its numbers."""
        return steps.outputs, tuple(
            (item.path, item.scope, self.form(item, lambda kind, value: "#"), item.inputs, item.is_overwriting,
             item.stated)
            for item in steps.items
        )  # fmt: skip

    def _add_class(self, block: str, variant: str, members: list[tuple[Template, Steps]]) -> None:
        numbers = [[self.numbers(item) for item in steps.items] for _, steps in members]
        steps = members[0][1]
        holes = []
        for index, item in enumerate(steps.items):
            for place, (kind, _) in enumerate(numbers[0][index]):
                holes.append(Hole(kind, item.path, tuple(member[index][place][1] for member in numbers)))
        inputs = tuple(channels_of(template.input_shape) for template, _ in members)
        outputs = tuple(channels_of(template.shape) for template, _ in members)
        flat, parameters = find_parameters(holes, inputs, outputs)
        texts = iter(flat)
        by_item = [[next(texts) for _ in found] for found in numbers[0]]
        name = self._unique(class_name(f"{block}_{variant}" if variant else block, "Block"))
        span = members[0][0].span
        source = SourceClass(name, steps, by_item, parameters, _origin(block, span))
        self.found.append(source)
        for number, (template, _) in enumerate(members):
            values = tuple(parameter.values[number] for parameter in parameters)
            self._uses[id(template)] = Use(source, values)

    def _unique(self, name: str) -> str:
        found, number = name, 2
        while found in self._names:
            found, number = f"{name}{number}", number + 1
        self._names.add(found)
        return found

    def network(self, graph: FlatGraph, overwriting: frozenset[str]) -> SourceClass:
        """The network's own class: all its numbers are written out."""
        network = graph.network
        heads = [head.output for head in network.auxiliaries]
        parts = frozenset(part.name for part in network.parts)
        steps = steps_of(network.nodes, network.input_shape, network.output, heads, "", overwriting, parts)
        texts = [[number_text(value) for _, value in self.numbers(item)] for item in steps.items]
        return SourceClass(class_name(network.name, "Net"), steps, texts)


def _collect(nodes: Sequence[Node], ends: list[int], prefix: str, firsts: dict[int, tuple[Template, str]]) -> None:
    """All blocks that the ends of a region need, each with the path of its first use."""
    for index in sorted(needed_nodes(nodes, ends)):
        content = nodes[index].content
        if isinstance(content, Template) and id(content) not in firsts:
            path = prefix + nodes[index].name
            firsts[id(content)] = (content, path)
            _collect(content.nodes, [content.output], f"{path}.", firsts)


def _origin(block: str, span: Span) -> str:
    file = span.source.name if span.source.is_ours else os.path.basename(span.source.name)
    return f"Block {block} ({file}, line {span.line})."


def _variant(steps: Steps) -> str:
    """What tells the classes of one block apart: what is on the shortcut."""
    targets = {_target(item) for item in steps.items if item.scope.startswith("shortcut")}
    if any(target.startswith("nn.Conv") for target in targets):
        return "projection"
    if "F.pad" in targets:
        return "zero_pad"
    return "shortcut" if targets else ""


def _target(item: Item) -> str:
    return item.call.target if item.call is not None else "block"


def leaves(texts: Sequence[str]) -> Leaf:
    """A leaf that writes the given texts, one after the other."""
    remaining: Iterator[str] = iter(texts)
    return lambda kind, value: next(remaining)
