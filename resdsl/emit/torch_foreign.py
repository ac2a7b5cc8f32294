"""Classes of torch.nn called by name (`nn.GELU`): their shapes and weights by running them on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resdsl.ops import OpSpec, Shape, ShapeFault, TorchCall, Weight, Window, shape_text
from resdsl.ops.core import Args, Dilated, Pair, undilatable
from resdsl.semantics.binding import Given
from resdsl.semantics.values import Ref, Word
from resdsl.sizes import Size
from resdsl.suggest import closest

# Containers, recurrent nets and wrappers take or give something else than one tensor.
_REFUSED = ("RNN", "LSTM", "GRU", "Transformer", "Module", "Sequential", "Parameter", "DataParallel", "Loss", "Lazy")
_PROBE_SIZES = (32, 33, 47, 64)
# What these modules of torch hold works on each place of a map by itself, or on all of them alike.
_KINDS = ("activation", "batchnorm", "dropout", "instancenorm")
_PLACE_BY_PLACE = frozenset(f"torch.nn.modules.{kind}" for kind in _KINDS)
LARGEST_ARGUMENT = 1 << 20


def probe(name: str, given: tuple[Given, ...], shape: Shape) -> OpSpec:
    """The op that a torch.nn class is for given arguments and an input of `shape`, (C, H, W) or (F,).

    Raises:
        ShapeFault: no such class, wrong arguments, an input that does not suit it, or a result that is no map.
    """
    cls = _find_class(name)
    arguments = _plain_arguments(given)
    module = _build(name, cls, arguments)
    weights = tuple(
        Weight(key, tuple(value.shape), is_buffer)
        for values, is_buffer in ((module.named_parameters(), False), (module.named_buffers(), True))
        for key, value in values
        if value.dim() > 0
    )
    first = _result_shape(name, module, shape)
    is_sized = all(isinstance(extent, int) for extent in shape)
    macs = _count_macs(module, shape) if is_sized else 0
    positional, keywords = arguments
    is_by_places = type(module).__module__ in _PLACE_BY_PLACE or isinstance(module, nn.Identity)
    return OpSpec(
        name,
        "foreign",
        (),
        lambda args, inputs: TorchCall("module", name, positional, keywords),
        f"torch.{name}",
        lambda args, inputs: _result_shape(name, module, inputs[0]),
        lambda args, inputs: weights,
        lambda args, inputs, output: macs,
        (lambda args: Window()) if first[1:] == shape[1:] else None,
        lambda args: name.removeprefix("nn."),
        has_weights_layer=any(len(weight.shape) > 1 for weight in weights),
        dilate=_unchanged if is_by_places else undilatable("is a class of torch, which may look at several places"),
    )


def _unchanged(args: Args, shape: Shape, dilation: Pair, dropped: Pair) -> Dilated:
    return Dilated(args)


def _find_class(name: str) -> Callable[..., nn.Module]:
    word = name.removeprefix("nn.")
    found = getattr(nn, word, None)
    known = [
        key
        for key, value in vars(nn).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and not any(part in key for part in _REFUSED)
    ]
    if word not in known or not isinstance(found, type):
        guess = closest(word, known)
        hints = () if guess is None else (f"did you mean `nn.{guess}`?",)
        raise ShapeFault("R0310", hints, reason="torch.nn has no layer of this name that takes and gives one tensor")
    return found


def _plain_arguments(given: tuple[Given, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for argument in given:
        value = argument.value
        if isinstance(value, (Word, Ref, Size)) or (isinstance(value, int) and abs(value) > LARGEST_ARGUMENT):
            raise ShapeFault("R0310", reason=f"`{value}` cannot be given to a torch class")
        if argument.name is None:
            positional.append(value)
        else:
            keywords[argument.name] = value
    return tuple(positional), keywords


def _build(name: str, cls: Callable[..., nn.Module], arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> nn.Module:
    positional, keywords = arguments
    try:
        with torch.device("meta"):
            return cls(*positional, **keywords)
    except Exception as error:  # noqa: BLE001 - a class of torch may raise anything
        raise ShapeFault("R0310", reason=_first_line(error)) from None


def _result_shape(name: str, module: nn.Module, shape: Shape) -> Shape:
    if all(isinstance(extent, int) for extent in shape):
        return _run(module, tuple(int(str(extent)) for extent in shape))
    channels = shape[0]
    assert isinstance(channels, int)
    results = [_run(module, (channels, size, size)) for size in _PROBE_SIZES]
    pairs = list(zip(results, _PROBE_SIZES, strict=True))
    if all(len(result) == 3 and result[1:] == (size, size) for result, size in pairs):
        return (results[0][0], *shape[1:])
    if all(result == results[0] for result in results):
        return results[0]
    hint = f"give the input a known size: with {shape_text(shape)} the size behind `{name}` is unknown"
    raise ShapeFault("R0310", (hint,), reason="it changes the size of a map whose size is free")


def _run(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    try:
        with torch.no_grad():
            result = module(torch.empty(2, *shape, device="meta"))
    except Exception as error:  # noqa: BLE001 - a class of torch may raise anything
        raise ShapeFault("R0310", reason=_first_line(error)) from None
    if not isinstance(result, torch.Tensor) or result.dim() not in (2, 4) or result.shape[0] != 2:
        found = list(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise ShapeFault("R0310", reason=f"it gives {found}, neither maps nor vectors")
    return tuple(result.shape[1:])


def _count_macs(module: nn.Module, shape: Shape) -> int:
    """Multiply-adds for one image."""
    extents = [int(str(extent)) for extent in shape]
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(torch.empty(1, *extents, device="meta"))
    return int(counter.get_total_flops()) // 2


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"torch says: {text[:200]}" if text else f"torch refuses it ({type(error).__name__})"
