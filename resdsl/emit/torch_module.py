"""Graph to torch.fx.GraphModule: the modules of torch.nn under readable paths."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from torch import fx, nn

from resdsl.collector import paused_collector
from resdsl.emit.inplace import overwriting_nodes
from resdsl.emit.torch_init import INITIALISATIONS
from resdsl.emit.torch_make import ModuleMaker, resolve_target
from resdsl.emit.torch_names import module_path
from resdsl.ir.geometry import strides_from
from resdsl.ir.lower import INPUT, FlatGraph, OpNode
from resdsl.ops import Op, Shape, TorchCall
from resdsl.suggest import closest

Stride = int | tuple[float, float]

PLACES = "resdsl_places"
NODE = "resdsl"
FORM = "resdsl_form"
GRAPH = "resdsl_graph"
_DESCRIPTION = ("tap_channels", "tap_strides", "out_channels")
_OPERATORS: dict[tuple[str, bool], Callable[..., Any]] = {
    ("+", False): operator.add,
    ("+", True): operator.iadd,
    ("*", False): operator.mul,
}


class NetModule(fx.GraphModule):
    """The torch module of a network, or of a part of one.

    Attributes:
        tap_channels: channels of each tapped map, by the name under which the module gives it; empty without taps.
        tap_strides: pixels of the module's input to a step on each tapped map; (height, width) where they differ.
        out_channels: channels, or features, of the result; missing where the module gives several.
    """

    if TYPE_CHECKING:  # TorchScript compiles a module's annotations, and does not know these
        tap_channels: dict[str, int]
        tap_strides: dict[str, Stride]
        out_channels: int

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # fx makes the copy anew from the graph, and so without attributes that the graph does not mention.
        copied: Self = super().__deepcopy__(memo)  # type: ignore[assignment]
        copied.__dict__.update(self._described())
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        made, given = super().__reduce__()
        return _unpickled, (made, given, self._described(), self.meta)

    def _described(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in _DESCRIPTION if name in vars(self)}


def _unpickled(
    made: Callable[..., fx.GraphModule], given: tuple[Any, ...], described: dict[str, Any], meta: dict[str, Any]
) -> NetModule:
    """A module from its pickle, for which fx writes its flow as code and forgets the rest."""
    plain = made(*given)
    module = NetModule(plain, plain.graph, class_name=type(plain).__name__)
    module.__dict__.update(described)
    module.meta.update(meta)
    return module


def build_module(
    graph: FlatGraph,
    *,
    init: str = "he",
    bn_eps: float | None = None,
    bn_momentum: float | None = None,
    taps: Iterable[str] | Mapping[str, str] = (),
    start: str | None = None,
    auxiliary: bool = False,
) -> NetModule:
    """A trainable module that takes (N, C, H, W) (or (N, F)) and gives the network's output.

    With `taps` it gives a dict from each tap's name (a stage, a named place or a node) to its map; a mapping from
    taps to other names gives the maps under those. With `start`, such a place too, it is the network behind that
    place, and takes the map there. Layers that the result does not need are left out. With `auxiliary` it gives a
    tuple of the output and the auxiliary heads' outputs, in order. `bn_eps` and `bn_momentum` (the weight of the new
    batch) replace the spec's. Parameters are named by their paths in the whole network: `conv3.0.conv1.weight`.

    Raises:
        ValueError: an unknown initialisation, tap or start; two taps of one name; a result that needs something from
            before the start.
        TypeError: a place that is no text; a text for `taps`.
    """
    if init not in INITIALISATIONS:
        raise ValueError(f"init {init!r} is not one of {', '.join(INITIALISATIONS)}{_guess(init, INITIALISATIONS)}")
    names = _tap_names(taps)
    tapped = {name: _place_node(graph, tap) for name, tap in names.items()}
    begin = INPUT if start is None else _place_node(graph, start)
    ends = list(tapped.values()) or [graph.output]
    if auxiliary:
        ends += [node for _, _, node in graph.auxiliaries]
    given = {"eps": bn_eps, "momentum": bn_momentum}
    maker = ModuleMaker(init, {name: value for name, value in given.items() if value is not None})
    with paused_collector():
        nodes = _needed(graph, ends, begin)
        overwriting = overwriting_nodes(graph, frozenset([begin, *ends]))
        flow, modules, values = _build_flow(nodes, begin, overwriting, maker)
        flow.output(_outputs(graph, tapped, values, auxiliary))
        module = NetModule(_tree(modules), flow, class_name=graph.network.name)
    module.meta[GRAPH] = _KeptGraph(graph)
    module.meta[PLACES] = {module_path(node.name): node.place.place() for node in nodes}
    taps = {tap: name for name, tap in names.items()}
    module.meta[FORM] = {
        "taps": taps,
        "start": start,
        "auxiliary": auxiliary,
        "bn_eps": bn_eps,
        "bn_momentum": bn_momentum,
    }
    _describe(module, graph, tapped, begin)
    return module


def _describe(module: NetModule, graph: FlatGraph, tapped: dict[str, str], begin: str) -> None:
    module.tap_channels, module.tap_strides = {}, {}
    if tapped:
        shapes = {INPUT: graph.input_shape, **{node.name: node.shape for node in graph.nodes}}
        strides = strides_from(graph, begin)
        module.tap_channels = {name: _channels(shapes[node]) for name, node in tapped.items()}
        module.tap_strides = {name: _stride(strides[node]) for name, node in tapped.items()}
    if len(tapped) <= 1:
        module.out_channels = next(iter(module.tap_channels.values()), _channels(graph.network.shape))


def _channels(shape: Shape) -> int:
    channels = shape[0]
    assert isinstance(channels, int), "only heights and widths are free"
    return channels


def _stride(stride: tuple[float, float]) -> Stride:
    height, width = stride
    return int(height) if height == width and height == int(height) else stride


def _build_flow(
    nodes: list[OpNode], begin: str, overwriting: frozenset[str], maker: ModuleMaker
) -> tuple[fx.Graph, dict[str, nn.Module], dict[str, fx.Node]]:
    flow = fx.Graph()
    modules: dict[str, nn.Module] = {}
    values: dict[str, fx.Node] = {begin: flow.placeholder("x")}
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
        value.meta[NODE] = node.name
        values[node.name] = value
    return flow, modules, values


class _KeptGraph:
    """The graph a module was made from, shared by its copies. A pickle of the module does without: ops are code."""

    __slots__ = ("graph",)

    def __init__(self, graph: FlatGraph | None = None) -> None:
        self.graph = graph

    def __deepcopy__(self, memo: dict[int, Any]) -> _KeptGraph:
        return self

    def __reduce__(self) -> tuple[type[_KeptGraph], tuple[()]]:
        return _KeptGraph, ()


def graph_of(module: nn.Module) -> FlatGraph | None:
    """The graph that a module was made from; None for others, and for one that was pickled."""
    kept = getattr(module, "meta", {}).get(GRAPH)
    return kept.graph if isinstance(kept, _KeptGraph) else None


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


def _tap_names(taps: Iterable[str] | Mapping[str, str]) -> dict[str, str]:
    """The taps by the names under which their maps come out.

    Raises:
        ValueError: two of one name.
    """
    if isinstance(taps, str) or not isinstance(taps, Iterable):
        raise TypeError(f"taps are a list of places, such as ['conv4', 'conv5'], not {taps!r}")
    names: dict[str, str] = {}
    for tap, name in taps.items() if isinstance(taps, Mapping) else ((tap, tap) for tap in taps):
        if names.setdefault(name, tap) != tap:
            raise ValueError(f"the taps {names[name]!r} and {tap!r} have one name, {name!r}")
    return names


def _place_node(graph: FlatGraph, place: str) -> str:
    if not isinstance(place, str):
        raise TypeError(f"a place is a text, such as 'conv4', not {place!r}")
    node = graph.place_node(place)
    if node is None:
        known = list(dict.fromkeys([*graph.network.places, *(part.name for part in graph.network.parts)]))
        raise ValueError(f"there is no place {place!r}; known are {', '.join(known)}{_guess(place, known)}")
    return node


def _needed(graph: FlatGraph, ends: list[str], begin: str) -> list[OpNode]:
    """The nodes behind `begin` that the ends depend on, in order."""
    wanted = set(ends)
    needed = []
    for node in reversed(graph.nodes):
        if node.name in wanted and node.name != begin:
            needed.append(node)
            wanted.update(node.inputs)
    needed.reverse()
    if begin != INPUT:
        _check_behind(needed, ends, begin)
    return needed


def _check_behind(needed: list[OpNode], ends: list[str], begin: str) -> None:
    behind = {begin}
    for node in needed:
        foreign = next((name for name in node.inputs if name not in behind), None)
        if foreign is None:
            behind.add(node.name)
        elif not behind.isdisjoint(node.inputs):
            raise ValueError(f"{node.name!r} needs {foreign!r}, which does not come from the start, {begin!r}")
    outside = next((end for end in ends if end not in behind), None)
    if outside is not None:
        raise ValueError(f"{outside!r} does not lie behind the start, {begin!r}")


def _call(flow: fx.Graph, call: TorchCall, arguments: list[fx.Node], is_inplace: bool) -> fx.Node:
    match call.kind:
        case "function":
            return _add_node(flow, "call_function", resolve_target(call.target), (*arguments, *call.args), call.kwargs)
        case "method":
            return _add_node(flow, "call_method", call.target, (*arguments, *call.args), call.kwargs)
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
