"""Parts of `resdsl train` that need no network: its options, its folders and what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from resdsl.cli.console import Console
from resdsl.cli.progress import ProgressReporter
from resdsl.cli.train import free_folder
from resdsl.train import Evaluation, Plan


def test_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    assert free_folder(tmp_path, "net") == tmp_path / "net"
    (tmp_path / "net").mkdir()
    (tmp_path / "net-2").mkdir()
    assert free_folder(tmp_path, "net") == tmp_path / "net-3"


def test_without_a_terminal_each_evaluation_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
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
    assert shown.err.splitlines() == [
        "net: 64,000 iterations of batch 128 over 45,000 images on cpu, into runs/net",
        "iteration 1,600 (epoch 4.5): lr 0.1, loss 0.500, train error 17.00%, test error 20.00%, 2,048 images/s",
        "warm-up ends [here]",
    ]
