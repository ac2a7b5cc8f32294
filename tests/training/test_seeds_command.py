"""`resdsl train --seeds`, and the commands that take the folder it leaves."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from statistics import mean, stdev

import pytest

from resdsl.cli.console import Console
from resdsl.cli.main import main
from resdsl.cli.seeds import SeedsProgress
from resdsl.train import Evaluation, Plan, TrainError, train_seeds
from resdsl.train.curves import has_matplotlib
from resdsl.train.record import read_metrics
from tests.training.conftest import digits_recipe
from tests.training.runs import require_equal
from tests.training.test_resume import RandomNet

TINY = """network tiny {
  input 1 x 8 x 8
  conv(3x3, 8) -> bn -> relu -> global_avg_pool -> dropout(0.2) -> linear(10)
}
train {
  data digits(size = 8)
  batch 64
  optimizer sgd(lr = 0.1)
  iterations 12
  evaluate 6
  seed 4
}
"""


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.res").write_text(TINY)
    options = ["--device", "cpu", "--color", "never"]
    assert main(["train", "tiny.res", "--seeds", "2", *options]) == 0
    shown = capsys.readouterr()
    assert "tiny: 2 seeds from 4 on, each 12 iterations of batch 64" in shown.err
    assert "seed 5: iteration 12 (epoch" in shown.err
    assert "of all seeds" in shown.err
    runs = [tmp_path / "runs" / "tiny" / f"seed-{seed}" for seed in (4, 5)]
    rows = [read_metrics(folder) for folder in runs]
    ends = [row[-1]["test_error"] or 0.0 for row in rows]
    bests = [min(line["test_error"] or 0.0 for line in row) for row in rows]
    assert f"test error {100 * mean(ends):.2f} ± {100 * stdev(ends):.2f} % (mean and" in shown.out
    content = json.loads((tmp_path / "runs" / "tiny" / "seeds.json").read_text())
    for word, values in (("test_error", ends), ("best_test_error", bests)):
        found = content[word]
        assert (found["mean"], found["deviation"]) == pytest.approx((mean(values), stdev(values)))
        assert (found["least"], found["largest"]) == (min(values), max(values))
    assert [(row["seed"], row["test_error"]) for row in content["runs"]] == [(4, ends[0]), (5, ends[1])]
    assert main(["train", "tiny.res", "--seed", "5", "--out", "alone", *options]) == 0
    require_equal(tmp_path / "alone", runs[1])
    for page in ("README.md", "index.html"):
        assert f"{100 * mean(ends):.2f} ± {100 * stdev(ends):.2f} %" in (tmp_path / "runs/tiny" / page).read_text()

    capsys.readouterr()
    assert main(["eval", "runs/tiny", "--json", "--device", "cpu"]) == 0
    tested = json.loads(capsys.readouterr().out)
    assert [result["runs"] for result in tested["results"]] == [["runs/tiny/seed-4"], ["runs/tiny/seed-5"]]
    assert tested["spreads"][0]["top1_error"]["deviation"] == pytest.approx(stdev(ends))
    assert main(["eval", "runs/tiny", "runs/tiny/seed-4"]) == 1
    assert "is named twice" in capsys.readouterr().err
    if has_matplotlib():
        assert main(["plot", "runs/tiny", "-o", "both.svg"]) == 0
        assert "median of 2" in (tmp_path / "both.svg").read_text()
        assert (tmp_path / "runs/tiny/curves.svg").exists()

    assert main(["train", "runs/tiny/seed-5", "--resume"]) == 0
    assert "already finished" in capsys.readouterr().err
    assert main(["train", "runs/tiny", "--resume"]) == 0
    assert capsys.readouterr().err.count("already finished") == 2


@pytest.mark.usefixtures("no_pictures")
def test_the_command_stops_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.res").write_text(TINY)

    def stop(self: object, step: int, lr: float) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("resdsl.cli.seeds.OfSeed.stepped", stop)
        assert main(["train", "tiny.res", "--seeds", "2", "--out", "runs", "--device", "cpu"]) == 128 + signal.SIGINT
    assert "go on with: resdsl train runs --resume" in capsys.readouterr().err
    assert main(["train", "runs", "--resume", "--seeds", "3"]) == 1
    assert "the runs in runs are of seeds 4 to 5; they cannot go on as seeds 4 to 6" in capsys.readouterr().err
    assert main(["train", "runs/seed-4", "--resume", "--seeds", "2"]) == 1
    assert "holds one run, not those of several seeds" in capsys.readouterr().err
    assert main(["plot", "runs"]) == 1
    assert "has no evaluation yet" in capsys.readouterr().err
    (tmp_path / "tiny.res").unlink()
    assert main(["train", "runs", "--resume"]) == 0
    assert "(mean and standard deviation of 2 seeds)" in capsys.readouterr().out


def test_wrong_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.res").write_text(TINY)
    for number in ("0", "-1", "two", "101", "00001", "9" * 5000):
        assert main(["train", "tiny.res", "--seeds", number]) == 2
        assert "write a whole number from 1 to 100" in capsys.readouterr().err
    assert main(["train", "tiny.res", "--seeds", "2", "--verify-resume"]) == 1
    assert "--verify-resume tries one run" in capsys.readouterr().err
    assert main(["train", "tiny.res", "--seeds", "2", "--seed", f"{2**62}"]) == 1
    assert "seed" in capsys.readouterr().err
    assert main(["train", "tiny.res", "--seeds", "2", "--setting", "data cifar10"]) == 1
    assert not (tmp_path / "runs").exists()
    with pytest.raises(TrainError, match="there must be one at least"):
        train_seeds(RandomNet, digits_recipe(), tmp_path / "runs", seeds=0, classes=10, input_shape=(1, 8, 8), name="x")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "seeds.json").write_text('{"seeds": ["../../x"], "runs": []}')
    assert main(["eval", "runs"]) == 1
    assert "seeds.json is damaged" in capsys.readouterr().err
    (tmp_path / "runs" / "seeds.json").write_text('{"seeds": [1], "runs": [{"seed": 1, "state": "failed"}]}')
    assert main(["plot", "runs"]) == 1
    shown = capsys.readouterr().err
    assert "seed-1 failed and is left out" in shown
    assert "has no run that has not failed" in shown


def test_one_line_for_all(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resdsl.train.memory.peak_memory", lambda device: 3 << 29)
    evaluation = Evaluation(10, 1.0, 0.1, 0.5, 0.25, 0.6, 0.2, None, None, 1.0, 100.0)
    with SeedsProgress(Console("never")) as progress:
        first, second = progress.of_seed(1), progress.of_seed(2)
        for number, one in enumerate((first, second), start=1):
            one.begin(Plan("net", 20, 8, 100, "cpu", Path(f"runs/net/seed-{number}"), 5))
        first.stepped(6, 0.1)
        first.measured(0.5, 0.25)
        first.evaluated(evaluation)
        second.evaluated(evaluation)
        second.note("lower rate")
        (task,) = progress._bar.tasks
        assert (task.total, task.completed) == (40, 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "net: 2 seeds from 1 on, each 20 iterations of batch 8 over 100 images on cpu, into runs/net"
    assert lines[1].startswith("seed 1: iteration 10")
    assert lines[1].endswith("test error 20.00%, 100 images/s, 1.5 GiB")
    assert lines[2].endswith("100 images/s, 200 of all seeds, 1.5 GiB")
    assert lines[3] == "seed 2: lower rate"
