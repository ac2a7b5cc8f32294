"""benchmarks/gpu.py without a GPU: its parts rehearsed, and what it writes when something fails or takes too long."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks import gpu, gpu_parts, gpu_plain
from benchmarks.gpu import Done, Plan, Row
from resdsl.cli.main import main as resdsl_main


def in_process(arguments: Sequence[str], seconds: float, environment: dict[str, str]) -> Done:
    """What run_process does, without the start of a process."""
    program = {"resdsl": resdsl_main, "benchmarks.gpu_plain": gpu_plain.main}[arguments[1]]
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        code = program(list(arguments[2:]))
    return Done(code, output.getvalue(), errors.getvalue(), 1.0)


def no_process(arguments: Sequence[str], seconds: float, environment: dict[str, str]) -> Done:
    return Done(None, "", "error: late", seconds)


@pytest.fixture
def images(tmp_path: Path) -> str:
    for split, count in (("train", 4), ("test", 1)):
        for label in range(10):
            folder = tmp_path / "images" / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (32, 32), (20 * label, number, 7)).save(folder / f"{number}.png")
    return str(tmp_path / "images")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_rehearsal_goes_through_the_parts(
    images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # pictures would be most of so short a run
    out = tmp_path / "out"
    parts = "resnet20,plain_loop_20,resume"
    assert gpu.main(["--images", images, "--out", str(out), "--rehearse", "--only", parts], in_process) == 0
    written = (out / "rows.md").read_text()
    assert "seconds with evaluation" in written
    assert "extrapolated from 4 iterations" in written
    assert "over the recipe in a plain PyTorch loop" in written
    assert "| bit-equal | bit-equal | yes |" in written
    assert "a rehearsal on the CPU" in written
    assert all(line in capsys.readouterr().out or line in written for line in written.splitlines())
    content = json.loads((out / "results.json").read_text())
    assert set(content["rows"]) == set(parts.split(","))
    assert content["figures"]["images"] == {"train": 40, "test": 10, "are_real": True}


def plan(tmp_path: Path, **changes: Any) -> Plan:
    options: dict[str, Any] = {"python": no_process, "deadline": time.monotonic() + 100} | changes
    return Plan(tmp_path, tmp_path, rehearse=False, **options)


def test_one_failure_does_not_lose_the_rest(tmp_path: Path) -> None:
    def broken(_: Plan) -> list[Row]:
        raise RuntimeError("a | in a message\nand a line")

    rows = gpu.measure(plan(tmp_path), {"a": broken, "b": lambda _: [Row("speed", "7", "at least 5", True)]})
    assert [row.measured for row in rows] == ["failed", "7"]
    lines = (tmp_path / "rows.md").read_text().splitlines()
    assert "| speed | 7 | at least 5 | yes |  |" in lines
    assert any("RuntimeError: a / in a message and a line" in line for line in lines)


def test_what_was_found_is_written_before_the_next_part_begins(tmp_path: Path) -> None:
    def second(_: Plan) -> list[Row]:
        assert "first" in (tmp_path / "rows.md").read_text()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gpu.measure(plan(tmp_path), {"a": lambda _: [Row("first", "1")], "b": second})
    assert json.loads((tmp_path / "results.json").read_text())["rows"]["a"]


def test_without_time_left_a_part_is_not_begun(tmp_path: Path) -> None:
    rows = gpu.measure(plan(tmp_path, deadline=time.monotonic() + 1), {"a": lambda _: pytest.fail("begun")})
    assert rows == [Row("a", "not measured", remark="no time was left")]


def test_each_part_says_what_failed(tmp_path: Path) -> None:
    rows = gpu.measure(plan(tmp_path), gpu_parts.PARTS)
    assert len(rows) >= len(gpu_parts.PARTS)
    assert not any(row.is_met for row in rows)
    assert all("its time was over" in row.remark for row in rows)


def test_a_process_that_takes_too_long_is_ended_and_what_it_said_kept() -> None:
    code = "import signal, sys, time; print('begun', flush=True); time.sleep(30)"
    done = gpu.run_process(("-c", code), 1.0, {})
    assert done.code is None
    assert done.output == "begun\n"
    assert done.seconds < 10


def test_a_process_that_ends_by_itself() -> None:
    done = gpu.run_process(
        ("-c", "import os, sys; print('{\"a\": 1}'); sys.exit(int(os.environ['CODE']))"), 20, {"CODE": "3"}
    )
    assert (done.code, done.json()) == (3, {"a": 1})
    assert done.complaint.startswith("exit code 3")


def test_seconds_are_extrapolated_from_the_speed_behind_the_first_evaluation() -> None:
    rows = [{"step": 100, "seconds": 12.0}, {"step": 300, "seconds": 16.0}]
    assert gpu_parts.seconds_of(rows, 1000) == (12.0 + 900 * 0.02, True)
    assert gpu_parts.seconds_of(rows, 300) == (16.0, False)


def test_the_plain_loop_may_be_written_in_several_ways() -> None:
    found = gpu_plain.ways(16, tiny=False)
    assert len(set(found)) == 6
    assert {way.workers for way in found} == {8, 16}
