"""The fused kernels in Triton's interpreter; `test_fused.py` runs this file in a process of its own.

The interpreter cuts bfloat16 off where a GPU rounds it, which errs twice as far.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import resdsl
from resdsl.emit.torch_regions import RegionMaker
from resdsl.train.fast import FastModels, Pace
from resdsl.train.kernels import match, tuning
from resdsl.train.kernels.chain import fused_chain
from resdsl.train.kernels.match import FusedChain, find_chains, fuse

SPECS = Path(__file__).parents[2] / "specs"
Results = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Layers(nn.Module):
    """Convolutions in a row, each two of them a block with `shortcuts`."""

    def __init__(self, filters: int, count: int, *, shortcuts: bool) -> None:
        super().__init__()
        torch.manual_seed(count)
        self.shortcuts = shortcuts
        self.convs = [nn.Conv2d(filters, filters, 3, padding=1, bias=False) for _ in range(count)]
        self.norms = [nn.BatchNorm2d(filters, eps=1e-3, momentum=0.3) for _ in range(count)]
        self.relus = [nn.ReLU() for _ in range(count)]
        for number, layers in enumerate(zip(self.convs, self.norms, self.relus, strict=True)):
            for name, layer in zip(("conv", "norm", "relu"), layers, strict=True):
                self.add_module(f"{name}{number}", layer)
        for norm in self.norms:
            nn.init.normal_(norm.weight, 1, 0.3)
            nn.init.normal_(norm.bias, 0, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        block = x
        for number, (conv, norm, relu) in enumerate(zip(self.convs, self.norms, self.relus, strict=True)):
            x = norm(conv(x))
            is_end = self.shortcuts and number % 2 == 1
            x = relu(x + block if is_end else x)
            block = x if is_end else block
        return x


def fused(layers: Layers, x: Tensor) -> Tensor:
    return fused_chain(x, layers.convs, layers.norms, shortcuts=layers.shortcuts)


def maps(*shape: int) -> tuple[Tensor, Tensor]:
    """An input and a gradient of the output, both exact in bfloat16."""
    generator = torch.Generator().manual_seed(1)
    x, given = (torch.randn(shape, generator=generator).bfloat16().float() for _ in range(2))
    return x.to(memory_format=torch.channels_last), given


def results(layers: Layers, output: Tensor, x: Tensor, given: Tensor) -> Results:
    output.backward(given.to(output.dtype))  # type: ignore[no-untyped-call]
    found = {"output": output, "x": x.grad}
    found |= {f"{name} (gradient)": weight.grad for name, weight in layers.named_parameters()}
    found |= dict(layers.named_buffers())
    return {name: value.detach().double() for name, value in found.items() if value is not None}


def exact(layers: Layers, x: Tensor, given: Tensor) -> Results:
    layers, x = deepcopy(layers).double(), x.double().requires_grad_()
    return results(layers, layers(x), x, given)


def errors(found: Results, expected: Results) -> dict[str, float]:
    assert found.keys() == expected.keys()
    return {name: float((found[name] - value).norm() / value.norm()) for name, value in expected.items()}


@pytest.mark.parametrize(
    ("shape", "count", "shortcuts"),
    [
        pytest.param((3, 16, 8, 8), 4, True, id="blocks"),
        pytest.param((3, 16, 5, 7), 3, False, id="plain, an odd width"),
        pytest.param((2, 32, 13, 14), 2, True, id="tiles that are not full"),
        pytest.param((2, 64, 4, 3), 2, True, id="many filters"),
    ],
)
def test_values_gradients_and_statistics(shape: tuple[int, ...], count: int, shortcuts: bool) -> None:
    layers = Layers(shape[1], count, shortcuts=shortcuts)
    x, given = maps(*shape)
    expected = exact(layers, x, given)
    x.requires_grad_()
    found = results(layers, fused(layers, x), x, given)
    assert max(errors(found, expected).values()) < 3e-6
    assert found["norm0.num_batches_tracked"] == 1


def test_more_images_than_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three programs for seven images take three, two and two; four neighbours are computed at once."""
    monkeypatch.setattr(tuning, "PROGRAMS", 3)
    monkeypatch.setattr(tuning, "ENDING_PROGRAMS", 2)
    monkeypatch.setitem(tuning.TILINGS, 16, tuning.Tiling(4, 4, 4, 1, 16, 4, 16, 4, 1))
    layers = Layers(16, 2, shortcuts=True)
    x, given = maps(7, 16, 5, 4)
    expected = exact(layers, x, given)
    x.requires_grad_()
    found = results(layers, fused(layers, x), x, given)
    assert max(errors(found, expected).values()) < 3e-6


