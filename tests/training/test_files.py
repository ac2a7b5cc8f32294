"""Checkpoints and records: whole or not at all, and nothing runs when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from resdsl.files import replace_file, replace_text
from resdsl.train.checkpoint import load_checkpoint, save_checkpoint
from resdsl.train.errors import CheckpointError, TrainError
from resdsl.train.record import open_run_folder


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": {"w": torch.arange(3.0)}, "step": 7, "classes": ["a", "b"], "end": None})
    content = load_checkpoint(path)
    assert torch.equal(content["weights"]["w"], torch.arange(3.0))
    assert (content["step"], content["classes"], content["end"]) == (7, ["a", "b"], None)
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        replace_file(path, fail)
    assert load_checkpoint(path)["step"] == 1
    assert list(tmp_path.iterdir()) == [path]


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this ran",)


def test_a_checkpoint_cannot_run_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"version": 1, "payload": Payload()}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "bad.pt")
    assert "this ran" not in capsys.readouterr().out


def test_checkpoints_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(tmp_path / "none.pt")
    for content in (b"", b"garbage", b"PK\x03\x04cut off"):
        (tmp_path / "bad.pt").write_bytes(content)
        with pytest.raises(CheckpointError, match="is not a checkpoint, or is damaged"):
            load_checkpoint(tmp_path / "bad.pt")
    torch.save({"version": 99}, tmp_path / "new.pt")
    with pytest.raises(CheckpointError, match="written by another version"):
        load_checkpoint(tmp_path / "new.pt")


def test_a_cut_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"w": torch.zeros(1000)})
    whole = path.read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


def test_text_is_replaced(tmp_path: Path) -> None:
    replace_text(tmp_path / "a.txt", "one")
    replace_text(tmp_path / "a.txt", "zwölf")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "zwölf"


def test_no_run_overwrites_another(tmp_path: Path) -> None:
    open_run_folder(tmp_path / "runs" / "a")
    open_run_folder(tmp_path / "runs" / "a")
    (tmp_path / "runs" / "a" / "metrics.jsonl").write_text("{}")
    with pytest.raises(TrainError, match="is not empty"):
        open_run_folder(tmp_path / "runs" / "a")
    with pytest.raises(TrainError, match="cannot make the run folder"):
        open_run_folder(tmp_path / "runs" / "a" / "metrics.jsonl" / "b")
