"""Graph to torch.fx.GraphModule: the modules of torch.nn under readable paths."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import fx, nn

from resdsl.collector import paused_collector
from resdsl.emit.inplace import overwriting_nodes
from resdsl.emit.torch_init import INITIALISATIONS
from resdsl.emit.torch_make import ModuleMaker, resolve_target
from resdsl.emit.torch_names import module_path
from resdsl.ir.lower import INPUT, FlatGraph, OpNode
from resdsl.ops import Op, TorchCall
from resdsl.suggest import closest

PLACES = "resdsl_places"
_OPERATORS: dict[tuple[str, bool], Callable[..., Any]] = {
    ("+", False): operator.add,
    ("+", True): operator.iadd,
    ("*", False): operator.mul,
}


def build_module(
    graph: FlatGraph,
    *,
    init: str = "he",
    bn_eps: float | None = None,
    bn_momentum: float | None = None,
    taps: Iterable[str] = (),
    auxiliary: bool = False,
) -> fx.GraphModule:
    """A trainable module that takes (N, C, H, W) (or (N, F)) and gives the network's output.

    With `taps` it gives a dict from each tap's name (a stage, a named place or a node) to its map; with `auxiliary` a
    tuple of the output and the auxiliary heads' outputs, in order. `bn_eps` and `bn_momentum` (the weight of the new
    batch) replace the spec's. Parameters are named by their paths in the graph: `conv3.0.conv1.weight`.

    Raises:
        ValueError: an unknown initialisation or tap.
    """
    if init not in INITIALISATIONS:
        raise ValueError(f"init {init!r} is not one of {', '.join(INITIALISATIONS)}{_guess(init, INITIALISATIONS)}")
    tapped = {tap: _tap_node(graph, tap) for tap in taps}
    ends = list(tapped.values()) or [graph.output]
    if auxiliary:
        ends += [node for _, _, node in graph.auxiliaries]
    given = {"eps": bn_eps, "momentum": bn_momentum}
    maker = ModuleMaker(init, {name: value for name, value in given.items() if value is not None})
    with paused_collector():
        nodes = _needed(graph, ends)
        flow, modules, values = _build_flow(nodes, overwriting_nodes(graph, frozenset(ends)), maker)
        flow.output(_outputs(graph, tapped, values, auxiliary))
        module = fx.GraphModule(_tree(modules), flow, class_name=graph.network.name)
    module.meta[PLACES] = {module_path(node.name): node.place.place() for node in nodes}
    return module


def _build_flow(
    nodes: list[OpNode], overwriting: frozenset[str], maker: ModuleMaker
) -> tuple[fx.Graph, dict[str, nn.Module], dict[str, fx.Node]]:
    flow = fx.Graph()
    modules: dict[str, nn.Module] = {}
    values: dict[str, fx.Node] = {INPUT: flow.placeholder("x")}
    calls: dict[Op, TorchCall] = {}
    for node in nodes:
        # Equal blocks share their ops, and with them the shapes of their inputs.
        call = calls.get(node.op)
        if call is None:
            call = calls[node.op] = node.op.spec.torch(node.op.args, node.input_shapes)
        arguments = [values[name] for name in node.inputs]
        is_inplace = node.name in overwriting
        if call.kind == "module":
            path = module_path(node.name)
            modules[path] = maker.make(node, call, is_inplace)
            value = _add_node(flow, "call_module", path, tuple(arguments))
        else:
            value = _call(flow, call, arguments, is_inplace)
        value.meta["resdsl"] = node.name
        values[node.name] = value
    return flow, modules, values


def place_of(module: fx.GraphModule, name: str) -> str:
    """`file:line:column` in the spec of a module, given by its path, such as `conv3.0.conv1`.

    Raises:
        KeyError: the module has no node or parameter of this name.
    """
    places: dict[str, str] = module.meta[PLACES]
    return places[name] if name in places else places[name.rpartition(".")[0]]


def _guess(word: str, known: Iterable[str]) -> str:
    guess = closest(word, known)
    return "" if guess is None else f"; did you mean {guess!r}?"


def _tap_node(graph: FlatGraph, tap: str) -> str:
    node = graph.place_node(tap)
    if node is None:
        known = list(dict.fromkeys([*graph.network.places, *(part.name for part in graph.network.parts)]))
        raise ValueError(f"there is no place {tap!r}; known are {', '.join(known)}{_guess(tap, known)}")
    return node


def _needed(graph: FlatGraph, ends: list[str]) -> list[OpNode]:
    """The nodes that the ends depend on, in order."""
    wanted = set(ends)
    needed = []
    for node in reversed(graph.nodes):
        if node.name in wanted:
            needed.append(node)
            wanted.update(node.inputs)
    return needed[::-1]


def _call(flow: fx.Graph, call: TorchCall, arguments: list[fx.Node], is_inplace: bool) -> fx.Node:
    match call.kind:
        case "function":
            return _add_node(flow, "call_function", resolve_target(call.target), (*arguments, *call.args), call.kwargs)
        case "method":
            return _add_node(flow, "call_method", call.target, (*arguments, *call.args), call.kwargs)
        case "index":
            return _add_node(flow, "call_function", operator.getitem, (arguments[0], call.args))
        case "join":
            inputs = (tuple(arguments), *call.args)
            return _add_node(flow, "call_function", resolve_target(call.target), inputs, call.kwargs)
    value = arguments[0]
    for other in arguments[1:]:
        value = _add_node(flow, "call_function", _OPERATORS[call.target, is_inplace], (value, other))
    return value


def _add_node(
    flow: fx.Graph, kind: str, target: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any] | None = None
) -> fx.Node:
    # create_node searches its arguments for symbolic numbers, which costs more than the node; there are none here.
    node = flow.create_node(kind, target)
    node.args = arguments
    if keywords:
        node.kwargs = dict(keywords)
    return node


def _outputs(graph: FlatGraph, tapped: dict[str, str], values: dict[str, fx.Node], auxiliary: bool) -> Any:
    if tapped:
        return {tap: values[node] for tap, node in tapped.items()}
    if auxiliary and graph.auxiliaries:
        return (values[graph.output], *(values[node] for _, _, node in graph.auxiliaries))
    return values[graph.output]


def _tree(modules: dict[str, nn.Module]) -> nn.Module:
    """The modules under their paths in nested containers, in the order of the graph, which the state dict keeps."""
    containers: dict[str, nn.Module] = {"": nn.Module()}
    for path, module in modules.items():
        scope, _, name = path.rpartition(".")
        _container(containers, scope).add_module(name, module)
    return containers[""]


def _container(containers: dict[str, nn.Module], path: str) -> nn.Module:
    found = containers.get(path)
    if found is None:
        scope, _, name = path.rpartition(".")
        found = containers[path] = nn.Module()
        _container(containers, scope).add_module(name, found)
    return found
