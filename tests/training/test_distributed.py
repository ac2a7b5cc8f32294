"""Several processes train one network: with the result of one process, one writer, one message, and one end."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from resdsl.cli.console import Console
from resdsl.cli.together import SharedConsole, is_one_of_several, is_silent, run_together
from resdsl.recipe_types import Call
from resdsl.train import ALONE, TrainError, World, parallel
from resdsl.train.checkpoint import FILE_NAME, load_checkpoint
from resdsl.train.consent import Consent
from resdsl.train.data import ImageSet
from resdsl.train.distributed import check_batch, tells_of_another
from resdsl.train.diverged import Fault
from resdsl.train.mix import draw_mix, mix_batch
from resdsl.train.record import read_metrics
from resdsl.train.rescue import _first_of_all
from resdsl.train.shards import Shard
from resdsl.train.stream import EpochDraws
from resdsl.transfer.freezing import fix_batch_norm
from tests.training.conftest import SmallNet
from tests.training.runs import Make, Stopper, require_equal
from tests.training.several import CASES, CROPPED, run_case, run_drawing

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
LIMIT = 120  # seconds; far more than any of these takes
NET = """
network small {
  input 1 x 8 x 8
  conv(3x3, 8) -> bn -> relu -> global_avg_pool -> linear(10)
}

