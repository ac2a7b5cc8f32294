"""Parts of `resdsl train` that need no network: its options, its folders and what it shows."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest

from resdsl.cli.console import Console
from resdsl.cli.pace import Pace
from resdsl.cli.progress import ProgressReporter
from resdsl.cli.train import free_folder
from resdsl.train import Evaluation, Plan


def test_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    assert free_folder(tmp_path, "net") == tmp_path / "net"
    (tmp_path / "net").mkdir()
    (tmp_path / "net-2").mkdir()
    assert free_folder(tmp_path, "net") == tmp_path / "net-3"


def test_without_a_terminal_each_evaluation_is_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resdsl.train.memory.peak_memory", lambda device: 3 << 29)
    evaluation = Evaluation(
        step=1600,
        epoch=4.55,
        lr=0.1,
        train_loss=0.5,
        train_error=0.17,
        test_loss=0.6,
        test_error=0.2,
        validation_loss=None,
        validation_error=None,
        seconds=100.0,
        images_per_second=2048.0,
    )
    with ProgressReporter(Console("never")) as reporter:
        reporter.loading(512, 60_000)
        reporter.begin(Plan("net", 64_000, 128, 45_000, "cpu", Path("runs/net")))
        reporter.stepped(1, 0.1)
        reporter.measured(0.5, 0.17)
        reporter.evaluated(evaluation)
        reporter.note("warm-up ends [here]")
    shown = capsys.readouterr()
    assert shown.out == ""
    errors = "train error 17.00%, test error 20.00%"
    assert shown.err.splitlines() == [
        "net: 64,000 iterations of batch 128 over 45,000 images on cpu, into runs/net",
        f"iteration 1,600 (epoch 4.5): lr 0.1, loss 0.500, {errors}, 2,048 images/s, 1.5 GiB",
        "warm-up ends [here]",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_all_figures(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resdsl.train.memory.peak_memory", lambda device: 3 << 29)
    console, seconds = Console("never"), iter(range(100))
    console.errors = Terminal()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("resdsl.cli.progress.time.monotonic", lambda: float(next(seconds)))
    with ProgressReporter(console) as reporter:
        reporter.begin(Plan("resnet110", 64_000, 128, 45_000, "cpu", Path("runs/net")))
        reporter.measured(0.512, 0.171)
        for step in range(30_001, 30_021):
            reporter.stepped(step, 0.0001234)
    lines = console.errors.getvalue().replace("\r", "\n").splitlines()
    last = [line for line in lines if "30020/64000" in line][-1]
    assert last.rstrip().endswith("30020/64000 9:26:20 left")
    details = lines[lines.index(last) + 1]
    assert details.startswith("128 images/s  lr 0.0001234  loss 0.512  train 17.1%  1.5 GiB")


class Terminal(StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_long_silence_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resdsl.train.memory.peak_memory", lambda device: 3 << 29)
    now = 0.0
    monkeypatch.setattr("resdsl.cli.progress.time.monotonic", lambda: now)
    with ProgressReporter(Console("never")) as reporter:
        reporter.begin(Plan("net", 1000, 10, 45_000, "cpu", Path("runs/net")))
        for step in range(1, 401):
            now += 1.0
            reporter.stepped(step, 0.1)
    lines = capsys.readouterr().err.splitlines()[1:]
    assert lines == ["iteration 301:  10 images/s  lr 0.1  1.5 GiB  0:11:39 left"]


def test_the_pace_leaves_evaluations_out_and_the_time_left_has_them() -> None:
    pace, now = Pace(), 100.0
    assert pace.seconds_left(60) is None
    for step in range(1, 21):
        now += 2.0
        pace.stepped(step, now)
        if step % 10 == 0:
            now += 38.0
            pace.evaluated(now)
    assert pace.steps_a_second == 0.5
    assert pace.seconds_left(58) == (58 - 20) * (2.0 + 4.0)


def test_the_pace_follows_what_the_machine_does_now() -> None:
    pace, now = Pace(), 0.0
    for step in range(1000, 1200):
        now += 10.0 if step < 1100 else 0.5
        pace.stepped(step, now)
    assert pace.steps_a_second == 2.0
