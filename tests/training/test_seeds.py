"""Several seeds side by side: each is the run that it is alone, and what comes of them is told as it is."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resdsl.recipe import Recipe, override
from resdsl.recipe_types import Call
from resdsl.train import Evaluation, ResumeError, SeedsResult, SilentReporter, TrainError, loop, step, train_seeds
from resdsl.train.checkpoint import FILE_NAME, load_checkpoint
from resdsl.train.errors import DivergedError, MemoryShortError
from resdsl.train.record import read_metrics
from resdsl.train.seeds_record import read_seeds
from resdsl.train.turns import Place
from tests.training.conftest import digits_recipe
from tests.training.runs import Stopper, require_equal, run
from tests.training.test_failing import Poisoned
from tests.training.test_resume import RandomNet

SHAPE: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "name": "small"}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """For the runs of all tests: bits depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Of a warm-up that each seed ends at a step of its own, and evaluations between two looks."""
    warmup = Call("warmup", (("lr", 0.02), ("until_train_error", 0.85)))
    return digits_recipe(iterations=60, evaluate=30, warmup=warmup, ema=0.9)


@pytest.fixture(scope="module")
def alone(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of three seeds, each by itself, of a net with dropout and stochastic depth."""
    folder = tmp_path_factory.mktemp("alone")
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        run(RandomNet(), override(recipe, seed=seed), folder / f"seed-{seed}")
    return folder


def together(recipe: Recipe, folder: Path, seeds: int = 3, make: Any = RandomNet, **more: Any) -> SeedsResult:
    return train_seeds(make, recipe, folder, seeds=seeds, **SHAPE, **more)


@pytest.mark.usefixtures("no_pictures")
def test_each_seed_is_the_run_that_it_is_alone(tmp_path: Path, recipe: Recipe, alone: Path) -> None:
    drawn = torch.get_rng_state()
    result = together(recipe, tmp_path / "runs")
    assert torch.equal(torch.get_rng_state(), drawn)
    for seed in (1, 2, 3):
        require_equal(alone / f"seed-{seed}", tmp_path / "runs" / f"seed-{seed}")
    ends = {load_checkpoint(alone / f"seed-{seed}" / FILE_NAME)["progress"]["warmup_end"] for seed in (1, 2, 3)}
    assert ends - {None}
    errors = [read_metrics(alone / f"seed-{seed}")[-1]["test_error"] for seed in (1, 2, 3)]
    known = [error for error in errors if error is not None]
    assert len(set(known)) > 1
    assert result.test_error is not None
    assert result.test_error.mean == pytest.approx(mean(known))
    assert result.test_error.deviation == pytest.approx(stdev(known))
    assert (result.stopped_by, result.failed) == (None, ())


class Diary(SilentReporter):
    """Remembers the order in which several runs step and wait."""

    def __init__(self, seed: int, events: list[tuple[int, str]]) -> None:
        self.seed, self.events = seed, events

    def stepped(self, step: int, lr: float) -> None:
        if step % loop.WINDOW == 0:
            self.events.append((self.seed, f"stepped {step}"))

    def measured(self, loss: float, error: float) -> None:
        self.events.append((self.seed, "measured"))

    def evaluated(self, evaluation: Evaluation) -> None:
        self.events.append((self.seed, f"evaluated {evaluation.step}"))


@pytest.mark.usefixtures("no_pictures")
def test_all_have_work_under_way_before_one_is_waited_for(tmp_path: Path) -> None:
    events: list[tuple[int, str]] = []
    recipe = digits_recipe(iterations=50, evaluate=25)
    together(recipe, tmp_path / "runs", 2, reporter_of=lambda seed: Diary(seed, events))
    first = [(1, "stepped 25"), (2, "stepped 25"), (1, "measured"), (1, "evaluated 25"), (1, "stepped 50")]
    assert events[:5] == first
    assert events[5:8] == [(2, "measured"), (2, "evaluated 25"), (2, "stepped 50")]


