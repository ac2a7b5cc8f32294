"""Proof of a graph: the module runs on the meta device and gives the shapes the compiler says."""

from __future__ import annotations

import torch

from resdsl.diagnostics import InternalError
from resdsl.emit.torch_module import build_module
from resdsl.ir.lower import FlatGraph
from resdsl.ops import Shape
from resdsl.sizes import Size

_FREE_SIZES = (0, 1, 2, 3, 29, 64)


def prove_on_meta(graph: FlatGraph) -> None:
    """Run a batch of two through the module without memory or arithmetic; free sizes are tried at several values.

    Raises:
        InternalError: torch refuses, or an output has another shape than the graph says.
    """
    with torch.device("meta"):
        module = build_module(graph, init="torch", auxiliary=True)
    expected = [graph.network.shape, *(graph.by_name()[node].shape for _, _, node in graph.auxiliaries)]
    least = {symbol: max(1, value) for symbol, value in graph.network.least.items()}
    for extra in _FREE_SIZES if _is_free(graph.input_shape) else (0,):
        values = {symbol: least.get(symbol, 1) + extra for symbol in _symbols(graph.input_shape)}
        shape = [_number(extent, values) for extent in graph.input_shape]
        try:
            with torch.no_grad():
                result = module(torch.empty(2, *shape, device="meta"))
        except Exception as error:
            raise InternalError(f"{graph.network.name}: torch refuses an input of {shape}: {error}") from error
        outputs = result if isinstance(result, tuple) else (result,)
        for output, wanted in zip(outputs, expected, strict=True):
            known = tuple(_number(extent, values) for extent in wanted)
            if tuple(output.shape[1:]) != known:
                raise InternalError(f"{graph.network.name}: torch gives {tuple(output.shape[1:])}, not {known}")


def _symbols(shape: Shape) -> set[str]:
    return {extent.symbol for extent in shape if isinstance(extent, Size)}


def _is_free(shape: Shape) -> bool:
    return bool(_symbols(shape))


def _number(extent: int | Size, values: dict[str, int]) -> int:
    return extent if isinstance(extent, int) else extent.at(values[extent.symbol])
