"""`resdsl plot`: what is drawn of several runs, and that equal runs give equal files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from resdsl.cli.main import main
from resdsl.train.curves import Curve, over_seeds, plot_runs, rate_drops

pytest.importorskip("matplotlib")

Row = dict[str, float | None]


def write_run(folder: Path, network: str = "net", *, seed: int = 0, error: float = 0.1, **facts: Any) -> Path:
    folder.mkdir()
    schedule = {"name": "steps", "at": [30, 50], "factor": 0.1, "unit": "iterations"}
    recipe = {"data": {"name": "digits"}, "schedule": schedule, "seed": seed}
    used = {"network": network, "hash": network, "recipe": recipe, "text": "train { }\n"}
    (folder / "recipe.json").write_text(json.dumps(used))
    (folder / "network.json").write_text(json.dumps(facts))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in course(error)))
    return folder


def course(error: float) -> list[Row]:
    rows: list[Row] = []
    for step in range(5, 61, 5):
        rate = 0.1 if step <= 30 else 0.01 if step <= 50 else 0.001
        wrong = error + 0.7 * 0.8**step
        rows.append(
            {
                "step": step,
                "epoch": step / 10,
                "lr": rate,
                "train_error": wrong / 2,
                "test_error": wrong,
                "seconds": step,
            }
        )
    return rows


def texts(path: Path) -> str:
    """What the SVG says; matplotlib keeps each text as a comment beside its outlines."""
    ET.parse(path)  # is well-formed
    return path.read_text()


def draw(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["--color", "never", "plot", *map(str, arguments)])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, shown.out, shown.err


def test_one_curve_a_network_and_a_median_of_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_run(tmp_path / f"a{seed}", "deep", seed=seed, error=seed / 10, depth=110) for seed in (1, 2, 3)]
    runs.append(write_run(tmp_path / "b", "small", error=0.4, depth=20, parameters=272_474))
    svg, png = tmp_path / "curves.svg", tmp_path / "curves.png"
    code, out, err = draw(capsys, *runs, "-o", svg, "-o", png, "--title", "a $x$ & b")
    assert (code, out, err) == (0, f"{svg}\n{png}\n", "")
    said = texts(svg)
    assert "<!-- deep (110 layers), median of 3: 20.00 % -->" in said
    assert "<!-- small (20 layers, 0.27 M): 40.00 % -->" in said
    assert "<!-- iterations -->" in said
    assert "<!-- a $x$ &amp; b -->" in said
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options", [(), ("--log",), ("--top", "25")])
def test_equal_runs_give_equal_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    run = write_run(tmp_path / "a")
    files = [tmp_path / "1.svg", tmp_path / "2.svg"]
    for file in files:
        assert draw(capsys, run, "-o", file, *options)[0] == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b"<dc:date>" not in files[0].read_bytes()


def test_a_long_run_and_a_small_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "a", parameters=1_586)
    rows = [{**row, "step": (row["step"] or 0) * 1000} for row in course(0.1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert draw(capsys, folder, "-o", tmp_path / "x.svg")[0] == 0
    said = texts(tmp_path / "x.svg")
    assert "<!-- iterations (1e4) -->" in said
    assert "<!-- net (1,586 parameters): 10.00 % -->" in said


def test_recipes_of_one_network_are_told_apart_by_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    used = json.loads((second / "recipe.json").read_text())
    used["recipe"]["batch"] = 64
    (second / "recipe.json").write_text(json.dumps(used))
    assert draw(capsys, first, second, "-o", tmp_path / "c.svg")[0] == 0
    said = texts(tmp_path / "c.svg")
    assert "<!-- net, a: 10.00 % -->" in said
    assert "<!-- net, b: 10.00 % -->" in said


def test_the_band_spans_the_seeds() -> None:
    runs = [[(5.0, 30.0), (10.0, 20.0)], [(5.0, 10.0), (10.0, 22.0)], [(5.0, 20.0)]]
    assert over_seeds(runs) == [(5.0, 10.0, 20.0, 30.0)]  # only where all of them are
    assert over_seeds(runs[:2])[1] == (10.0, 20.0, 21.0, 22.0)


def test_where_the_rate_drops() -> None:
    rows = course(0.1)
    recipe = {"schedule": {"name": "steps", "at": [30, 50, 90], "unit": "iterations"}}
    assert rate_drops(rows, recipe) == (30, 50)  # 90 is behind the end
    in_epochs = {"schedule": {"name": "steps", "at": [3, 5], "unit": "epochs"}}
    assert rate_drops(rows, in_epochs) == (30, 50)
    assert rate_drops(rows, {"schedule": {"name": "plateau"}}) == (30, 50)
    falling: list[Row] = [{**row, "lr": 0.1 * 0.4**place} for place, row in enumerate(rows)]
    assert rate_drops(falling, {"schedule": {"name": "cosine"}}) == ()


def test_more_networks_than_colours(tmp_path: Path) -> None:
    curves = [Curve(f"net{number}", (course(number / 20),)) for number in range(9)]
    plot_runs(curves, [tmp_path / "many.svg"], log=False, top=None, title="")
    assert texts(tmp_path / "many.svg").count("<!-- net") == 9


def test_what_cannot_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "a")
    assert draw(capsys, run, "-o", tmp_path / "c.jpg")[2].endswith("c.jpg must end in .svg or .png\n")
    assert "there is no folder" in draw(capsys, tmp_path / "none")[2]
    assert draw(capsys, run, "--top", "0")[0] == draw(capsys, run, "--top", "nan")[0] == 2
    (run / "metrics.jsonl").write_text('{"step": "many"}\n')
    assert "has no evaluation yet" in draw(capsys, run)[2]
    (run / "metrics.jsonl").write_text("{\n")
    assert "metrics.jsonl, line 1, is damaged" in draw(capsys, run)[2]
    (run / "metrics.jsonl").write_text("")
    assert "has no evaluation yet" in draw(capsys, run)[2]
    whole = write_run(tmp_path / "b")
    code, _, err = draw(capsys, whole, "-o", tmp_path / "missing" / "c.svg")
    assert (code, "No such file" in err) == (1, True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.ticker", None)
    code, _, err = draw(capsys, whole, "-o", tmp_path / "c.svg")
    assert (code, err) == (1, "error: no picture: it needs matplotlib (pip install 'resdsl[plot]')\n")
    assert not list(tmp_path.glob("c.*"))
