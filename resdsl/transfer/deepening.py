"""Deeper networks of trained ones: blocks are added that begin as the identity (He et al. 2015, section 1)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from resdsl.emit.torch_module import FORM, NODE, NetModule, graph_of
from resdsl.emit.torch_names import module_path
from resdsl.ir.geometry import minimum_input
from resdsl.ir.lower import INPUT, FlatGraph, OpNode
from resdsl.net import Net
from resdsl.ops import shape_text
from resdsl.transfer.freezing import unfreeze

# What zeros pass through as zeros, and on their way back the gradients that change them.
_ZERO_KEEPING = frozenset(
    "identity dropout channel_dropout stochastic_depth scale multiply "
    "tanh elu selu silu gelu mish leaky_relu prelu".split()
)
_NEVER_NEGATIVE = frozenset({"relu", "relu6", "sigmoid", "softmax", "softplus", "hard_sigmoid"})
_SIGN_KEEPING = frozenset({"pool", "dropout", "identity"})
_TOLERANCE = 1e-5
_FREE_SIZE = 32


class DeepenError(ValueError):
    """A network cannot be made into a deeper one with the same outputs; the message names the block."""


@dataclass(frozen=True, slots=True)
class Addition:
    """An added block: its path, the nodes from which it starts and with which it ends, the layers made zero."""

    block: str
    start: str
    end: str
    zeros: tuple[str, ...]


def deepen(shallow: nn.Module, deep: Net) -> NetModule:
    """The deeper network with the weights of a trained one, giving the same outputs.

    Layers of one path keep their weights. Each block that only the deeper network has is drawn afresh (He et al.
    2015b) and begins as the identity: the last normalisation of its branch has scale and shift zero, or the last
    convolution is zero where no normalisation follows it (He et al. 2016). That the outputs are equal is checked on
    random images of two sizes, in evaluation mode, and in training mode too unless chance takes part in it.

    Args:
        shallow: a module of `net.to_torch`, trained; it stays as it is.
        deep: a network with the same parts and blocks, and more of them.

    Raises:
        DeepenError: the networks do not fit, an added block cannot be the identity, or the outputs differ.
    """
    graph = graph_of(shallow)
    if not isinstance(shallow, NetModule) or graph is None:
        raise DeepenError("only a module that `to_torch` gave can be deepened, and none that was pickled")
    form = shallow.meta[FORM]
    if form["start"] is not None:
        raise DeepenError(f"this module begins at {form['start']!r}: deepen the whole network, then take its parts")
    module = deep.to_torch(**form).to(next(shallow.parameters(), torch.empty(0)))
    additions = find_additions(_nodes_of(shallow, graph), _nodes_of(module, deep.flat), deep.flat)
    take_over(shallow, module)
    with torch.no_grad():
        for addition in additions:
            for name in addition.zeros:
                for parameter in module.get_submodule(module_path(name)).parameters():
                    parameter.zero_()
    verify_equal(shallow, module, deep.flat)
    verify_learning(module, additions, deep.flat)
    return module.train(shallow.training)


def _nodes_of(module: fx.GraphModule, graph: FlatGraph) -> dict[str, OpNode]:
    """The nodes of a graph that a module has, by name."""
    present = {node.meta.get(NODE) for node in module.graph.nodes}
    return {node.name: node for node in graph.nodes if node.name in present}


# --- what is added -------------------------------------------------------------------------------------------------


def find_additions(shallow: Mapping[str, OpNode], deep: Mapping[str, OpNode], graph: FlatGraph) -> list[Addition]:
    """The blocks that only the deeper network has, whose graph is given.

    Raises:
        DeepenError: it lacks something of the other, adds nothing, or adds what cannot begin as the identity.
    """
    missing = next((name for name in shallow if name not in deep), None)
    if missing is not None:
        raise DeepenError(f"{graph.network.name} has no {missing!r}, which the trained network has")
    scopes = {part.name for part in graph.network.parts}.union(*map(_scopes_around, shallow))
    blocks: dict[str, list[OpNode]] = {}
    for name, node in deep.items():
        if name not in shallow:
            scope = next((scope for scope in _scopes_around(name) if scope not in scopes), name)
            blocks.setdefault(scope, []).append(node)
    if not blocks:
        raise DeepenError(f"{graph.network.name} has no more blocks than the trained network")
    by_name = graph.by_name()
    additions = [_Identity(block, nodes, by_name).addition() for block, nodes in blocks.items()]
    _check_kept(additions, shallow, deep)
    return additions


def _scopes_around(name: str) -> list[str]:
    """`conv3.0.conv1` -> `conv3`, `conv3.0`."""
    words = name.split(".")
    return [".".join(words[:count]) for count in range(1, len(words))]


def _check_kept(additions: list[Addition], shallow: Mapping[str, OpNode], deep: Mapping[str, OpNode]) -> None:
    """Without the additions every op must read what it reads in the trained network."""
    starts = {addition.end: addition.start for addition in additions}

    def without_additions(name: str) -> str:
        while name in starts:
            name = starts[name]
        return name

    for name, node in shallow.items():
        reads = tuple(map(without_additions, deep[name].inputs))
        if reads != node.inputs:
            now, before = (", ".join(map(repr, names)) for names in (reads, node.inputs))
            raise DeepenError(f"{name!r} reads {now} in the deeper network, and {before} in the trained one")


class _Identity:
    """Finds what makes an added block the identity, walking from its end back to its start."""

    def __init__(self, block: str, nodes: list[OpNode], by_name: Mapping[str, OpNode]) -> None:
        self._block = block
        self._names = {node.name for node in nodes}
        self._end = nodes[-1]
        self._by_name = by_name
        entries = dict.fromkeys(name for node in nodes for name in node.inputs if name not in self._names)
        self._start, *others = entries
        if others:
            raise self._refused(f"it reads {', '.join(map(repr, entries))}, not one map")
        shape = next(known for node in nodes for name, known in zip(node.inputs, node.input_shapes, strict=True)
                     if name == self._start)  # fmt: skip
        if shape != self._end.shape:
            raise self._refused(f"it changes the shape from {shape_text(shape)} to {shape_text(self._end.shape)}")

    def addition(self) -> Addition:
        """The block with the layers to be made zero."""
        zeros: list[str] = []
        name = self._end.name
        while name != self._start:
            node = self._by_name[name]
            name = node.inputs[0]
            if node.op.name == "add":
                branch, name = self._sides(node)
                zeros.append(self._zero_layer(branch))
            elif node.op.name == "relu":
                if not self._is_never_negative(self._start):
                    raise self._refused(
                        f"it ends in a relu, and {self._start!r}, from which it starts, can be negative"
                    )
            elif node.op.name != "identity":
                raise self._refused(self._reason(node, is_shortcut=bool(zeros)))
        if not zeros:
            raise self._refused("it has no shortcut")
        return Addition(self._block, self._start, self._end.name, tuple(zeros))

    def _sides(self, node: OpNode) -> tuple[str, str]:
        """The branch and the shortcut of a sum."""
        if len(node.inputs) != 2:
            raise self._refused(f"{node.name!r} adds {len(node.inputs)} maps")
        first, second = node.inputs
        return (second, first) if first == self._start else (first, second)

    def _zero_layer(self, name: str) -> str:
        """The layer whose zeros make a branch zero, and that learns from there."""
        while name in self._names:
            node = self._by_name[name]
            weights = [each for each in node.op.spec.weights(node.op.args, node.input_shapes) if not each.is_buffer]
            if node.op.spec.family in ("norm", "conv", "linear") and weights:
                return name
            if node.op.name not in _ZERO_KEEPING:
                reason = "which stops zeros or the gradients that would change them"
                raise self._refused(f"its branch ends in `{node.op.name}`, {reason}")
            name = node.inputs[0]
        raise self._refused("its branch has no layer that could be zero")

    def _is_never_negative(self, name: str) -> bool:
        while name != INPUT:
            node = self._by_name[name]
            if node.op.name in _NEVER_NEGATIVE:
                return True
            if node.op.spec.is_join:
                return node.op.name != "gate" and all(map(self._is_never_negative, node.inputs))
            if node.op.spec.family not in _SIGN_KEEPING:
                return False
            name = node.inputs[0]
        return False

    def _reason(self, node: OpNode, is_shortcut: bool) -> str:
        if is_shortcut:
            options = {self._by_name[name].option for name in self._names} - {""}
            which = "".join(f" {option}" for option in sorted(options))
            return f"its shortcut{which} is not the identity, but leads through {node.name!r} ({node.op.label()})"
        if node.op.name == "gate":
            return "it is gated"
        if any(self._by_name[name].op.name == "add" for name in self._names):
            return f"its sum passes through {node.name!r} ({node.op.label()})"
        return "it has no shortcut"

    def _refused(self, reason: str) -> DeepenError:
        return DeepenError(f"the added block {self._block!r} cannot begin as the identity: {reason}")


# --- weights and proof ---------------------------------------------------------------------------------------------


def take_over(shallow: nn.Module, deep: nn.Module) -> None:
    """Load the trained tensors into the layers of the same paths.

    Raises:
        DeepenError: one has another shape there.
    """
    wanted = deep.state_dict()
    for name, tensor in (trained := shallow.state_dict()).items():
        if name not in wanted or wanted[name].shape != tensor.shape:
            found = "missing" if name not in wanted else tuple(wanted[name].shape)
            raise DeepenError(f"{name!r} is {tuple(tensor.shape)} in the trained network and {found} in the deeper one")
    deep.load_state_dict(trained, strict=False)


def verify_equal(shallow: nn.Module, deep: nn.Module, graph: FlatGraph) -> None:
    """Compare the outputs of two modules for random inputs of two sizes; neither is changed.

    Raises:
        DeepenError: they differ, or are not finite.
    """
    reference = next(shallow.parameters(), torch.empty(0))
    first, second = copy.deepcopy(shallow), copy.deepcopy(deep)
    unfreeze(first)  # a fixed normalisation would not use the batch's statistics, as the deeper network's does
    has_chance = any(node.op.spec.family == "dropout" for node in graph.nodes)
    random = torch.Generator().manual_seed(0)
    for shape in _input_shapes(graph):
        images = torch.randn(2, *shape, generator=random).to(reference)
        for mode in ("evaluation",) if has_chance else ("evaluation", "training"):
            for module in (first, second):
                module.train(mode == "training")
            with torch.no_grad():
                difference = _difference(first(images), second(images))
            where = f"for an input of {' x '.join(map(str, shape))} in {mode} mode"
            if difference != difference:
                raise DeepenError(f"the trained network's outputs are not all finite {where}")
            if difference > _TOLERANCE:
                raise DeepenError(f"the outputs differ by {difference:.2g} of the largest value {where}")


def verify_learning(deep: nn.Module, additions: list[Addition], graph: FlatGraph) -> None:
    """Look whether gradients reach the zeros of the added blocks, which would otherwise stay what they are.

    Raises:
        DeepenError: they do not.
    """
    random = torch.Generator().manual_seed(0)
    with torch.inference_mode(False), torch.enable_grad():
        module = copy.deepcopy(deep).eval()  # chance could leave a branch out
        images = torch.randn(2, *_input_shapes(graph)[1], generator=random).to(next(module.parameters()))
        results = _tensors(module(images))
        torch.autograd.backward(results, [torch.randn(each.shape, generator=random).to(each) for each in results])
    for addition in additions:
        for name in addition.zeros:
            layer = module.get_submodule(module_path(name))
            if not any(each.grad is not None and each.grad.any() for each in layer.parameters()):
                reason = f"no gradient reaches {name!r} while it is zero"
                raise DeepenError(f"the added block {addition.block!r} would stay the identity: {reason}")


def _input_shapes(graph: FlatGraph) -> list[tuple[int, ...]]:
    """Two shapes of inputs: the network's own (some common one where it is free), and a smaller, odd one if legal."""
    least = [extent if isinstance(extent, int) else 1 for extent in minimum_input(graph)]
    own = tuple(
        extent if isinstance(extent, int) else max(smallest, _FREE_SIZE)
        for extent, smallest in zip(graph.input_shape, least, strict=True)
    )
    if len(own) != 3:
        return [own, own]
    channels, height, width = own
    return [own, (channels, max(least[1], height // 2 - 1), max(least[2], width // 2))]


def _difference(first: object, second: object) -> float:
    """The largest difference of two modules' outputs, as a share of the largest value; NaN where one is not finite."""
    worst = 0.0
    for one, other in zip(_tensors(first), _tensors(second), strict=True):
        scale = one.abs().max().clamp(min=torch.finfo(one.dtype).tiny)
        difference = ((one - other).abs().max() / scale).item()
        if not torch.isfinite(one).all():
            return float("nan")
        worst = max(worst, difference)
    return worst


def _tensors(result: object) -> list[Tensor]:
    match result:
        case Tensor():
            return [result]
        case dict():
            return list(result.values())
        case tuple():
            return list(result)
    raise TypeError(f"a module of `to_torch` gives no {type(result).__name__}")
