"""The picture of a run's errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resdsl.train.curves import draw_curves


def test_iterations_begin_at_zero(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    metrics: list[dict[str, float | None]] = [
        {"step": step, "train_error": 0.5, "validation_error": None, "test_error": 0.4} for step in (5000, 6000)
    ]
    svg = draw_curves(tmp_path, "net", metrics)[0].read_text()
    ticks = re.findall(r'<g id="xtick_\d+">.*?<!-- (.*?) -->', svg, re.DOTALL)
    assert ticks[0] == "0"
    assert ticks[-1] == "6,000"


def test_long_runs_are_counted_as_the_papers_count(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    metrics: list[dict[str, float | None]] = [
        {"step": step, "train_error": 0.5, "validation_error": None, "test_error": 0.4} for step in (5000, 64_000)
    ]
    svg = draw_curves(tmp_path, "net", metrics)[0].read_text()
    ticks = re.findall(r'<g id="xtick_\d+">.*?<!-- (.*?) -->', svg, re.DOTALL)
    assert ticks == ["0", "1", "2", "3", "4", "5", "6"]
    assert "<!-- iterations (1e4) -->" in svg
