"""A module in regions computes what the module does, and each distinct block is compiled once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import resdsl
from resdsl.emit.torch_regions import RegionMaker
from tests.emit.test_torch_source import NETWORKS, SPECS

Function = Callable[..., Any]
RESNETS = Path(__file__).parents[2] / "specs" / "cifar_resnets.res"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def unchanged(function: Function) -> Function:
    return function


def results(module: nn.Module, inputs: Tensor) -> list[Tensor]:
    """What a module gives for the inputs, with the same random numbers each time; its gradients are left behind."""
    torch.manual_seed(5)
    given = module(inputs)
    found = list(given) if isinstance(given, tuple) else [given]
    torch.stack([result.sum() for result in found]).sum().backward()  # type: ignore[no-untyped-call]
    return found


def require_same_results(module: nn.Module, regions: nn.Module, shape: tuple[Any, ...]) -> None:
    """Outputs, gradients and statistics of regions of a module are those of a copy of it."""
    other = deepcopy(module)
    sides = [side if isinstance(side, int) else 16 for side in shape]
    inputs = torch.randn(2, *sides, generator=torch.Generator().manual_seed(3))
    for is_training in (True, False):
        for one in (regions, other):
            one.train(is_training)
        for found, expected in zip(results(regions, inputs), results(other, inputs), strict=True):
            assert torch.equal(found, expected)
    for (name, weight), copied in zip(module.named_parameters(), other.parameters(), strict=True):
        assert (weight.grad is None) == (copied.grad is None), name
        assert weight.grad is None or copied.grad is None or torch.equal(weight.grad, copied.grad), name
    for (name, buffer), same in zip(module.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(buffer, same), name


@pytest.mark.parametrize(("file", "name"), NETWORKS)
def test_regions_compute_what_the_module_does(file: str, name: str) -> None:
    net = resdsl.load(SPECS / file, name)
    module = net.to_torch(auxiliary=bool(net.auxiliary_weights))
    require_same_results(module, RegionMaker(unchanged)(module), net.input_shape)


def test_equal_blocks_share_one_function() -> None:
    functions: list[Function] = []

    def wrap(function: Function) -> Function:
        functions.append(function)
        return function

    make = RegionMaker(wrap)
    module = resdsl.load(RESNETS, "resnet110").to_torch()
    chain = make(module)
    # The stem, the head, and in the stages one kind of block, or two where the first changes the size.
    assert len(list(next(iter(chain.children())).children())) == 56
    assert len(functions) == 7
    # The average of the weights, which evaluations compute, has the same blocks; a shallower net has no others.
    make(deepcopy(module))
    make(resdsl.load(RESNETS, "resnet20").to_torch())
    assert len(functions) == 7
    assert {id(weight) for weight in chain.parameters()} == {id(weight) for weight in module.parameters()}


def test_each_kind_is_compiled_once_for_training_and_once_for_evaluation() -> None:
    compiled: list[fx.GraphModule] = []

    def backend(graph: fx.GraphModule, inputs: list[Tensor]) -> Function:
        compiled.append(graph)
        return graph.forward

    net = resdsl.load(RESNETS, "resnet32")
    module = net.to_torch()
    chain = RegionMaker(lambda function: torch.compile(function, backend=backend, dynamic=False))(module)
    other = deepcopy(module)
    inputs = torch.randn(2, 3, 32, 32)
    for count in (7, 7):
        for found, expected in zip(results(chain, inputs), results(other, inputs), strict=True):
            assert torch.equal(found, expected)
        assert len(compiled) == count
    chain.eval()
    other.eval()
    with torch.inference_mode():
        assert torch.equal(chain(inputs), other(inputs))
    assert len(compiled) == 14
