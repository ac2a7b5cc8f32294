"""What the compiler says of random specs is what torch does: shapes, counts, smallest inputs, free sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from hypothesis import HealthCheck, assume, event, example, given, settings
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from resdsl.compiler import compile_network
from resdsl.diagnostics import CompileError, Diagnostic
from resdsl.net import Net
from resdsl.ops import Shape
from resdsl.ops.core import shape_text
from resdsl.sizes import Amount, Size, at
from resdsl.source import SourceFile
from tests.properties.random_specs import PAIR_CHANNELS, SIZE_CODES, Pair, RandomSpec, free_specs, known_specs, pairs

RANDOM = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
MANY = 40


def compiled(text: str) -> Net:
    return compile_network(SourceFile("random.res", text))


def compiled_or_refused(text: str) -> Net | tuple[Diagnostic, ...]:
    try:
        return compiled(text)
    except CompileError as error:
        return error.diagnostics


def accepted(spec: RandomSpec) -> Net:
    """The network of a spec; specs refused for their sizes are thrown away, other reports are failures."""
    net = compiled_or_refused(spec.text)
    if isinstance(net, Net):
        return net
    codes = {diagnostic.code for diagnostic in net}
    assert codes <= SIZE_CODES, f"{spec.text}\n{[str(diagnostic) for diagnostic in net]}"
    event(f"refused: {sorted(codes)}")
    assume(False)
    raise AssertionError


class ShapeRecorder(fx.Interpreter):
    """Runs a module and notes the shape of each node of the graph it was made from."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if "resdsl" in n.meta:
            self.shapes[n.meta["resdsl"]] = tuple(value.shape[1:])
        return value


def on_meta(net: Net, *, auxiliary: bool = False) -> fx.GraphModule:
    with torch.device("meta"):
        module = net.to_torch(init="torch", auxiliary=auxiliary)
    return module.eval()


def torch_shapes(module: fx.GraphModule, size: Iterable[int]) -> dict[str, tuple[int, ...]]:
    recorder = ShapeRecorder(module)
    with torch.no_grad():
        recorder.run(torch.empty(2, *size, device="meta"))
    return recorder.shapes


def evaluated(shape: Shape, values: dict[str, int]) -> tuple[int, ...]:
    return tuple(at(extent, values[extent.symbol]) if isinstance(extent, Size) else extent for extent in shape)


def runs(module: nn.Module, size: Iterable[int], device: str = "cpu") -> Tensor | None:
    """The module's output for two images of a size; None where torch refuses it.

    For one image a group normalisation refuses maps of one value, also when it does not train.
    """
    try:
        with torch.no_grad():
            output: Tensor = module(torch.zeros(2, *size, device=device))
    except RuntimeError:
        return None
    except TypeError as error:
        # On an empty map torch 2.11 fails to say so, on the device `meta` alone.
        if "cond must be a bool" not in str(error):
            raise
        return None
    return output


def counted_macs(module: fx.GraphModule, size: Iterable[int]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(2, *size, device="meta"))
    return int(counter.get_total_flops()) // 4


def symbols(net: Net) -> list[str]:
    return list(dict.fromkeys(extent.symbol for extent in net.input_shape if isinstance(extent, Size)))


# --- whole networks ------------------------------------------------------------------------------------------------


@RANDOM
@given(known_specs())
def test_known_sizes(spec: RandomSpec) -> None:
    net = accepted(spec)
    size = evaluated(net.input_shape, {})
    assert torch_shapes(on_meta(net, auxiliary=True), size) == {node.name: node.shape for node in net.flat.nodes}
    module = on_meta(net)
    assert sum(weight.numel() for weight in module.parameters()) == net.parameters
    # torch counts the batches in a number beside each pair of running statistics.
    assert sum(buffer.numel() for buffer in module.buffers() if buffer.dim()) == net.summary()["buffers"]
    assert counted_macs(module, size) == net.macs


@RANDOM
@given(known_specs())
def test_counts_of_stages_and_layers_add_up(spec: RandomSpec) -> None:
    net = accepted(spec)
    summary = net.summary(layers=True)
    heads = sum(row["parameters"] for row in summary["layers"] if row["name"].startswith("side."))
    for key in ("parameters", "macs"):
        assert sum(stage[key] for stage in summary["stages"]) <= summary[key]
    assert sum(row["parameters"] for row in summary["layers"]) == summary["parameters"] + heads
    assert [row["name"] for row in summary["layers"]] == list(dict.fromkeys(row["name"] for row in summary["layers"]))
    assert set(net.graph.nodes) == {"input", *(row["name"] for row in summary["layers"])}