train {
  data digits(size = 8)
  batch 32
  optimizer sgd(lr = 0.05)
  iterations 100k
  evaluate 100
}
"""


def torchrun(*command: str, **environment: str) -> subprocess.Popen[str]:
    """Two processes of a program, on a free port."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command]
    surroundings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
    return subprocess.Popen(start, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it wrote to its two streams; torchrun ends its processes when it is told to end."""
    try:
        return process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.terminate()
        pytest.fail(f"no end after {LIMIT} s: {process.communicate()}")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with the runs of two processes, and the images that one of them takes."""
    folder = tmp_path_factory.mktemp("two")
    images = tmp_path_factory.mktemp("images")
    write_images(images)
    process = torchrun("-m", "tests.training.several", str(folder), str(images))
    _, errors = end_of(process)
    assert process.returncode == 0, errors
    return folder, images


def write_images(root: Path) -> None:
    from PIL import Image

    generator = torch.Generator().manual_seed(1)
    for split, count in (("train", 7), ("test", 3)):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(256, (12, 12, 3), dtype=torch.uint8, generator=generator)
                Image.fromarray(pixels.numpy()).save(root / split / label / f"{number}.png")


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one_does(
    tmp_path: Path, two: tuple[Path, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("resdsl.train.session.open_events", lambda folder, step: None)
    run_case(name, tmp_path / "one", two[1])
    assert not (two[0] / name / "tensorboard").exists()
    one, other = (load_checkpoint(folder / FILE_NAME) for folder in (tmp_path / "one", two[0] / name))
    for part in ("model", "average"):
        assert (one[part] is None) == (other[part] is None)
        for key, tensor in (one[part] or {}).items():
            torch.testing.assert_close(other[part][key], tensor, rtol=1e-5, atol=2e-6, msg=f"{part}/{key}")
    rows, others = read_metrics(tmp_path / "one"), read_metrics(two[0] / name)
    assert [row["step"] for row in others] == [6, 12]
    for key in ("lr", "train_loss", "train_error", "test_loss", "test_error", "validation_loss", "validation_error"):
        assert [row[key] for row in others] == [row[key] and pytest.approx(row[key], rel=1e-5) for row in rows], key


def test_a_run_stopped_in_one_process_goes_on_with_the_same_bits(two: tuple[Path, Path]) -> None:
    require_equal(two[0] / "whole", two[0] / "stopped")
    own = load_checkpoint(two[0] / "whole" / FILE_NAME)["processes"]
    assert len(own) == 2
    assert not torch.equal(own[0]["random"]["cpu"], own[1]["random"]["cpu"])


@pytest.mark.usefixtures("no_pictures")
def test_a_run_goes_on_with_another_number_of_processes(two: tuple[Path, Path]) -> None:
    reporter = Stopper()
    result = run_drawing(two[0] / "left", resume=True, reporter=reporter)
    assert result.steps == 60
    assert any("processes 2, now 1" in note for note in reporter.notes)
    assert any("sees another number of images at once" in note for note in reporter.notes)
    ends = [load_checkpoint(two[0] / name / FILE_NAME)["tally"]["now"][2] for name in ("left", "whole")]
    assert ends == [60 * 32, 60 * 32]
    assert [row["step"] for row in read_metrics(two[0] / "left")] == [20, 40, 60]


def test_a_signal_to_one_process_stops_all_and_one_of_them_tells(tmp_path: Path) -> None:
    spec, folder = tmp_path / "net.res", tmp_path / "run"
    spec.write_text(NET)
    process = torchrun("-m", "resdsl", "train", str(spec), "--out", str(folder))
    wait_for(folder / "metrics.jsonl", process)
    os.kill(children(process.pid)[1], signal.SIGTERM)
    output, errors = end_of(process)
    assert "exitcode  : 143" in errors
    assert output.count("checkpoint ") == 1
    assert errors.count(f"go on with: torchrun ... -m resdsl train {folder} --resume") == 1
    assert errors.count("on cpu in 2 processes") == 1
    step = load_checkpoint(folder / FILE_NAME)["progress"]["step"]
    assert f"stopped at iteration {step:,} of 100,000" in errors
    assert step >= 100
    assert (folder / "index.html").exists()


FAILING = """
import os, sys
from resdsl.cli.main import main
from resdsl.train.stream import TrainingStream

def fail(stream, step):
    if step == 30:
        HOW


if os.environ["RANK"] == "1":
    TrainingStream.fetch = fail
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("how", "message", "code"),
    [
        ("raise MemoryError", "error: out of memory on cpu at iteration 31 with 16 images at once in each process", 1),
        ("os.kill(os.getpid(), 9)", "error: another process of the run has ended without a word", -9),
    ],
)
def test_a_process_that_fails_ends_all(tmp_path: Path, how: str, message: str, code: int) -> None:
    spec, program = tmp_path / "net.res", tmp_path / "failing.py"
    spec.write_text(NET)
    program.write_text(FAILING.replace("HOW", how))
    process = torchrun(str(program), "train", str(spec), "--out", str(tmp_path / "run"))
    output, errors = end_of(process)
    assert process.returncode == 1
    assert errors.count("error: ") == 1
    assert message in errors
    assert f"exitcode  : {code} " in errors
    assert "internal error" not in errors
    assert output == ""
    assert load_checkpoint(tmp_path / "run" / FILE_NAME)["progress"]["step"] == 0


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + LIMIT
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


# --- shares --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_shares_are_the_batch(size: int, parts: int) -> None:
    """Part by part: what the processes see in a part is what one process sees in it."""
    augment, mix = CROPPED, Call("mixup", (("alpha", 0.2), ("p", 1.0)))
    whole = EpochDraws(augment, mix, 100, 1, 48)
    shards = [EpochDraws(augment, mix, 100, 1, 48, Shard(rank, size, parts)) for rank in range(size)]
    for step in (0, 1, 2, 3, 4):  # over the ends of epochs
        draws = [shard.of_step(step) for shard in shards]
        joined = torch.stack([shard.order.view(parts, -1) for shard in draws], dim=1)
        assert torch.equal(joined.flatten(), whole.of_step(step).order)
        for place, numbers in enumerate(whole.of_step(step).steps):
            pieces = [shard.steps[place].view(parts, 48 // size // parts, -1) for shard in draws]
            assert torch.equal(torch.cat(pieces, dim=1).flatten(), numbers.flatten())
        requests = [shard.request(step) for shard in shards]
        seen = sorted(pair for one in requests for pair in zip(one.epochs.tolist(), one.indices.tolist(), strict=True))
        one = whole.request(step)
        assert seen == sorted(zip(one.epochs.tolist(), one.indices.tolist(), strict=True))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("size", [2, 3])
def test_images_are_mixed_with_those_of_one_process(size: int, parts: int) -> None:
    mix = Call("mixup_or_cutmix", (("mixup", 0.5), ("cutmix", 1.0), ("p", 0.8)))
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(12, 1, 6, 6, generator=generator), torch.arange(12)
    drawn = draw_mix(mix, 12, generator)
    whole, targets = mix_batch(images, labels, mix, drawn)
    for rank in range(size):
        led, own = Shard(rank, size, parts, is_led=True), Shard(rank, size, parts).rows(12)
        rows = led.rows(12)
        mixed, shared = mix_batch(images[rows], labels[rows], mix, drawn[rows], led.pieces)
        assert torch.equal(mixed, whole[own])
        assert torch.equal(shared.others, targets.others[own])
        assert torch.equal(shared.shares, targets.shares[own])


def test_each_image_is_evaluated_by_one_process() -> None:
    images = ImageSet(torch.arange(11).view(11, 1, 1, 1), torch.arange(11))
    shares = [World(rank, 4).part_of(images).labels for rank in range(4)]
    assert torch.equal(torch.cat(shares), images.labels)
    assert {len(share) for share in shares} == {2, 3}


def test_a_batch_that_does_not_fall_into_shares_is_refused(make_recipe: Make) -> None:
    check_batch(make_recipe(batch=32), World(0, 4))
    with pytest.raises(TrainError, match="a batch of 30 does not fall into equal shares for 4 processes: --batch 32"):
        check_batch(make_recipe(batch=30), World(0, 4))
    with pytest.raises(TrainError, match="for 4 processes and 2 parts: --batch 16 does"):
        check_batch(make_recipe(batch=12, accumulate=2), World(0, 4))


# --- what the processes agree on -----------------------------------------------------------------------------------


def test_one_process_stops_at_once() -> None:
    consent = Consent(World(), 25)
    assert consent.granted(3, None, save=True) == (None, True)
    assert consent.granted(4, signal.SIGINT, save=False) == (signal.SIGINT, False)


def test_several_are_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = 0.0, []

    def highest(world: World, value: float) -> float:
        asked.append(value)
        return value

    monkeypatch.setattr("time.perf_counter", lambda: clock)
    monkeypatch.setattr(World, "highest", highest)
    consent = Consent(World(0, 2), 25)
    granted = []
    for step in range(200):
        if consent.granted(step, None, save=True)[1]:
            granted.append(step)
        clock += 0.001 if step < 100 else 0.3
    quick, slow = [step for step in granted if step <= 100], [step for step in granted if step > 130]
    assert quick == [0, 1, 26, 51, 76]
    assert {later - earlier for earlier, later in pairwise(slow)} == {3}
    assert len(asked) == 3 * len(granted)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("rank", [0, 1])
def test_one_console_of_all_speaks(
    rank: int, is_first: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "is_first_to_fail", lambda world: is_first)
    console = SharedConsole(Console("never"), World(rank, 2))
    console.print("result")
    console.print_note("note")
    console.print_error("wrong")
    console.print_note("that is why")
    shown = capsys.readouterr()
    assert shown.out == ("result\n" if rank == 0 else "")
    assert shown.err == ("note\n" if rank == 0 else "") + ("error: wrong\nthat is why\n" if is_first else "")


@pytest.mark.parametrize("code", [0, 1, 130])
def test_a_process_ends_before_python_clears_up(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []

    def end(code: int) -> None:
        ends.append(code)
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr("resdsl.train.open_world", lambda environment: nullcontext(ALONE))
    with pytest.raises(SystemExit):
        run_together(argparse.Namespace(console=Console()), lambda args, world: code)
    assert ends == [code]


def test_torchrun_is_known_by_what_it_sets() -> None:
    names = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    whole = dict.fromkeys(names, "0") | {"WORLD_SIZE": "2"}
    assert is_one_of_several(whole)
    assert not is_silent(whole)
    assert is_silent(whole | {"RANK": "1"})
    assert not is_one_of_several(whole | {"WORLD_SIZE": "1"})
    for name in whole:
        assert not is_one_of_several({key: value for key, value in whole.items() if key != name})


def test_errors_of_a_connection_are_those_of_another_process() -> None:
    assert tells_of_another(RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"))
    assert tells_of_another(torch.distributed.DistBackendError("NCCL error"))
    assert not tells_of_another(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not tells_of_another(ValueError("gloo"))


def test_what_came_first_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*faults: tuple[str, str] | None) -> Fault | None:
        monkeypatch.setattr(World, "gather", lambda world, own: [own, *faults])
        return _first_of_all(World(0, 3), Fault("stem", "gradient"))

    assert found(("head", "output"), None) == Fault("head", "output")
    assert found(None, ("head", "gradient")) == Fault("stem", "gradient")


def test_on_gpus_batch_normalisation_is_synchronised_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SmallNet()
    fix_batch_norm(model, "body.1")
    keys = list(model.state_dict())
    monkeypatch.setattr(parallel, "_is_on_gpu", lambda module: True)
    parallel.synchronize_batch_norm(model)
    assert isinstance(model.body[4], nn.SyncBatchNorm)
    assert not isinstance(model.body[1], nn.SyncBatchNorm)
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
def test_synchronised_statistics_are_those_of_batch_normalisation(
    affine: bool, momentum: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one process, whose sums are those of all."""
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 1)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)
    ours, theirs = (nn.Sequential(nn.BatchNorm2d(3, affine=affine, momentum=momentum)) for _ in range(2))
    parallel.synchronize_batch_norm(ours)
    assert type(ours[0]) is not nn.BatchNorm2d
    for images in torch.randn(3, 4, 3, 5, 5):
        inputs = [images.clone().requires_grad_() for _ in range(2)]
        outputs = [net(own) for net, own in zip((ours, theirs), inputs, strict=True)]
        torch.testing.assert_close(*outputs)
        for output in outputs:
            output.pow(3).sum().backward()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    images = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_there_must_be_a_gpu_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    assert World(5, 8, 1).device(torch.device("cuda")) == torch.device("cuda", 1)
    assert chosen == [1]
    assert World(5, 8, 2).device(CPU) == CPU
    with pytest.raises(TrainError, match="more processes than the 2 GPUs here: take --nproc-per-node 2"):
        World(5, 8, 2).device(torch.device("cuda"))
