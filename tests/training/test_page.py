"""The page of a run: all that is known, and nothing in it that a browser would obey."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from resdsl.train.errors import TrainError
from resdsl.train.events import open_events, require_events
from resdsl.train.page import LivePage, add_evaluation, write_page
from resdsl.train.report import Evaluation, SilentReporter
from tests.training.runs import Make, MakeNet, run

NASTY = "<script>alert(1)</script>|`*_[x](http://e)\x1b[31m\"'&amp;"


def evaluation(step: int, **changes: Any) -> Evaluation:
    values: dict[str, Any] = {
        "step": step,
        "epoch": step / 10,
        "lr": 0.1,
        "train_loss": 1.0,
        "train_error": 0.5,
        "test_loss": 1.5,
        "test_error": 0.25,
        "validation_loss": None,
        "validation_error": None,
        "seconds": 3700.0,
        "images_per_second": 100.0,
    }
    return Evaluation(**(values | changes))


def write_run(folder: Path, name: str = "net", **facts: Any) -> Path:
    folder.mkdir()
    used = {"network": name, "hash": "abc", "recipe": {"data": {"name": name}}, "text": f"train {{ # {name}\n}}\n"}
    (folder / "recipe.json").write_text(json.dumps(used))
    (folder / "network.json").write_text(json.dumps(facts))
    (folder / "environment.json").write_text(json.dumps({"torch": "2", "device": name, "resumed": []}))
    (folder / "spec.res").write_text(f"# {name}\n```\nnetwork x {{ }}\n")
    rows = [json.dumps(evaluation(step, test_error=1 / step).as_dict()) for step in range(10, 510, 10)]
    (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    return folder


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [str(value) for name, value in attrs if name in {"src", "href"}]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.said += data


def test_the_page_tells_it_all(tmp_path: Path) -> None:
    published = {"paper": "He et al. 2015, Table 6", "data": "CIFAR-10", "top1_error": 0.0875}
    folder = write_run(tmp_path / "run", depth=20, parameters=272474, macs=40_813_184, published=published)
    (folder / "curves.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    write_page(folder)
    page = Page((folder / "index.html").read_text())
    readme = (folder / "README.md").read_text()
    for said in ("272,474", "40,813,184", "He et al. 2015, Table 6", "8.75 %", "0.20 %", "1 h 01 min", "abc"):
        assert said in page.said
        assert said in readme
    assert "published: 8.75 % on CIFAR-10 in He et al. 2015, Table 6." in readme
    assert "![error against iterations](curves.svg)" in readme
    assert page.sources == ["data:image/svg+xml;base64," + page.sources[0].rpartition(",")[2]]
    course = readme.partition("## Course")[2].splitlines()
    assert (course[2][:10], course[4][:6], course[-1][:7]) == ("| iteratio", "| 10 |", "| 500 |")
    assert len(course) == 4 + 20


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    published = {"paper": NASTY, "data": NASTY, "top1_error": 0.1, "note": NASTY}
    folder = write_run(tmp_path / "run", NASTY, published=published, depth=[NASTY], input=[NASTY])
    add_evaluation(folder, {"views": NASTY, "top1_error": 0.5, "top5_error": 0.25})
    text = (folder / "index.html").read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert page.sources == []
    assert "\x1b" not in text
    assert "default-src 'none'" in text
    assert "<script>alert(1)</script>" in page.said
    readme = (folder / "README.md").read_text()
    assert "\x1b" not in readme
    outside = re.sub(r"^(`{3,})\n.*?\n\1$", "", readme, flags=re.DOTALL | re.MULTILINE)
    assert "\\<script\\>" in outside
    assert not re.search(r"(?<!\\)[<>`\[]", outside)
    assert "````\n# " in readme  # a longer fence than the one in the spec


def test_an_evaluation_takes_the_place_of_the_same_one_before(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    for error in (0.5, 0.25):
        add_evaluation(folder, {"views": "10 crops", "top1_error": error, "top5_error": None})
    readme = (folder / "README.md").read_text()
    assert "| this run, 10 crops | net | 25.00 % |" in readme
    assert "50.00 %" not in readme.partition("## Network")[0]
    assert len((folder / "evaluations.jsonl").read_text().splitlines()) == 2


def test_a_run_without_anything(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(TrainError, match="is not a run folder"):
        write_page(folder)
    used = {"network": "net", "hash": "", "recipe": {}, "text": ""}
    (folder / "recipe.json").write_text(json.dumps(used))
    write_page(folder)
    assert "Nothing was measured yet." in (folder / "README.md").read_text()


# --- TensorBoard -----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


class Killer(SilentReporter):
    def evaluated(self, evaluation: Evaluation) -> None:
        if evaluation.step == 8:
            raise Killed


def test_a_run_that_is_killed_has_a_page(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    with pytest.raises(Killed):
        run(make_net(), make_recipe(iterations=20, evaluate=4), tmp_path / "run", Killer())
    page = (tmp_path / "run" / "README.md").read_text()
    # The next one would come in a minute.
    assert re.search(r"^Test error [\d.]+ % after 4 iterations \(the recipe has 20 iterations\)", page, re.MULTILINE)
    run(make_net(), make_recipe(iterations=20, evaluate=4), tmp_path / "run", resume=True)
    page = (tmp_path / "run" / "README.md").read_text()
    assert re.search(r"^Test error [\d.]+ % after 20 iterations in", page, re.MULTILINE)


def test_a_page_on_the_way_that_cannot_be_written_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    page = LivePage(write_run(tmp_path / "run"), notes.append)
    page.refresh()
    assert (tmp_path / "run" / "index.html").exists()
    (tmp_path / "run" / "recipe.json").write_text("{}")
    page.refresh()
    assert not notes
    monkeypatch.setattr("resdsl.train.page.REFRESH_SECONDS", -1.0)
    other = LivePage(tmp_path / "run", notes.append)
    for _ in range(3):
        other.refresh()
    assert len(notes) == 1
    assert "recipe.json was not written by this version" in notes[0]


class Writer:
    """In the place of torch's SummaryWriter."""

    made: list[Writer] = []  # noqa: RUF012

    def __init__(self, folder: str, **options: Any) -> None:
        self.folder, self.options = folder, options
        self.scalars: list[tuple[str, float, int]] = []
        self.is_closed = False
        Writer.made.append(self)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.append((tag, value, step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


def test_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    events = open_events(tmp_path, 0)
    assert events is not None
    events.add(evaluation(10))
    events.close()
    writer = Writer.made[-1]
    assert writer.folder == str(tmp_path / "tensorboard")
    assert writer.options == {}
    assert ("error/test", 0.25, 10) in writer.scalars
    assert ("learning rate", 0.1, 10) in writer.scalars
    assert not any(tag.endswith("validation") for tag, _, _ in writer.scalars)
    assert writer.is_closed
    open_events(tmp_path, 40)
    assert Writer.made[-1].options == {"purge_step": 41}


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_events(tmp_path, 0) is None
    monkeypatch.setattr("resdsl.train.events.find_spec", lambda name: None)
    with pytest.raises(TrainError, match=r"resdsl\[tensorboard\]"):
        require_events()


def test_the_page_of_a_run_that_was_stopped_and_went_on(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    used = json.loads((folder / "recipe.json").read_text())
    used["recipe"] |= {"iterations": 64000}
    (folder / "recipe.json").write_text(json.dumps(used))
    begun = {"started": "Monday", "torch": "2.15", "deterministic": False}
    resumed = [{"step": 1200, "started": "Tuesday", "torch": "2.16"}]
    (folder / "environment.json").write_text(json.dumps(begun | {"resumed": resumed}))
    add_evaluation(folder, {"views": "10 crops", "top1_error": 0.5, "top5_error": None, "step": 40})
    add_evaluation(folder, {"views": "1 crop", "top1_error": 0.25, "top5_error": None, "step": 500})
    readme = (folder / "README.md").read_text()
    assert "after 500 iterations (the recipe has 64,000 iterations) in" in readme
    assert "| this run, 10 crops, at iteration 40 |" in readme
    assert "| this run, 1 crop |" in readme
    assert "| deterministic | no |" in readme
    assert "images per second |" in readme
    assert "| resumed at iteration 1,200 | started Tuesday; torch 2.16 |" in readme


def test_a_line_that_is_just_being_written_is_left_aside(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 510, "ep')
    write_page(folder)
    assert "after 500 iterations" in (folder / "README.md").read_text()
