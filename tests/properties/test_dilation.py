"""A net with an output stride computes what it computes without it, at the places between as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from resdsl.compiler import compile_network
from resdsl.diagnostics import CompileError
from resdsl.emit.torch_proof import prove_on_meta
from resdsl.net import Net
from resdsl.source import SourceFile
from tests.properties.random_specs import ACTIVATIONS, BLOCKS, SIZE_CODES, Writer
from tests.zoo.peers import carry_weights, lively

# And a pool that rounds up sometimes, and a stride past the limit.
REFUSALS = SIZE_CODES | {"R0318", "R0319"}
FREE_SIZES = {"H": 29, "W": 38, "S": 31}


class PlaceByPlace(Writer):
    """Specs without steps that look at the whole map or enlarge it."""

    def one_of(self, *choices: str) -> str:
        if choices == BLOCKS:
            choices = tuple(block for block in BLOCKS if not block.startswith(("squeezed", "mixed")))
        elif choices == ACTIVATIONS:
            choices = ("relu", "sigmoid", "complement", "prelu")
        return super().one_of(*choices)

    def norm(self, channels: int) -> str:
        return "bn"

    def weigh(self, channels: int) -> tuple[str, int]:
        return self.conv(channels, keeps_map=True)

    def transposed(self, channels: int) -> tuple[str, int]:
        return self.conv(channels, keeps_map=False)

    def resample(self) -> str:
        return self.one_of("subsample(2)", "subsample(1x3)", "pad(1)", "pad(1x0, after = 2)")


@st.composite
def texts(draw: Any) -> str:
    """The text of a spec with a network named `random`."""
    writer = PlaceByPlace(draw, is_free=draw(st.booleans()))
    size = writer.one_of("H x W", "S x S") if writer.is_free else f"{writer.number(6, 37)} x {writer.number(6, 37)}"
    return writer.network(size).text


def changed(make: Callable[[], Net], refusals: frozenset[str]) -> Net | None:
    """What is made; None where it is refused for one of these reasons."""
    codes: set[str] = set()
    try:
        return make()
    except CompileError as error:
        codes = {found.code for found in error.diagnostics}
    assert codes <= refusals
    return None


def without_head(text: str) -> Net:
    """The network up to its last map; texts refused for their sizes are thrown away."""
    net = changed(lambda: compile_network(SourceFile("random.res", text)).retarget(head="none"), SIZE_CODES)
    assume(net is not None)
    assert net is not None
    return net


def run_both(net: Net, dilated: Net) -> tuple[torch.Tensor, torch.Tensor]:
    """The last maps of both on one input, for the same weights."""
    height, width = (extent if isinstance(extent, int) else FREE_SIZES[str(extent)] for extent in net.input_shape[1:])
    torch.manual_seed(0)
    one, other = lively(net.to_torch()).eval(), dilated.to_torch().eval()
    other.load_state_dict(one.state_dict())
    x = torch.randn(1, int(str(net.input_shape[0])), height, width)
    with torch.no_grad():
        return one(x), other(x)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
@given(texts(), st.sampled_from((1, 1, 2, 2, 4, 3, 6)))
def test_places_of_the_strides(text: str, limit: int) -> None:
    net = without_head(text)
    dilated = changed(lambda: net.retarget(output_stride=limit), REFUSALS)
    if dilated is None:
        return
    down, across = dilated.network.geometry.dilation
    event(f"dilation {down}x{across}")
    assert max(dilated.network.geometry.stride) <= limit
    prove_on_meta(dilated.flat)
    expected, found = run_both(net, dilated)
    found = found[:, :, ::down, ::across]
    assert found.shape == expected.shape, text
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())), text


@pytest.mark.parametrize("pool", ["max_pool", "avg_pool"])
@pytest.mark.parametrize("arguments", ["2x2, stride = 2", "3x3, stride = 2", "3x2, stride = 2x3", "4x4, stride = 2"])
@pytest.mark.parametrize("size", ["16 x 16", "15 x 13", "H x W"])
def test_pools(pool: str, arguments: str, size: str) -> None:
    counting = (", ceil = true, count_padding = false", ", padding = 1, count_padding = false")
    for words in ("", ", ceil = true", ", padding = 1, ceil = true", *(counting if pool == "avg_pool" else ())):
        steps = f"conv(3x3, 4, stride = 2) -> {pool}({arguments}{words}) -> {pool}({arguments}{words})"
        text = f"network random {{ input 2 x {size}\n stem {{ {steps} }}\n head {{ relu }} }}"
        net = compile_network(SourceFile("random.res", text))
        is_uneven = size == "H x W" and "ceil" in words
        dilated = changed(lambda: net.retarget(output_stride=2), frozenset({"R0318"} if is_uneven else ()))  # noqa: B023
        if dilated is None:
            continue
        expected, found = run_both(net, dilated)
        down, across = dilated.network.geometry.dilation
        assert torch.allclose(found[:, :, ::down, ::across], expected, atol=1e-5), words


@pytest.mark.parametrize(("stride", "dilates"), [(16, [False, False, True]), (8, [False, True, True])])
@pytest.mark.parametrize(("depth", "size"), [(50, (64, 64)), (50, (75, 97)), (101, (49, 64))])
def test_torchvision(depth: int, stride: int, dilates: list[bool], size: tuple[int, int]) -> None:
    make = {50: torchvision.models.resnet50, 101: torchvision.models.resnet101}[depth]
    peer = lively(make(weights=None, replace_stride_with_dilation=dilates)).eval()
    net = compile_network(SourceFile("spec.res", f'use "resnet{depth}.res"\n'), f"resnet{depth}_v15")
    module = net.retarget(output_stride=stride).to_torch().eval()
    carry_weights(peer, module)
    x = torch.randn(1, 3, *size)
    with torch.no_grad():
        assert torch.allclose(module(x), peer(x), rtol=1e-4, atol=1e-4)
