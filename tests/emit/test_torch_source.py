"""The emitted source: the same network as the module to the last bit, short, readable, and safe from any name."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import resdsl
from resdsl.compiler import compile_network
from resdsl.source import SourceFile

SPECS = Path(__file__).parent / "specs"
RESNET34 = Path(__file__).parents[2] / "specs" / "resnet34.res"
FREE_SIZE = 16

CHECKED = {path.name: resdsl.check_file(str(path)) for path in sorted(SPECS.glob("*.res"))}
NETWORKS = [(file, network.name) for file, result in CHECKED.items() for network in result.networks]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small maps are not worth the threads, which tests running beside would wait for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(file: str, name: str | None = None, **parameters: Any) -> resdsl.Net:
    return resdsl.load(SPECS / file, name, **parameters)


def import_source(text: str, folder: Path, name: str = "emitted") -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec.loader.exec_module(module)
    return module


def network_class(module: ModuleType) -> Callable[..., nn.Module]:
    """The last class of the file is the network's."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    found: Callable[..., nn.Module] = [value for value in own if isinstance(value, type)][-1]
    return found


def input_for(net: resdsl.Net, batch: int = 2) -> Tensor:
    return torch.randn(batch, *(extent if isinstance(extent, int) else FREE_SIZE for extent in net.input_shape))


