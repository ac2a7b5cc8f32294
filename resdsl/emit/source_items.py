"""What a class computes: the steps of a network or block that its output needs, and its tree of submodules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Union

from resdsl.emit.torch_names import module_path
from resdsl.ops import Shape, TorchCall
from resdsl.semantics.model import REGION_INPUT, Node, Template


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A step: a call of torch, or of a block.

    Attributes:
        path: the module's path in its class.
        scope: the name that its way has in the spec, such as `shortcut` or `branch1`; "" for the trunk.
        inputs: indices of earlier items; -1 is the class's own input.
        stated: first values that the spec states for a weight: ("bias", -2.0).
    """

    path: str
    scope: str
    call: TorchCall | None
    template: Template | None
    inputs: tuple[int, ...]
    family: str
    is_overwriting: bool
    stated: tuple[tuple[str, float], ...]
    shape: Shape
    is_auxiliary: bool

    @property
    def is_module(self) -> bool:
        """Whether it is a submodule of its class."""
        return self.call is None or self.call.kind == "module"


@dataclass(slots=True, eq=False)
class Container:
    """A submodule that only holds others: a stage, a shortcut, a branch; the class itself has the path ""."""

    path: str
    children: dict[str, Union[Container, int]] = field(default_factory=dict)
    leaves: list[int] = field(default_factory=list)
    is_chain: bool = False

    @property
    def is_numbered(self) -> bool:
        """Whether the children are called 0, 1, 2."""
        return all(name == str(position) for position, name in enumerate(self.children))


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The items of a class in order, its outputs (the auxiliary ones behind the first) and its submodules.

    `positions` are the indices of the items by those of the nodes they come from, `uses` how often each is read.
    """

    items: tuple[Item, ...]
    outputs: tuple[int, ...]
    positions: dict[int, int]
    uses: Counter[int]
    root: Container


def steps_of(
    nodes: Sequence[Node],
    input_shape: Shape,
    output: int,
    auxiliaries: Sequence[int],
    prefix: str,
    overwriting: frozenset[str],
    parts: frozenset[str] = frozenset(),
) -> Steps:
    """The steps of a region whose nodes stand under `prefix` in the graph; `parts` are names that are no scope."""
    end = resolved(nodes, output)
    heads = [resolved(nodes, index) for index in auxiliaries]
    needed = needed_nodes(nodes, [end])
    wanted = sorted(needed | needed_nodes(nodes, heads))
    position = {REGION_INPUT: REGION_INPUT, **{index: number for number, index in enumerate(wanted)}}
    items = []
    for index in wanted:
        node = nodes[index]
        inputs = tuple(position[resolved(nodes, source)] for source in node.inputs)
        shapes = tuple(input_shape if source == REGION_INPUT else nodes[source].shape for source in node.inputs)
        items.append(_item(node, inputs, shapes, prefix, overwriting, parts, index not in needed))
    outputs = tuple(position[index] for index in (end, *heads))
    uses = Counter(source for item in items for source in item.inputs)
    uses.update(outputs)
    root = _tree(items)
    _mark_chains(root, items, uses)
    return Steps(tuple(items), outputs, position, uses, root)


def resolved(nodes: Sequence[Node], index: int) -> int:
    """The node that gives a node's value: a block without steps hands its input on."""
    while index != REGION_INPUT:
        content = nodes[index].content
        if not isinstance(content, Template) or resolved(content.nodes, content.output) != REGION_INPUT:
            break
        index = nodes[index].inputs[0]
    return index


def needed_nodes(nodes: Sequence[Node], ends: Sequence[int]) -> set[int]:
    """Indices of the nodes that the ends of a region depend on."""
    needed: set[int] = set()
    waiting = [resolved(nodes, end) for end in ends]
    while waiting:
        index = waiting.pop()
        if index != REGION_INPUT and index not in needed:
            needed.add(index)
            waiting.extend(resolved(nodes, source) for source in nodes[index].inputs)
    return needed


def _item(
    node: Node, inputs: tuple[int, ...], shapes: tuple[Shape, ...], prefix: str, overwriting: frozenset[str],
    parts: frozenset[str], is_auxiliary: bool,
) -> Item:  # fmt: skip
    content = node.content
    path, scope = module_path(node.name), _scope(node.name, parts)
    if isinstance(content, Template):
        return Item(path, scope, None, content, inputs, "block", False, (), node.shape, is_auxiliary)
    call = content.spec.torch(content.args, shapes)
    stated = []
    bias, gain = content.args.get("bias"), content.args.get("gain", 1.0)
    if content.spec.has_weights_layer and isinstance(bias, float) and bias != 0.0:
        stated.append(("bias", float(bias)))
    if content.spec.family == "norm" and content.args.get("affine") and gain != 1.0:
        stated.append(("weight", float(gain)))
    return Item(
        path, scope, call, None, inputs, content.spec.family, prefix + node.name in overwriting, tuple(stated),
        node.shape, is_auxiliary,
    )  # fmt: skip


def _scope(name: str, parts: frozenset[str]) -> str:
    words = name.split(".")[:-1]
    if words and words[0] in parts:
        del words[0]
    named = [word for word in words if not word.isdigit()]
    return named[-1] if named else ""


def _tree(items: Sequence[Item]) -> Container:
    containers = {"": Container("")}
    for index, item in enumerate(items):
        if not item.is_module:
            continue
        scope, _, name = item.path.rpartition(".")
        _container(containers, scope).children[name] = index
        while True:
            containers[scope].leaves.append(index)
            if not scope:
                break
            scope = scope.rpartition(".")[0]
    return containers[""]


def _container(containers: dict[str, Container], path: str) -> Container:
    found = containers.get(path)
    if found is None:
        scope, _, name = path.rpartition(".")
        found = containers[path] = Container(path)
        _container(containers, scope).children[name] = found
    return found


def _mark_chains(container: Container, items: Sequence[Item], uses: Counter[int]) -> None:
    """A container whose modules run one after the other, and nothing else between, can be called as a whole."""
    leaves = container.leaves
    container.is_chain = bool(container.path) and all(
        after == before + 1 and items[after].inputs == (before,) and uses[before] == 1
        for before, after in pairwise(leaves)
    )
    for child in container.children.values():
        if isinstance(child, Container):
            _mark_chains(child, items, uses)