def test_a_mean_far_above_the_deviation_costs_no_digits() -> None:
    """Sums of squares less the squared mean would be off by a third of the variance here."""
    layers = Layers(16, 2, shortcuts=False)
    with torch.no_grad():  # the centre of the kernel alone: borders would have values of their own
        weight = torch.zeros(16, 16, 3, 3)
        weight[:, :, 1, 1] = torch.eye(16)
        layers.convs[0].weight.copy_(weight)
    x = 1000 + 0.25 * torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(2))
    fused(layers, x.to(memory_format=torch.channels_last))
    kept = layers.norms[0].running_var
    assert isinstance(kept, Tensor)
    expected = 0.7 + 0.3 * x.double().var(dim=(0, 2, 3))
    assert torch.allclose(kept.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shortcuts", [True, False])
def test_in_bfloat16_it_errs_like_autocast(shortcuts: bool) -> None:
    layers = Layers(16, 4, shortcuts=shortcuts)
    with torch.no_grad():
        for conv in layers.convs:
            conv.weight.copy_(conv.weight.bfloat16())
    x, given = maps(4, 16, 8, 8)
    expected = exact(layers, x, given)
    other = deepcopy(layers)
    theirs, ours = (x.bfloat16().requires_grad_() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        output = other(theirs)
    usual = errors(results(other, output, theirs, given), expected)
    found = errors(results(layers, fused(layers, ours), ours, given), expected)
    # Cut off instead of rounded: twice as far, and statistics are off by up to a rounding step, 1/128, all one way.
    apart = {name: (error, usual[name]) for name, error in found.items() if error > 2 * usual[name] + 1 / 128}
    assert not apart


def test_equal_inputs_give_equal_bits() -> None:
    layers = Layers(16, 2, shortcuts=True)
    x, given = maps(3, 16, 6, 6)
    found = []
    for _ in range(2):
        own, ours = x.clone(memory_format=torch.preserve_format).requires_grad_(), deepcopy(layers)
        found.append(results(ours, fused(ours, own), own, given))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_gradients_have_the_type_of_the_weights() -> None:
    """Weights that were cast for a whole network at once."""
    layers = Layers(16, 2, shortcuts=True)
    for conv in layers.convs:
        conv.bfloat16()
    x, given = maps(2, 16, 4, 4)
    x = x.bfloat16().requires_grad_()
    fused(layers, x).backward(given.bfloat16())  # type: ignore[no-untyped-call]
    kinds = {name: weight.grad.dtype for name, weight in layers.named_parameters() if weight.grad is not None}
    assert kinds == {name: weight.dtype for name, weight in layers.named_parameters()}


class Net(nn.Module):
    """A stem, two blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = Layers(16, 4, shortcuts=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return result


def test_training_stays_close_to_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(x: Tensor, *layers: Any, shortcuts: bool) -> Tensor:
        calls.append(len(x))
        return fused_chain(x, *layers, shortcuts=shortcuts)

    monkeypatch.setattr(match, "fused_chain", counted)
    plain = fx.symbolic_trace(Net())
    other = deepcopy(plain)
    nets = {"plain": plain, "fused": fuse(other)}
    images = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(3)
    losses: dict[str, list[float]] = {}
    for name, net in nets.items():
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        losses[name] = []
        for _ in range(4):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(images)
            loss = nn.functional.cross_entropy(logits.float(), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses[name].append(loss.item())
    assert calls == 4 * [3]
    assert losses["plain"][-1] < losses["plain"][0] - 0.3
    assert losses["fused"] == pytest.approx(losses["plain"], abs=0.03)


def test_regions_compiled_around_the_chains_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--engine fused` has it, the weights cast for all layers at once."""
    for filters in (32, 64):  # those of the first stage will do
        monkeypatch.delitem(tuning.TILINGS, filters)
    model = resdsl.load(SPECS / "families" / "resnet_cifar.res", n=2).to_torch()
    calls: list[object] = []

    def backend(graph: fx.GraphModule, _: object) -> fx.GraphModule:
        calls.append(graph)
        return graph

    pace = Pace("fused", regions=RegionMaker, backend=backend)
    twin = FastModels(pace, half=True).twin(model)
    images = torch.randn(4, 3, 16, 8, generator=torch.Generator().manual_seed(4))
    gradients = []
    for module in (model, twin):
        with torch.autocast("cpu", torch.bfloat16):
            module(images).float().square().mean().backward()
        twin.collect()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
        model.zero_grad(set_to_none=True)
    assert len(calls) > 3
    assert sum(isinstance(module, FusedChain) for module in twin.modules()) == 1
    for name, gradient in gradients[0].items():
        found = gradients[1][name]
        assert gradient is not None
        assert found is not None
        assert nn.functional.cosine_similarity(found.flatten(), gradient.flatten(), dim=0) > 0.9, name


def test_other_modes_are_computed_by_the_layers() -> None:
    """Evaluation, statistics without momentum, and float32: bit for bit as without the kernels."""
    net = fx.symbolic_trace(Net())
    together = fuse(deepcopy(net))
    assert any(isinstance(module, FusedChain) for module in together.modules())
    together.load_state_dict(net.state_dict())
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(together(x), net(x))
    with torch.autocast("cpu", torch.bfloat16):
        for both in (net, together):
            for module in both.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = None
        assert torch.equal(together(x), net(x))
        net.eval()
        for norm in find_chains(net)[0].norms:
            assert not norm.training
        together.eval()
        assert torch.equal(together(x), net(x))
    for name, value in net.state_dict().items():
        assert torch.equal(value, together.state_dict()[name])