def run(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs, the input's gradient and all weights' gradients."""
    model.zero_grad()
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    outputs = model(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.autograd.backward([(output * output).sum() for output in outputs])
    gradients = [weight.grad for weight in model.parameters()]
    assert x.grad is not None
    return [*outputs, x.grad, *(gradient for gradient in gradients if gradient is not None)]


def assert_same(net: resdsl.Net, make: Callable[..., nn.Module], *, auxiliary: bool = False) -> None:
    reference = net.to_torch(auxiliary=auxiliary)
    own = make(auxiliary=True) if auxiliary else make()
    wanted, found = reference.state_dict(), own.state_dict()
    assert list(found) == list(wanted)
    assert [value.shape for value in found.values()] == [value.shape for value in wanted.values()]
    for value in wanted.values():
        if value.dim() == 1:
            # Zeros and ones as first weights would hide what is wrongly wired.
            value.add_(torch.rand_like(value) * 0.1)
    own.load_state_dict(wanted)
    x = input_for(net)
    for is_training in (True, False):
        reference.train(is_training)
        own.train(is_training)
        for expected, result in zip(run(reference, x), run(own, x), strict=True):
            assert expected.isfinite().all()
            assert torch.equal(expected, result)
    assert all(torch.equal(wanted[key], found) for key, found in own.state_dict().items())


def test_the_specs_are_sound() -> None:
    assert not [diagnostic for result in CHECKED.values() for diagnostic in result.diagnostics]
    assert len(NETWORKS) >= 19


@pytest.mark.parametrize(("file", "name"), NETWORKS)
def test_source_and_module_agree_bit_by_bit(file: str, name: str, tmp_path: Path) -> None:
    net = load(file, name)
    make = network_class(import_source(net.to_source(), tmp_path))
    assert_same(net, make)
    if net.network.auxiliaries:
        assert_same(net, make, auxiliary=True)


def test_it_is_written_the_same_twice() -> None:
    assert [load(*network).to_source() for network in NETWORKS] == [load(*network).to_source() for network in NETWORKS]


# --- readable ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"), [(RESNET34, "resnet34"), (SPECS / "cifar.res", "resnet20"), (SPECS / "inception.res", None)]
)
def test_golden(path: Path, name: str | None, golden: Callable[[str, Path], None]) -> None:
    text = resdsl.load(path, name).to_source()
    text = re.sub(r"(?<=^# meaning )\w{64}$", "...", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=^# made by resdsl ).*$", "...", text, flags=re.MULTILINE)
    golden(text, Path("golden") / f"{name or path.stem}.py.txt")


def test_loops_stay_loops() -> None:
    short = load("cifar.res", "resnet20").to_source().splitlines()
    assert len(load("cifar.res", "resnet20", n=200).to_source().splitlines()) == len(short) <= 100
    assert len(resdsl.load(RESNET34).to_source().splitlines()) <= 110


def test_values_that_grow_with_the_index_become_a_list() -> None:
    text = load("cifar.res", "thinned").to_source()
    assert "drop in drop_list)" in text
    assert len(text.splitlines()) < 150


def test_widths_are_named_after_what_they_are() -> None:
    text = load("residual.res", "residual", bottom="bottleneck").to_source()
    assert "def __init__(self, in_channels: int, channels: int, *, stride: int = 1) -> None:" in text
    assert "nn.BatchNorm2d(channels * 4)" in text
    assert "BottleneckProjection(32, 16, stride=2)" in text


@pytest.mark.parametrize(("file", "name"), NETWORKS)
def test_the_common_formatter_leaves_it_alone(file: str, name: str) -> None:
    program = Path(sys.executable).with_name("ruff")
    if not program.exists():
        pytest.skip("ruff is not installed")
    text = load(file, name).to_source()
    command = [str(program), "format", "--isolated", "--line-length", "120", "-"]
    formatted = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    assert formatted == text


# --- by itself -----------------------------------------------------------------------------------------------------


def imported_names(text: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize(("file", "name"), NETWORKS)
def test_it_needs_nothing_but_torch(file: str, name: str) -> None:
    assert imported_names(load(file, name).to_source()) <= {"__future__", "collections", "torch", "torch.nn"}


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    net = load("cifar.res", "resnet20")
    path.write_text(net.to_source(), encoding="utf-8")
    command = [sys.executable, "-I", "-W", "error", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines() == [f"{net.parameters:,} parameters", "(1, 10)"]


def test_its_first_weights_are_those_of_he(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = load("plain.res", "sequence")
    own, reference = network_class(import_source(net.to_source(), tmp_path))(), net.to_torch()
    for (name, mine), theirs in zip(own.named_parameters(), reference.parameters(), strict=True):
        if mine.dim() == 1:
            assert torch.equal(mine, theirs), name
        else:
            assert torch.isclose(mine.std(), theirs.std(), rtol=4 / mine.numel() ** 0.5), name


@pytest.mark.parametrize(("file", "name", "key", "value"), [
    ("residual.res", "gates", "conv3.0.gate.conv1.bias", -2.0),
    ("depth.res", "stochastic", "c1.1.bn2.weight", 0.0),
    ("inception.res", "inception_net", "aux2.conv1.bias", 0.25),
])  # fmt: skip
def test_stated_first_values_are_kept(file: str, name: str, key: str, value: float, tmp_path: Path) -> None:
    net = load(file, name)
    make = network_class(import_source(net.to_source(), tmp_path))
    model = make(auxiliary=True) if net.network.auxiliaries else make()
    assert model.state_dict()[key].eq(value).all()


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    ["class", "None", "train", "forward", "nn", "torch", "self", "add_module", "modules", "_", "__x", "__init__"],
)
def test_any_name_may_be_given(word: str, tmp_path: Path) -> None:
    spec = f"""
block {word.upper()} {{ concat {{ branch {word} {{ conv(1x1, 2) as {word} -> relu }} branch {{ relu }} }} }}
network {word}_net {{
  input 3 x 4 x 4
  stem {{ conv(1x1, 4) -> relu }}
  stage {word} {{ 2 x {word.upper()} -> conv(1x1, 4) -> relu -> {word.upper()} }}
  head {{ global_avg_pool -> linear(2) }}
}}
"""
    net = compile_network(SourceFile("names.res", spec))
    assert_same(net, network_class(import_source(net.to_source(), tmp_path)))


@pytest.mark.parametrize(
    "path", ['"""\nimport os\n"""', "a\r\nimport os", "\\", "'\u2028x = 1", 'ends with "', "\ud800"]
)
def test_a_path_cannot_break_out(path: str, tmp_path: Path) -> None:
    spec = "block b { conv(1x1, 2) }\nnetwork n { input 3 x 4 x 4; b }\n"
    text = compile_network(SourceFile(path, spec)).to_source()
    module = import_source(text, tmp_path)
    assert not hasattr(module, "os")
    assert not hasattr(module, "x")
    assert imported_names(text) == {"__future__", "torch"}
