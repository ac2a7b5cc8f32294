"""Fused kernels: which blocks they take, and, in Triton's interpreter, what they compute."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import resdsl
from resdsl.train.kernels.match import find_chains, fuse

SPECS = Path(__file__).parents[2] / "specs"


def traced(network: str) -> fx.GraphModule:
    module = resdsl.load(SPECS / "cifar_resnets.res", network=network).to_torch()
    assert isinstance(module, fx.GraphModule)
    return module


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("resnet20", [(16, 6, True), (32, 4, True), (64, 4, True)]),
        ("resnet110", [(16, 36, True), (32, 34, True), (64, 34, True)]),
        ("plain20", [(16, 6, False), (32, 5, False), (64, 5, False)]),
        ("resnet20_C", []),  # its shortcuts are projections
    ],
)
def test_chains_of_the_cifar_nets(network: str, expected: list[tuple[int, int, bool]]) -> None:
    chains = find_chains(traced(network))
    assert [(chain.convs[0].out_channels, len(chain.convs), chain.shortcuts) for chain in chains] == expected


def test_long_nets_are_cut_into_chains() -> None:
    lengths = [len(chain.convs) for chain in find_chains(traced("resnet1202"))]
    assert max(lengths) == 64
    assert sum(lengths) == 2 * (200 + 199 + 199)


def test_the_state_dict_stays_that_of_the_network() -> None:
    net = traced("resnet20")
    together = fuse(net)
    assert list(together.state_dict()) == list(net.state_dict())
    assert [weight is other for weight, other in zip(together.parameters(), net.parameters(), strict=True)]
    assert {id(weight) for weight in together.parameters()} == {id(weight) for weight in net.parameters()}
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(together.eval()(x), net.eval()(x))


class Unit(nn.Module):
    def __init__(self, filters: int = 16, **options: object) -> None:
        super().__init__()
        settings: dict[str, object] = {"kernel_size": 3, "padding": 1, "bias": False} | options
        self.conv = nn.Conv2d(filters, filters, **settings)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn(self.conv(x))
        return result


class Block(nn.Module):
    """The block that matches, but for what is changed."""

    def __init__(self, change: str = "", **options: object) -> None:
        super().__init__()
        self.change = change
        self.one, self.two = Unit(), Unit(**options)  # type: ignore[arg-type]
        self.dropout = nn.Dropout2d(0.5)

    def forward(self, x: Tensor) -> Tensor:
        between = self.one.relu(self.one(x))
        between = self.dropout(between) if self.change == "dropout" else between
        result = self.one(between) if self.change == "shared" else self.two(between)
        result = self.dropout(result) if self.change == "depth" else result
        result = result + (between if self.change == "inner" else x)
        output: Tensor = self.two.relu(result)
        return output + between if self.change == "tap" else output


class Preactivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = Unit(), Unit()

    def forward(self, x: Tensor) -> Tensor:
        between = self.one.conv(self.one.relu(self.one.bn(x)))
        result: Tensor = self.two.conv(self.two.relu(self.two.bn(between))) + x
        return result


def without(attribute: str, value: object) -> nn.Module:
    block = Block()
    setattr(block.two.bn, attribute, value)
    return block


def test_the_block_itself_matches() -> None:
    (chain,) = find_chains(fx.symbolic_trace(Block()))
    assert (len(chain.convs), chain.shortcuts) == (2, True)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(Preactivation, id="preactivation"),
        pytest.param(lambda: Block("dropout"), id="dropout"),
        pytest.param(lambda: Block("depth"), id="stochastic depth"),
        pytest.param(lambda: Block("shared"), id="one layer twice"),
        pytest.param(lambda: Block("inner"), id="another shortcut"),
        pytest.param(lambda: Block("tap"), id="an inner map that is read"),
        pytest.param(lambda: Block(stride=2), id="stride"),
        pytest.param(lambda: Block(bias=True), id="bias"),
        pytest.param(lambda: Block(dilation=2, padding=2), id="dilation"),
        pytest.param(lambda: Block(groups=4), id="groups"),
        pytest.param(lambda: Block(kernel_size=1, padding=0), id="1x1"),
        pytest.param(lambda: Block(padding_mode="reflect"), id="padding"),
        pytest.param(lambda: nn.Sequential(*(Unit(24) for _ in range(2))), id="24 filters"),
        pytest.param(lambda: without("affine", False), id="no scale"),
        pytest.param(lambda: without("track_running_stats", False), id="no statistics"),
    ],
)
def test_others_are_left_alone(make: Callable[[], nn.Module]) -> None:
    net = fx.symbolic_trace(make())
    assert find_chains(net) == []
    assert fuse(net) is net


needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")


@needs_triton
def test_kernels_in_the_interpreter() -> None:
    # It must be asked for before Triton is imported, and then holds for the whole process.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).with_name("fused_kernels.py")),
    ]
    done = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def arguments(kernel: Any, sizes: dict[str, Any]) -> tuple[dict[str, str], dict[tuple[int, ...], list[list[object]]]]:
    """The types of a kernel's arguments, and that memory is allocated in units of 16 bytes and more."""
    numbers = {"momentum", "eps"}
    halves = {"activated", "given", "out", "result", "shortcut", "weight", "source", "sources", "source_below"}
    halves |= {"gradient", "gradients", "conv_gradient"}
    kinds: dict[str, str] = {}
    for name in kernel.arg_names:
        kinds[name] = "fp32" if name in numbers else "*bf16" if name in halves else "*fp32"
        kinds[name] = "constexpr" if name in sizes else kinds[name]
    aligned: dict[tuple[int, ...], list[list[object]]] = {
        (place,): [["tt.divisibility", 16]] for place, kind in enumerate(kinds.values()) if kind[0] == "*"
    }
    return kinds, aligned


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize(("filters", "side"), [(16, 32), (32, 16), (64, 8), (128, 8)])
def test_kernels_compile_for_hopper(filters: int, side: int) -> None:
    """No GPU is needed for that. A program may have 227 KiB of shared memory."""
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget

    from resdsl.train.kernels import backward, forward
    from resdsl.train.kernels.tuning import Launches

    launches = Launches(128, side, side, filters, tl.bfloat16)
    weights = launches.weights(34)
    jobs = [
        *((forward.convolution, launches.convolution() | {"normalise": bn, "add": bn}) for bn in (False, True)),
        (forward.ending, launches.ending() | {"add": True}),
        (backward.ending_gradient, launches.ending_gradient()),
        *((backward.input_gradient, launches.convolution() | {"masked": is_inner, "add": True}) for is_inner in (0, 1)),
        (backward.weight_gradients, weights),
        (backward.added_parts, launches.added(weights["splits"])),
    ]
    for kernel, sizes in jobs:
        options = {name: sizes.pop(name) for name in ("num_warps", "num_stages") if name in sizes}
        kinds, aligned = arguments(kernel, sizes)
        constants = {(kernel.arg_names.index(name),): value for name, value in sizes.items()}
        source = triton.compiler.ASTSource(fn=kernel, signature=kinds, constexprs=constants, attrs=aligned)
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert compiled.metadata.shared <= 227 * 1024