@RANDOM
@given(known_specs())
def test_minimum_input_of_known_sizes(spec: RandomSpec) -> None:
    """torch takes exactly the sizes from the smallest on; a net that fits its own size only says so."""
    net = accepted(spec)
    channels, *least = net.summary()["minimum_input"]
    module = net.to_torch(init="torch").eval()
    assert runs(module, (channels, *least)) is not None
    if "flatten" in spec.text or tuple(least) == net.input_shape[1:]:
        return
    for axis in (0, 1):
        smaller = [*least]
        smaller[axis] -= 1
        assert smaller[axis] == 0 or runs(module, (channels, *smaller)) is None
        for more in (1, 2, 5):
            larger = [*least]
            larger[axis] += more
            assert runs(module, (channels, *larger)) is not None


@settings(RANDOM, max_examples=60)
@given(free_specs())
def test_free_sizes(spec: RandomSpec) -> None:
    """An accepted net runs at all sizes from the smallest on, with the shapes that the expressions give there."""
    net = accepted(spec)
    least = {symbol: net.network.least.get(symbol, 1) for symbol in symbols(net)}
    stated = net.summary()["minimum_input"][1:]
    assert stated == [least[extent.symbol] for extent in net.input_shape[1:] if isinstance(extent, Size)]
    module = on_meta(net, auxiliary=True)
    plain = on_meta(net)
    for more in (0, 1, 2, 3, 7, 12, 30):
        values = {
            symbol: value + (more if number == 0 else (5 * more) % 11)
            for number, (symbol, value) in enumerate(least.items())
        }
        size = evaluated(net.input_shape, values)
        expected = {node.name: evaluated(node.shape, values) for node in net.flat.nodes}
        assert torch_shapes(module, size) == expected
        macs = net.macs.at(**values) if isinstance(net.macs, Amount) else net.macs
        assert counted_macs(plain, size) == macs
    real = net.to_torch(init="torch").eval()
    for symbol in least:
        assert runs(real, evaluated(net.input_shape, least)) is not None
        smaller = {**least, symbol: least[symbol] - 1}
        assert smaller[symbol] == 0 or runs(real, evaluated(net.input_shape, smaller)) is None


# --- pairs of ways -------------------------------------------------------------------------------------------------


def torch_sizes(text: str, axis: int, most: int) -> dict[int, int]:
    """For each size of one side of the input, the other being large, the size of that side behind the way."""
    net = compiled(text)
    with torch.device("meta"):
        module = net.to_torch(init="torch").eval()
    sizes = {}
    for side in range(1, most + 1):
        size = [PAIR_CHANNELS, 97, 97]
        size[axis + 1] = side
        output = runs(module, size, "meta")
        if output is not None:
            sizes[side] = output.shape[axis + 2]
    return sizes


@settings(RANDOM, max_examples=120)
@given(pairs())
@example(
    Pair(
        "S x S",
        "conv(7x7, 2, padding = 0) -> upsample(3)",
        "conv(3x3, 2, stride = 2)",
        "max_pool(2x2, stride = 2, padding = 0)",
        "block",
    )
)
@example(Pair("S x S", "relu", "conv(3x3, 2, stride = 2)", "avg_pool(5x2, stride = 2, padding = 2x0)", "add"))
def test_verdicts_on_free_sizes(pair: Pair) -> None:
    """Accepted pairs agree at every size; for the others the size named is the smallest legal one that parts them."""
    alone = [compiled_or_refused(pair.alone(way)) for way in (pair.first, pair.second)]
    assume(all(isinstance(net, Net) for net in alone))
    verdict = compiled_or_refused(pair.text())
    breaking: dict[str, list[int]] = {}
    for axis, symbol in enumerate(pair.size.split(" x ")):
        first, second = (torch_sizes(pair.alone(way), axis, MANY) for way in (pair.first, pair.second))
        legal = sorted(first.keys() & second.keys())
        assert legal == list(range(legal[0], MANY + 1))
        breaking.setdefault(symbol, []).extend(side for side in legal if first[side] != second[side])
    broken = {symbol: min(sides) for symbol, sides in breaking.items() if sides}
    if isinstance(verdict, Net):
        event("fits")
        assert not broken
        return
    (diagnostic,) = verdict
    assert diagnostic.code in SIZE_CODES
    if diagnostic.code != "R0309":
        event("never fits")
        assert broken
        return
    event("fits at some sizes")
    named = re.search(r"not for (\w+) = (\d+)", diagnostic.title)
    assert named is not None
    assert broken.get(named[1]) == int(named[2]), f"{pair.text()}\n{diagnostic}"


def test_shapes_read_as_in_the_language() -> None:
    net = compiled("network n {\n  input 3 x H x W\n  conv(3x3, 8, stride = 2) -> max_pool(3x3, stride = 2)\n}\n")
    assert shape_text(net.output_shape) == "8 x (H+3)//4 x (W+3)//4"
