"""Wrong inputs of the commands: each gives one clear error before any training, and nothing is overwritten."""

from __future__ import annotations

import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from resdsl.cli.main import main
from tests.training.conftest import Say

pytestmark = pytest.mark.usefixtures("no_pictures")

NET = "network tiny {\n  input 1 x 8 x 8\n  conv(3x3, 4) -> bn -> relu -> global_avg_pool -> linear(10)\n}\n"
RECIPE = "train {\n  data digits(size = 8)\n  batch 64\n  optimizer sgd(lr = 0.1)\n  iterations 2\n}\n"


@pytest.fixture(autouse=True)
def spec(tmp_path: Path) -> None:
    (tmp_path / "net.res").write_text(NET + RECIPE)


def content(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "net.res").write_text(NET + RECIPE)
    assert main(["train", str(folder / "net.res"), "--out", str(folder / "run"), "--device", "cpu"]) == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--lr=nan",), 1, "`lr` must be a number, above 0, not nan"),
        (("--lr=inf",), 1, "`lr` must be a number, above 0, not inf"),
        (("--lr=-0.1",), 1, "`lr` must be a number, above 0, not -0.1"),
        (("--lr=0",), 1, "`lr` must be a number, above 0, not 0.0"),
        (("--lr=abc",), 2, "invalid float value: 'abc'"),
        (("--batch=0",), 1, "`batch` must be an integer, at least 1, not 0"),
        (("--batch=-1",), 1, "`batch` must be an integer, at least 1, not -1"),
        (("--batch=1000000000",), 1, "batch 1000000000 is larger than the training set of 1437 images"),
        (("--iterations=0",), 1, "`iterations` must be an integer, at least 1, not 0"),
        (("--epochs=0",), 1, "`epochs` must be an integer, at least 1, not 0"),
        (("--epochs=2", "--iterations=2"), 1, "give either iterations or epochs, not both"),
        (("--seed=-1",), 1, "`seed` must be an integer, at least 0"),
        (("--setting=garbage",), 1, "a recipe has no setting `garbage`"),
        (("--setting=batch 3 } network x { input 3",), 1, "`network` cannot stand here"),
        (("--setting=} import os; os.system('touch hacked') {",), 1, "`import` cannot stand here"),
        (("--setting=batch \x1b[31m3",), 1, "is no word or sign of the language"),
        (("--setting=optimizer sgd(lr = nan)",), 1, "`lr` must be a number, above 0, not nan"),
        (("--setting=batch 64; batch 32",), 1, "`batch` is set twice"),
        (("--setting=iterations 1e9999",), 1, "the number `1e9999` is too large"),
        (("--setting=data folder", "--data=nowhere"), 1, "there is no nowhere"),
        (("--setting=progressive_resizing(from = 9)",), 1, "begins with 9 pixels, but the images have only 8"),
        (("--spec=net.res",), 2, "--spec is for --resume"),
        (("--recipe=missing.res",), 1, "the file cannot be read: No such file or directory"),
        (("--recipe=folder",), 1, "the file cannot be read: Is a directory"),
        (("--recipe=binary.res",), 1, "the file is not UTF-8 text"),
        (("--recipe=huge.res",), 1, "the file is too large: a spec has at most 8,000,000 bytes"),
        (("--recipe=/dev/zero",), 1, "the file is too large"),
        (("--recipe=empty.res",), 1, "the file has no recipe"),
    ],
)
def test_options_of_train(say: Say, options: tuple[str, ...], code: int, message: str) -> None:
    Path("folder").mkdir()
    Path("binary.res").write_bytes(b"train {\xff\xfe")
    Path("empty.res").write_text("")
    with Path("huge.res").open("wb") as file:
        file.truncate(100_000_000)
    given, shown = say("train", "net.res", "--out", "run", *options)
    assert given == code
    assert message in shown
    assert not Path("run").exists()
    assert not Path("hacked").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "full", "sealed/run", "/proc/run"])
def test_places_for_a_run(say: Say, place: str) -> None:
    Path("file").write_text("mine")
    Path("full").mkdir()
    Path("full/mine").write_text("mine")
    Path("sealed").mkdir(mode=0o500)
    if place.startswith("sealed") and os.access("sealed", os.W_OK):
        pytest.skip("whoever may write everywhere")
    before = content(Path())
    code, shown = say("train", "net.res", "--out", place)
    assert code == 1
    assert place in shown
    assert content(Path()) == before


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "there is no folder nowhere"),
        ("net.res", "net.res is not a run folder"),
        ("empty", "empty is not a run folder"),
    ],
)
def test_what_is_no_run(say: Say, folder: str, message: str) -> None:
    Path("empty").mkdir()
    before = content(Path())
    for command in (("train", "--resume"), ("eval",), ("plot",)):
        code, shown = say(*command, folder)
        assert code == 1
        assert message in shown
    assert content(Path()) == before


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 1, "is the folder of a run: go on with it by --resume"),
        (("--resume", "--verify-resume"), 2, "give one of them"),
        (("--resume", "--out=other"), 2, "a run goes on in its own folder: leave --out out"),
        (("--resume", "--iterations=5"), 1, "the recipe has changed since the run began"),
        (("--resume", "--network=other"), 1, "there is no network `other`"),
        (("--resume", "--spec=missing.res"), 1, "the file cannot be read: No such file or directory"),
    ],
)
def test_options_of_resuming(say: Say, finished: Path, options: tuple[str, ...], code: int, message: str) -> None:
    before = content(finished)
    given, shown = say("train", str(finished), *options)
    assert given == code
    assert message in shown
    assert content(finished) == before
    assert not Path("other").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("recipe.json", None, "has no recipe.json"),
        ("recipe.json", "[1]", "recipe.json is damaged"),
        ("environment.json", None, "has no environment.json"),
        ("environment.json", "{}", "environment.json was not written by this version"),
        ("environment.json", "\udcff", "environment.json is not text in UTF-8"),
        ("network.json", "{", "network.json is damaged"),
        ("arguments.json", None, "is not a run folder, or was written by another version of resdsl"),
        ("arguments.json", "[]", "arguments.json is damaged"),
    ],
)
def test_damaged_records_are_found_before_a_run_goes_on(
    say: Say, finished: Path, name: str, text: str | None, message: str
) -> None:
    shutil.copytree(finished, "run")
    damaged = Path("run", name)
    if text is None:
        damaged.unlink()
    else:
        damaged.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = content(Path("run"))
    code, shown = say("train", "run", "--resume")
    assert code == 1
    assert message in shown
    assert "already finished" not in shown
    assert content(Path("run")) == before


def test_a_run_folder_that_cannot_be_written_to(say: Say, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(finished)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != finished)  # root may write everywhere
    code, shown = say("train", str(finished), "--resume")
    assert code == 1
    assert "cannot be written to" in shown
    assert content(finished) == before


def test_packing_overwrites_packed_files_only(say: Say, image_folder: Path) -> None:
    before = Path("net.res").read_bytes()
    code, shown = say("pack", str(image_folder), "-o", "net.res")
    assert code == 1
    assert "net.res exists and is no packed file" in shown
    assert Path("net.res").read_bytes() == before
    for _ in range(2):
        assert say("pack", str(image_folder), "-o", "images.pack")[0] == 0
