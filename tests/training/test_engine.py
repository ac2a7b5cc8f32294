"""Whole steps recorded and played back: the same run as without, or a note that says why it is computed plainly."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resdsl.cli import device
from resdsl.recipe import Recipe
from resdsl.recipe_types import Call
from resdsl.train import TrainError, fast, session, train, verify_resume
from resdsl.train.data import DataSet
from resdsl.train.engine import REHEARSALS
from resdsl.train.errors import MemoryShortError
from resdsl.train.fast import ENGINES, Pace, choose_engine
from resdsl.train.interrupt import Interrupt
from resdsl.train.record_graph import Work
from resdsl.train.rescue import guarded_turns
from resdsl.train.twin import Twin
from resdsl.train.verify import first_difference
from tests.training.runs import Make, MakeNet, Stopper
from tests.training.test_plan import CPU, EVERYTHING, STEPS, open_run, require_same_tensors, walk

# A rate that float32 has, so that reading it from the device makes no difference.
EXACT = {"optimizer": Call("sgd", (("lr", 0.125),)), "batch": 20, "iterations": STEPS}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="records CUDA graphs, which needs a GPU")


class Tape:
    """Records work as a graph does, but in Python; tells of `waits`, and plays back what `change` makes of the work."""

    def __init__(self, waits: str = "", change: Callable[[Work], Work] = lambda work: work) -> None:
        self.waits, self.change = waits, change
        self.rehearsed = self.recorded = self.played = 0

    def rehearse(self, work: Work) -> tuple[Tensor, str]:
        self.rehearsed += 1
        return work(), self.waits

    def record(self, work: Work) -> Work:
        self.recorded += 1
        work = self.change(work)

        def play() -> Tensor:
            self.played += 1
            return work()

        return play


def both(
    tmp_path: Path, recipe: Recipe, make_net: MakeNet, pace: Pace
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The states of a plain and of a fast run at the end, and what the latter noted."""
    listener = Stopper()
    runs = open_run(recipe, make_net(), tmp_path), open_run(recipe, make_net(), tmp_path, pace, reporter=listener)
    for run in runs:
        run.prepare()
        walk(run, 0, STEPS)
    return runs[0].state(), runs[1].state(), listener.notes


@pytest.mark.parametrize("settings", [{}, EVERYTHING | {"ema": 0.9, "schedule": Call("constant")}])
def test_a_recorded_step_is_the_plain_one(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, settings: dict[str, Any]
) -> None:
    tape = Tape()
    plain, recorded, notes = both(tmp_path, make_recipe(**EXACT, **settings), make_net, Pace("graph", recorder=tape))
    assert first_difference(plain, recorded) is None
    assert notes == []
    # The step at which it is recorded is played once to compare, and done by hand.
    assert (tape.rehearsed, tape.recorded, tape.played) == (REHEARSALS, 1, STEPS - REHEARSALS)


def fails(message: str) -> Callable[[Work], Work]:
    def change(work: Work) -> Work:
        raise RuntimeError(message)

    return change


def twice(work: Work) -> Work:
    def play() -> Tensor:
        work()
        return work()

    return play


@pytest.mark.parametrize(
    ("tape", "reason"),
    [
        (Tape(waits="somewhere.py:7 waits for the device"), "somewhere.py:7 waits for the device"),
        (Tape(change=fails("operation not permitted when stream is capturing\nmore")), "operation not permitted"),
        (Tape(change=twice), "becomes another in a graph"),
    ],
)
def test_what_cannot_be_recorded_is_computed_plainly(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, tape: Tape, reason: str
) -> None:
    plain, recorded, notes = both(tmp_path, make_recipe(**EXACT, ema=0.9), make_net, Pace("graph", recorder=tape))
    assert first_difference(plain, recorded) is None
    assert len(notes) == 1
    assert reason in notes[0]
    assert "more" not in notes[0]
    assert tape.recorded <= 1


