"""`--recipe FILE`: another file's recipe; specs without any; and resuming where a spec or such a file is gone."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from PIL import Image

import resdsl
from resdsl.cli.recipe_example import example_recipe
from resdsl.compiler import compile_network, compile_recipe
from resdsl.diagnostics import CompileError
from resdsl.source import SourceFile
from tests.training.conftest import Say
from tests.training.runs import require_equal

pytestmark = pytest.mark.usefixtures("no_pictures")

NET = "network tiny {{\n  input {}\n  conv(3x3, 4) -> bn -> relu -> global_avg_pool -> linear({})\n}}\n"
TINY = NET.format("1 x 8 x 8", 10)
SETTINGS = "{\n  data digits(size = 8)\n  batch 64\n  optimizer sgd(lr = 0.1)\n  iterations 20\n}\n"


def batch_of(text: str, network: str = "tiny", name: str = "other.res") -> int:
    return compile_recipe(SourceFile(name, text), network).batch


def with_batch(size: int) -> str:
    return SETTINGS.replace("batch 64", f"batch {size}")


@pytest.mark.parametrize(
    ("text", "batch"),
    [
        (f"train {with_batch(3)}", 3),
        (f"recipe only {with_batch(3)}", 3),
        (f"recipe one {with_batch(3)}\nrecipe two {with_batch(4)}\ntrain with two", 4),
        (f"{NET.format('1 x 8 x 8', 10).replace('tiny', 'other')}\ntrain other {with_batch(3)}", 3),
        (f"{TINY}\nnetwork more = tiny\ntrain more {with_batch(3)}\ntrain tiny {with_batch(4)}", 4),
        # Of two recipes that name other networks, that of the file's own network.
        (
            TINY.replace("tiny", "a")
            + TINY.replace("tiny", "other")
            + f"train a {with_batch(3)}\ntrain other {SETTINGS}",
            64,
        ),
        ('use "families/resnet_cifar.res"\ntrain with he_cifar', 128),
    ],
)
def test_which_recipe_of_a_file_is_taken(text: str, batch: int) -> None:
    assert batch_of(text) == batch


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (TINY, "R0710"),
        ("block b { relu }", "R0710"),
        (f"recipe one {SETTINGS}\nrecipe two {SETTINGS}", "R0711"),
        (f"train {SETTINGS}\ntrain {SETTINGS}", "R0708"),
        (f"train {with_batch(0)}", "R0704"),
        ("train with usual", "R0707"),
        ("train {", "R0103"),
    ],
)
def test_mistakes_in_the_file_are_shown_there(text: str, code: str) -> None:
    with pytest.raises(CompileError) as caught:
        batch_of(text)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    assert diagnostic.primary.span.place().startswith("other.res:")


def test_lines_of_the_command_line_come_after_the_file(tmp_path: Path) -> None:
    (tmp_path / "net.res").write_text(TINY + f"train {SETTINGS}")
    (tmp_path / "other.res").write_text(f"train {with_batch(3)}")
    net = resdsl.load(tmp_path / "net.res", recipe=tmp_path / "other.res", settings=["seed 7"])
    assert net.recipe is not None
    assert (net.recipe.batch, net.recipe.seed) == (3, 7)
    again = net.retarget(input="3 x 8 x 8")
    assert again.recipe == net.recipe


def test_the_command_takes_it_and_records_it(tmp_path: Path, say: Say) -> None:
    Path("net.res").write_text(TINY)
    Path("other.res").write_text(f"train {with_batch(16)}")
    code, shown = say("train", "net.res")
    assert code == 1
    assert "tiny has no recipe; take another file's with --recipe FILE, or add one to the spec" in shown
    code, shown = say("train", "net.res", "--recipe", "other.res", "--setting", "iterations 3", "--out", "run")
    assert code == 0, shown
    used = json.loads(Path("run/recipe.json").read_text())["recipe"]
    assert (used["batch"], used["iterations"]) == (16, 3)
    assert json.loads(Path("run/arguments.json").read_text())["recipe"] == str(tmp_path / "other.res")


@pytest.fixture
def stopped(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """`whole`, and `run`, which was stopped: the recipe from another file, a block from a folder beside."""

    def stop(self: object, step: int, lr: float) -> None:
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    Path("net.res").write_text('use "unit.res"\n' + TINY.replace("conv(3x3, 4) -> bn -> relu", "unit"))
    Path("lib").mkdir()
    Path("lib/unit.res").write_text("block unit { conv(3x3, 4) -> bn -> relu }\n")
    Path("other.res").write_text(f"train {SETTINGS}")
    options = ["net.res", "--recipe", "other.res", "--root", "lib", "--lr", "0.05", "--device", "cpu"]
    assert say("train", *options, "--out", "whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr("resdsl.cli.progress.ProgressReporter.stepped", stop)
        assert say("train", *options, "--out", "run")[0] == 128 + signal.SIGTERM


@pytest.mark.usefixtures("stopped")
def test_resuming_without_the_files(say: Say) -> None:
    Path("other.res").write_text(f"train {with_batch(32)}")
    code, shown = say("train", "run", "--resume")
    assert code == 1
    assert "the recipe has changed since the run began" in shown
    assert "+  batch 32" in shown
    Path("other.res").unlink()
    code, shown = say("train", "run", "--resume", "--recipe", "other.res")
    assert (code, "R0001" in shown) == (1, True)
    code, shown = say("train", "run", "--resume", "--setting", "seed 9")
    assert code == 1
    assert "other.res is gone: taking the recipe as run has recorded it" in shown
    assert "+  seed 9" in shown
    for name in ("net.res", "lib/unit.res"):
        Path(name).unlink()
    code, shown = say("train", "run", "--resume", "--set", "n=3")
    assert code == 1
    assert "the run goes on with the network that it recorded: leave --set out" in shown
    Path("run").rename("moved")
    code, shown = say("train", "moved", "--resume")
    assert code == 0, shown
    assert "net.res is gone: taking the network as moved has recorded it" in shown
    require_equal(Path("whole"), Path("moved"))
    code, shown = say("train", "moved", "--resume", "--spec", "moved/spec.res")
    assert (code, "already finished" in shown, "is gone: taking the network" in shown) == (0, True, False)


def test_seeds_go_on_without_the_files(say: Say) -> None:
    Path("net.res").write_text(TINY)
    Path("other.res").write_text(f"train {SETTINGS}".replace("iterations 20", "iterations 2; seed 4"))
    assert say("train", "net.res", "--recipe", "other.res", "--seeds", "2", "--out", "run", "--device", "cpu")[0] == 0
    Path("net.res").unlink()
    Path("other.res").unlink()
    code, shown = say("train", "run", "--resume")
    assert code == 0, shown
    assert "net.res is gone: taking the network as run has recorded it" in shown
    assert "run/seed-5 is already finished" in shown


DAMAGE = {
    "source.json": ("{}", "{"),
    "recipe.json": ("{}", "["),
    "arguments.json": ("[]", '{"spec": "gone.res", "recipe": 7}', '{"spec": "gone.res", "set": "n=3"}'),
}


@pytest.mark.usefixtures("stopped")
def test_damaged_records_are_told(say: Say) -> None:
    Path("net.res").unlink()
    Path("other.res").unlink()
    for name, texts in DAMAGE.items():
        path = Path("run", name)
        whole = path.read_text()
        for text in texts:
            path.write_text(text)
            code, shown = say("train", "run", "--resume")
            assert code == 1
            assert f"run/{name} is damaged" in shown or f"run/{name} was " in shown
        path.write_text(whole)


# --- the recipe that an error shows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "classes"),
    [("3 x 32 x 32", 10), ("1 x 28 x 28", 10), ("1 x 48 x 48", 10), ("3 x H x W", 10), ("3 x 64 x 64", 3)],
)
def test_the_recipe_that_is_shown_can_be_pasted(tmp_path: Path, say: Say, sizes: str, classes: int) -> None:
    Path("net.res").write_text(NET.format(sizes, classes))
    code, shown = say("train", "net.res")
    example = shown[shown.index("train {") :]
    assert code == 1
    for number in range(classes if "folder" in example else 0):
        for split, count in (("train", 3), ("test", 1)):
            folder = tmp_path / "images" / split / f"class{number}"
            folder.mkdir(parents=True)
            for place in range(count):
                Image.new("RGB", (80 + place, 70), (40 * number, place, 7)).save(folder / f"{place}.png")
    Path("net.res").write_text(NET.format(sizes, classes) + example)
    options = ["--data", "images", "--batch", "9"] if "folder" in example else []
    code, shown = say("train", "net.res", "--iterations", "1", *options)
    assert code == 0, shown


@pytest.mark.parametrize(
    ("shape", "classes", "lines"),
    [
        ((3, 32, 32), 10, ["data digits", "augment pad(2) -> random_crop(32)"]),
        ((1, 28, 28), 10, ["data digits(size = 28)", "augment pad(1) -> random_crop(28)"]),
        ((64,), 10, ["data digits(size = 8)", "augment pad(1) -> random_crop(8)"]),
        ((3072,), 10, ["data digits", "augment pad(2) -> random_crop(32)"]),
        ((3, 32, 64), 10, ["data folder(resize = 64)"]),
        ((3, 224, 224), 1000, ["data folder", "augment random_resized_crop(224) -> flip"]),
        ((3, "H", "W"), 37, ["data folder", "augment random_resized_crop(224) -> flip"]),
        ((3, 4, 4), 10, ["data folder", "augment random_resized_crop(4) -> flip"]),
        ((5,), 10, ["data folder"]),
    ],
)
def test_the_recipe_fits_the_network(shape: tuple[object, ...], classes: int, lines: list[str]) -> None:
    text = example_recipe(shape, classes)
    found = [line.partition("#")[0].strip() for line in text.splitlines()]
    assert found[1 : 1 + len(lines)] == lines
    assert compile_network(SourceFile("net.res", TINY + text)).recipe is not None