@pytest.mark.usefixtures("no_pictures")
def test_a_stop_and_going_on(tmp_path: Path, recipe: Recipe, alone: Path) -> None:
    folder = tmp_path / "runs"
    result = together(recipe, folder, reporter_of=lambda seed: Stopper(32 if seed == 2 else None))
    assert result.stopped_by == signal.SIGTERM
    assert result.test_error is None
    steps = [one.result.steps for one in result.runs if one.result is not None]
    assert all(0 < done < 60 for done in steps)
    assert steps[1] == 32
    content = read_seeds(folder)
    assert content is not None
    assert [row["state"] for row in content["runs"]] == ["stopped"] * 3
    with pytest.raises(ResumeError, match="are of seeds 1 to 3; they cannot go on as seeds 1 to 2"):
        together(recipe, folder, 2, resume=True)
    with pytest.raises(ResumeError, match="holds one run, not those of several seeds"):
        together(recipe, folder / "seed-1", resume=True)
    with pytest.raises(TrainError, match="there is no folder"):
        together(recipe, tmp_path / "none", resume=True)
    with pytest.raises(TrainError, match="is not empty"):
        together(recipe, folder)
    # One goes on alone, and one was killed before it was there.
    run(RandomNet(), recipe, folder / "seed-1", resume=True)
    shutil.rmtree(folder / "seed-3")
    (folder / "seed-3").mkdir()
    (folder / "seed-3" / ".resdsl-1.tmp").touch()
    notes: list[Stopper] = []

    def told(seed: int) -> Stopper:
        notes.append(Stopper())
        return notes[-1]

    again = together(recipe, folder, resume=True, reporter_of=told)
    assert f"the run in {folder / 'seed-1'} is already finished" in notes[0].notes
    assert again.test_error is not None
    for seed in (1, 2, 3):
        require_equal(alone / f"seed-{seed}", folder / f"seed-{seed}")


@pytest.mark.usefixtures("no_pictures")
def test_one_that_fails_leaves_the_others(tmp_path: Path, recipe: Recipe, alone: Path) -> None:
    made = 0

    class Doomed(RandomNet):
        """The second one gives infinities from its 31st batch on."""

        def __init__(self) -> None:
            nonlocal made
            super().__init__()
            made += 1
            self.end = Poisoned() if made == 2 else None

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = super().forward(images)
            return logits if self.end is None else self.end(logits)

    notes = Stopper()
    result = together(recipe, tmp_path / "runs", make=Doomed, reporter_of=lambda seed: notes)
    (failed,) = result.failed
    assert failed.seed == 2
    assert isinstance(failed.failure, DivergedError)
    assert "iteration 31" in str(failed.failure)
    assert any("the others go on" in note for note in notes.notes)
    for seed in (1, 3):
        require_equal(alone / f"seed-{seed}", tmp_path / "runs" / f"seed-{seed}")
    assert result.test_error is not None
    assert result.test_error.count == 2
    content = read_seeds(tmp_path / "runs")
    assert content is not None
    assert [row["state"] for row in content["runs"]] == ["finished", "failed", "finished"]
    page = (tmp_path / "runs" / "README.md").read_text()
    assert "mean and standard deviation (n - 1) of 2 seeds" in page


@pytest.mark.usefixtures("no_pictures")
def test_out_of_memory_says_to_take_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, make_step = 0, step.make_step

    def make(*args: Any) -> Callable[..., Any]:
        nonlocal made
        made += 1
        if made == 1:
            return make_step(*args)

        def starved(inputs: Tensor, targets: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

        return starved

    recipe = digits_recipe(iterations=3)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_step", make)
        result = together(recipe, tmp_path / "runs", 2)
    (failed,) = result.failed
    assert isinstance(failed.failure, MemoryShortError)
    assert "at iteration 1 with 2 runs side by side: take fewer seeds at once" in str(failed.failure)
    assert together(recipe, tmp_path / "runs", 2, resume=True).failed == ()


def test_a_place_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that are made for one: its stream and its state of the generator, within a turn only."""
    entered: list[str] = []

    class Stream:
        device = torch.device("cuda", 0)

        def __init__(self, device: torch.device) -> None:
            assert device.type == "cuda"

    class Generator:
        state = "of the process"

        def clone_state(self) -> str:
            return "of the run"

        def graphsafe_get_state(self) -> str:
            return self.state

        def graphsafe_set_state(self, state: str) -> None:
            self.state = state

    @contextmanager
    def in_stream(stream: Stream) -> Any:
        entered.append("in")
        yield
        entered.append("out")

    generator = Generator()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", in_stream)
    monkeypatch.setattr(torch.cuda, "default_generators", (generator,))
    place = Place(torch.device("cuda"), alone=False)
    for _ in range(2):
        with place:
            assert generator.state == "of the run"
            assert entered[-1] == "in"
        assert generator.state == "of the process"
    assert entered == ["in", "out"] * 2
    with Place(torch.device("cuda"), alone=True):
        assert generator.state == "of the process"


def test_places_draw_apart() -> None:
    torch.manual_seed(7)
    outside = torch.get_rng_state()
    places = [Place(torch.device("cpu"), alone=False) for _ in range(2)]
    drawn: list[list[float]] = [[], []]
    for seed, place in enumerate(places):
        with place:
            torch.manual_seed(seed)
    for _ in range(2):
        for place, numbers in zip(places, drawn, strict=True):
            with place:
                numbers.append(nn.functional.dropout(torch.ones(64)).sum().item())
    assert torch.equal(torch.get_rng_state(), outside)
    for seed, numbers in enumerate(drawn):
        torch.manual_seed(seed)
        assert numbers == [nn.functional.dropout(torch.ones(64)).sum().item() for _ in range(2)]
