"""`resdsl bench`: what is measured is the runner's own work, and whatever it is compared with is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import resdsl
from resdsl.cli.main import main
from resdsl.recipe import Recipe
from resdsl.train import bench as benching
from resdsl.train import bench_subject
from resdsl.train.bench import Measured, Other, bench, bench_recipe
from resdsl.train.errors import MemoryShortError
from resdsl.train.loop import Run
from resdsl.weights.peers_alike import alike_networks

CPU = torch.device("cpu")
SPEC = """network tiny {
  input 3 x 16 x 16
  conv(3x3, 4) -> bn -> relu -> global_avg_pool -> linear(10)
}
"""
RECIPE = "train { data synthetic(size = 16); batch 12; optimizer sgd(lr = 0.1); iterations 9 }\n"
QUICK: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "device": CPU, "seconds": 0.02, "rounds": 2}

Make = Callable[..., Recipe]
MakeNet = Callable[..., nn.Module]


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_subject, "MOST_IMAGES", 32)
    torch.set_num_threads(1)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "tiny.res"
    path.write_text(SPEC)
    return str(path)


def test_training_goes_through_the_runner_and_peers_take_turns(
    make_net: MakeNet, make_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    whole = Run.advance

    def advance(run: Run) -> torch.Tensor:
        order.append("ours")
        return whole(run)

    monkeypatch.setattr(Run, "advance", advance)

    def watched() -> nn.Module:
        net = make_net()
        net.register_forward_pre_hook(lambda *_: order.append("theirs" if net.training else "tested"))
        return net

    recipe = bench_recipe(make_recipe(), 4, (1, 8, 8))
    found = bench(make_net, recipe, [Other("peer", watched)], **QUICK)
    assert [(row.name, row.kind) for row in found] == [
        ("resdsl", "training"),
        ("peer", "training"),
        ("resdsl", "inference"),
        ("peer", "inference"),
    ]
    assert all(len(row.rounds) == 2 and row.median > 0 and not row.failure for row in found)
    changes = sum(a != b for a, b in pairwise(order))
    assert order.count("tested") > 0
    assert changes >= 2 * 2 + 1  # two rounds and the one before them, each of both


def test_images_a_second_are_those_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def job(batches: int) -> None:
        nonlocal now
        now += 0.5 * batches

    monkeypatch.setattr("time.perf_counter", lambda: now)
    measured = Measured("net", "training", "")
    benching._take_turns([(measured, job)], 32, 3, 2.0)
    assert measured.rounds == [64.0] * 3
    assert measured.quartiles == (64.0, 64.0)


def test_the_recipe_is_the_written_one_where_there_is_one(make_recipe: Make) -> None:
    written = make_recipe(label_smoothing=0.1)
    recipe = bench_recipe(written, 8, (1, 8, 8))
    assert (recipe.batch, recipe.label_smoothing, recipe.optimizer) == (8, 0.1, written.optimizer)
    assert bench_recipe(None, None, (3, 16, 16)).batch == 128
    imagenet = resdsl.load("specs/resnet50.res").recipe
    assert imagenet is not None
    # What workers do in a run is not done on the device.
    assert bench_recipe(imagenet, 8, (3, 224, 224)).augment[0].name == "flip"


def test_what_does_not_fit_gives_the_largest_that_does(
    make_net: MakeNet, make_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Run.advance

    def advance(run: Run) -> torch.Tensor:
        if run.recipe.batch > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(run)

    monkeypatch.setattr(Run, "advance", advance)
    recipe = bench_recipe(make_recipe(), 16, (1, 8, 8))
    with pytest.raises(MemoryShortError, match="in training with batch 16: about 5 fit"):
        bench(make_net, recipe, **QUICK)


def test_a_peer_that_fails_costs_its_row_only(make_net: MakeNet, make_recipe: Make) -> None:
    def broken() -> nn.Module:
        raise ValueError("no such weights")

    found = bench(make_net, bench_recipe(make_recipe(), 4, (1, 8, 8)), [Other("peer", broken)], **QUICK)
    assert [row.failure for row in found] == ["", "ValueError: no such weights"] * 2


def test_as_json(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", spec, "--batch", "4", "--seconds", "0.02", "--device", "cpu", "--rounds", "2", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["batch"] == 4
    assert {"Python", "torch", "torchvision"} <= content["versions"].keys()
    assert "CPU" in content["device"]
    training, inference = content["results"]
    assert (training["what"], inference["what"]) == ("training", "inference")
    assert training["macs"] == resdsl.load(spec).macs
    assert training["parameters"] == resdsl.load(spec).parameters
    assert training["peak_memory"] is None  # measured on a GPU only
    assert len(training["images_per_second"]["rounds"]) == 2


def test_as_a_table(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", spec, "--batch", "4", "--seconds", "0.02", "--device", "cpu", "--only", "inference"]) == 0
    shown = capsys.readouterr().out
    assert "batch 4 of 3 x 16 x 16 on CPU" in shown
    assert "inference" in shown
    assert "training" not in shown


def test_the_table_fits_a_terminal_of_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.res"
    path.write_text(SPEC.replace("tiny", "resnet50_v15"))
    options = ["--batch", "4", "--device", "cpu", "--seconds", "0.02", "--rounds", "1", "--no-peers"]
    assert main(["bench", str(path), *options]) == 0
    shown = capsys.readouterr().out
    table, _, told = shown.partition("\n\nresdsl:resnet50_v15: ")
    assert max(map(len, table.splitlines())) <= 80
    assert told.startswith("166 parameters, 27,688 multiply-adds; the runner, engine plain")
    assert "1 thread\n" in table
    assert "; 1 round in turn\n" in told


@pytest.mark.parametrize(
    ("text", "options", "code", "words"),
    [
        (SPEC, ["--batch", "0"], 2, "a whole number above 0"),
        (SPEC, ["--seconds", "nan"], 2, "seconds above 0"),
        (SPEC, ["--device", "tpu"], 2, "invalid choice: 'tpu'"),
        (SPEC, ["--peer", "timm:no_such_net"], 1, "timm has no model"),
        (SPEC, ["--peer", "jax:net"], 1, "is not LIBRARY:MODEL"),
        (SPEC, ["--setting", "accumulate 3"], 1, "has none"),
        (SPEC + RECIPE, ["--setting", "accumulate 3", "--batch", "4"], 1, "into 3 equal parts"),
        (SPEC.replace(" -> global_avg_pool -> linear(10)", ""), [], 1, "tiny gives a map"),
        (SPEC.replace("16 x 16", "H x W"), [], 1, "choose one with --input"),
    ],
)
def test_wrong_use_is_one_clear_line(
    text: str, options: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.res"
    path.write_text(text)
    assert main(["bench", str(path), "--device", "cpu", "--seconds", "0.02", *options]) == code
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_a_gpu_that_is_not_there(
    spec: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["bench", spec, "--device", "cuda"]) == 1
    assert "finds no CUDA device" in capsys.readouterr().err


def test_peers_are_found_and_compared() -> None:
    (same,) = alike_networks(resdsl.load("specs/resnet18.res").retarget(input="3 x 32 x 32"), ("torchvision:resnet18",))
    assert same.is_same
    assert same.remark.startswith("the same network")
    found = alike_networks(resdsl.load("specs/resnet18.res").retarget(input="3 x 32 x 32"))
    assert found[0].name == "torchvision:resnet18"


def test_a_peer_that_strides_elsewhere_is_another_network() -> None:
    net = resdsl.load("specs/resnet50.res").retarget(input="3 x 32 x 32")
    (other,) = alike_networks(net, ("torchvision:resnet50",))
    assert not other.is_same
    assert "other outputs with the same weights" in other.remark
    assert "multiply-adds instead of" in other.remark
    assert "--network resnet50_v15" in other.remark