class Wrong(nn.Module):
    """Trains something else than the model it is given."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs)
        return logits + 0.5 * logits.roll(1, dims=1)


def test_a_wrong_fast_path_is_found_before_the_first_step(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(**EXACT)
    listener, tape = Stopper(), Tape()
    pace = Pace("compiled", regions=lambda wrap: Wrong, recorder=tape)
    run = open_run(recipe, make_net(), tmp_path, pace, reporter=listener)
    before, random = deepcopy(run.model.state_dict()), torch.get_rng_state()
    run.prepare()
    assert ["(gradient)" in listener.notes[0], "other logits" in listener.notes[1]] == [True, True]
    assert first_difference(dict(before), dict(run.model.state_dict())) is None
    assert torch.equal(torch.get_rng_state(), random)
    walk(run, 0, STEPS)
    plain = open_run(recipe, make_net(), tmp_path)
    walk(plain, 0, STEPS)
    require_same_tensors(plain.model, run.model)
    assert (tape.rehearsed, tape.recorded) == (0, 0)


class Broken(Wrong):
    """Cannot be compiled, which shows once it has begun."""

    def forward(self, inputs: Tensor) -> Tensor:
        super().forward(inputs)
        raise LookupError("there is no Python.h\nmore")


def test_what_cannot_be_compiled_is_computed_plainly(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    pace = Pace("compiled", regions=lambda wrap: Broken, recorder=Tape())
    plain, other, notes = both(tmp_path, make_recipe(**EXACT), make_net, pace)
    assert first_difference(plain, other) is None
    assert ["LookupError: there is no Python.h" in note and "more" not in note for note in notes] == [True, True]


def test_compiled_parts_train_the_same(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    compiled: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        compiled.append(graph)
        return graph.forward

    plain, recorded, notes = both(
        tmp_path, make_recipe(**EXACT), make_net, Pace("compiled", recorder=Tape(), backend=backend)
    )
    assert notes == []
    assert compiled
    assert first_difference(plain, recorded) is None


def test_out_of_memory_while_recording_is_told(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    tape = Tape(change=fails("CUDA out of memory. Tried to allocate 2 GiB"))
    run = open_run(make_recipe(**EXACT), make_net(), tmp_path, Pace("graph", recorder=tape))
    with pytest.raises(MemoryShortError, match=f"at iteration {REHEARSALS + 1} with 20 images"):
        list(guarded_turns(run, Interrupt(), None, is_new=False))


def test_going_on_with_recorded_steps(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(**EXACT | {"optimizer": Call("adamw", (("lr", 2**-9),))}, ema=0.9)
    whole, stopped, again = (open_run(recipe, make_net(), tmp_path, Pace("graph", recorder=Tape())) for _ in range(3))
    walk(whole, 0, STEPS)
    walk(stopped, 0, 17)
    saved = deepcopy(stopped.state())
    assert {type(group["lr"]) for group in saved["optimizer"]["param_groups"]} == {float}
    again.restore(saved)
    walk(again, 17, STEPS)
    assert first_difference(whole.state(), again.state()) is None


def test_evaluations_by_the_twin(make_net: MakeNet) -> None:
    model = make_net().eval()
    twin = Twin(model, half=False)
    sizes: list[int] = []
    twin.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    notes: list[str] = []
    tested = fast.Tested(model, twin, notes.append).eval()
    inputs = torch.rand(20, 1, 8, 8)
    for part in inputs.split(8):  # type: ignore[no-untyped-call]
        assert torch.allclose(tested(part), model(part), atol=1e-6)
    assert sizes == [8, 8, 8]
    assert notes == []


def test_evaluations_have_one_layout() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    twin = Twin(model, half=False)
    strides: set[tuple[int, ...]] = set()
    twin.register_forward_pre_hook(lambda module, inputs: strides.add(inputs[0].stride()))
    tested = fast.Tested(model, twin, lambda text: None).eval()
    for part in torch.rand(20, 3, 8, 8).split(8):  # type: ignore[no-untyped-call]
        tested(part.contiguous(memory_format=torch.channels_last))
    assert strides == {(192, 1, 24, 3)}  # another one would be compiled again


def test_the_choice_of_an_engine(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    assert ENGINES == device._ENGINES
    assert [choose_engine(name, CPU) for name in ENGINES[:2]] == ["plain", "plain"]
    for name in ENGINES[2:]:
        with pytest.raises(TrainError, match="needs a GPU"):
            train(make_net(), make_recipe(), tmp_path / "run", classes=10, input_shape=(1, 8, 8), name="n", engine=name)
    assert not (tmp_path / "run").exists()


def test_the_host_lets_go_of_images_that_the_device_has(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[DataSet]] = []

    class Watched(DataSet):
        """One that can be watched."""

    def watched(*args: Any) -> DataSet:
        data = open_data(*args)
        data = Watched(data.classes, data.train, data.validation, data.test)
        held.append(weakref.ref(data))
        return data

    class Looker(Stopper):
        def stepped(self, step: int, lr: float) -> None:
            assert held[0]() is None

    open_data = session.open_data
    monkeypatch.setattr(session, "open_data", watched)
    shape: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "name": "small"}
    assert train(make_net(), make_recipe(iterations=2), tmp_path / "run", reporter=Looker(), **shape).steps == 2


@pytest.mark.parametrize("parts", [1, 2])
def test_a_twin_in_bf16_gives_the_bits_of_autocast(make_net: MakeNet, parts: int) -> None:
    plain, shared = make_net(), make_net()
    twin = Twin(shared, half=True)
    generator = torch.Generator().manual_seed(1)
    for step in range(2):
        with torch.no_grad():
            for model in (plain, shared):
                for weight in model.parameters():
                    weight.add_(0.01 * step)
        for _ in range(parts):
            inputs = torch.rand(8, 1, 8, 8, generator=generator)
            for module in (plain, twin):
                with torch.autocast("cpu", torch.bfloat16):
                    logits = module(inputs)
                logits.float().square().mean().backward()
            twin.collect()
    require_same_tensors(plain, shared)
    assert int(shared.get_buffer("body.1.num_batches_tracked")) == 2 * parts
    for ours, theirs in zip(shared.parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


# --- on a GPU -------------------------------------------------------------------------------------------------------


@needs_gpu
@pytest.mark.parametrize("engine", ["graph", "compiled"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_engines_agree_on_a_gpu(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, engine: str, optimizer: str
) -> None:
    settings = EVERYTHING | {"ema": 0.9, "ema_warmup": True, "optimizer": Call(optimizer, (("lr", 0.01),))}
    recipe = make_recipe(iterations=40, mix=Call("mixup_or_cutmix", (("p", 0.7),)), **settings)
    weights = []
    for name in ("plain", engine):
        listener = Stopper()
        model = make_net()
        shape: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "name": "small"}
        train(model, recipe, tmp_path / name, device="cuda", engine=name, reporter=listener, **shape)
        assert not any("one by one" in note for note in listener.notes)
        weights.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    moved = weights[0] - torch.cat([weight.detach().flatten() for weight in make_net().parameters()]).cuda()
    assert (weights[0] - weights[1]).norm() < 0.1 * moved.norm()


@needs_gpu
@pytest.mark.parametrize("engine", ["graph", "compiled"])
def test_resuming_is_exact_on_a_gpu(make_recipe: Make, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    def drawing_net() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))

    shape: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "device": "cuda", "deterministic": True}
    recipe = make_recipe(ema=0.9)
    assert verify_resume(drawing_net, recipe, engine=engine, steps=16, **shape) is None


@needs_gpu
def test_a_step_that_waits_is_computed_plainly_on_a_gpu(tmp_path: Path, make_recipe: Make) -> None:
    class Waits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.layer(images.flatten(1))
            return logits * (1.0 if logits.sum().item() < 1e9 else 0.5)

    listener = Stopper()
    shape: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "name": "waits", "device": "cuda"}
    train(Waits(), make_recipe(iterations=20), tmp_path / "run", engine="graph", reporter=listener, **shape)
    assert any("waits for the device" in note for note in listener.notes)
