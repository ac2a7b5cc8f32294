"""`resdsl eval` from end to end on runs of a tiny network, against loops written here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import resdsl
from resdsl.cli.main import main
from resdsl.runs import RunError, load_run

PARTS = """block unit(filters) {
  conv(3x3, filters) -> bn -> relu
}
"""
SPEC = """use "parts/unit.res"

network tiny(width = 8) {
  input 1 x 16 x 16
  unit(filters = width) -> unit(filters = 12)
  global_avg_pool -> linear(10)
}

network stiff {
  input 1 x 16 x 16
  conv(3x3, 4, stride = 4) -> bn -> relu -> flatten -> linear(10)
}

train {
  data digits(size = 16)
  augment pad(2) -> random_crop(16)
  normalize per_pixel_mean
  batch 64
  optimizer sgd(lr = 0.1)
  iterations 12
}
"""


def resdsl_says(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["--color", "never", *map(str, arguments)])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err + shown.out
    return code, shown.out, shown.err


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny with two seeds, tiny with a moving average and another width, and stiff."""
    root = tmp_path_factory.mktemp("runs")
    (root / "spec" / "parts").mkdir(parents=True)
    (root / "spec" / "parts" / "unit.res").write_text(PARTS)
    spec = root / "spec" / "tiny.res"
    spec.write_text(SPEC)
    orders: dict[str, tuple[str, ...]] = {
        "one": ("--seed", "1"),
        "two": ("--seed", "2"),
        "wide": ("--set", "width=16", "--setting", "ema 0.9"),
        "stiff": ("--network", "stiff"),
    }
    for name, options in orders.items():
        assert main(["train", str(spec), "--out", str(root / name), *options]) == 0
    shutil.rmtree(root / "spec")
    return root


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    """A run folder to be spoilt."""
    return Path(shutil.copytree(runs / "one", tmp_path / "one"))


def results(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, err = resdsl_says(capsys, "eval", *arguments, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def model_and_test(folder: Path) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """The network by hand; the test images as scikit-learn and the documented split have them; the mean image."""
    from resdsl.recipe_types import Call
    from resdsl.train.data import load_data, network_input

    model = load_run(folder).to_torch()
    content = torch.load(folder / "checkpoint.pt", weights_only=True)
    model.load_state_dict(content["average"] or content["model"])
    data = Call("digits", (("size", 16), ("test", 360), ("validation", 0)))
    takes = network_input((1, 16, 16), data)
    test: Any = load_data(data, takes, 10, None, lambda done, total: None).test
    return model.eval(), test.pixels, test.labels, content["normalization"]["mean"]


def softmax(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return F.softmax(model(inputs).double(), dim=1)


def test_the_network_comes_back_without_its_spec(runs: Path) -> None:
    assert load_run(runs / "one").parameters < load_run(runs / "wide").parameters
    assert load_run(runs / "stiff").name == "stiff"
    assert (runs / "one" / "used" / "0" / "parts" / "unit.res").read_text() == PARTS
    assert json.loads((runs / "wide" / "network.json").read_text())["parameters"] == load_run(runs / "wide").parameters


def test_one_crop_is_the_error_of_the_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "wide", "stiff"):
        (result,) = results(capsys, runs / name)["results"]
        last = json.loads((runs / name / "metrics.jsonl").read_text().splitlines()[-1])
        assert result["top1_error"] == pytest.approx(last["test_error"], abs=1e-12)
        assert result["images"] == 360


def test_every_number_against_a_loop(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from torchvision.transforms.v2.functional import resize

    folders = [runs / "one", runs / "two", runs / "wide"]
    arguments = ("--crops", "10", "--scales", "12,16", "--ensemble")
    found = results(capsys, *folders, *arguments)
    expected: list[Tensor] = []
    labels = model_and_test(folders[0])[2]
    for folder in folders:
        model, pixels, _, average = model_and_test(folder)
        padded = F.pad(pixels.float() / 255 - average, [2] * 4)
        corners = [padded[:, :, top : top + 16, left : left + 16] for top in (0, 4) for left in (0, 4)]
        crops = [*corners, padded[:, :, 2:18, 2:18]]
        views = [softmax(model, view) for crop in crops for view in (crop, crop.flip(3))]
        expected.append(torch.stack(views).mean(dim=0))
        small = resize(pixels, [12, 12], antialias=True).float() / 255 - average.mean()
        whole = softmax(model, pixels.float() / 255 - average)
        expected.append((softmax(model, small) + whole) / 2)
    expected += [torch.stack(expected[0:6:2]).mean(dim=0), torch.stack(expected[1:6:2]).mean(dim=0)]
    assert len(found["results"]) == 8
    for result, probabilities in zip(found["results"], expected, strict=True):
        top = probabilities.topk(5).indices
        assert result["top1_error"] == pytest.approx((top[:, 0] != labels).double().mean().item())
        assert result["top5_error"] == pytest.approx((top != labels.unsqueeze(1)).all(dim=1).double().mean().item())
        confusion = torch.zeros(10, 10, dtype=torch.long)
        for label, guess in zip(labels.tolist(), top[:, 0].tolist(), strict=True):
            confusion[label, guess] += 1
        assert result["confusion"] == confusion.tolist()
    assert found["results"][-1]["runs"] == [str(folder) for folder in folders]
    for kind, entry in enumerate(found["spreads"]):
        errors = [found["results"][place]["top1_error"] for place in (kind, kind + 2)]
        assert entry["runs"] == [str(folder) for folder in folders[:2]]
        assert entry["top1_error"]["mean"] == pytest.approx(mean(errors))
        assert entry["top1_error"]["deviation"] == pytest.approx(stdev(errors))


def test_precise_statistics(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from resdsl.recipe_types import Call
    from resdsl.train.data import load_data, network_input

    (result,) = results(capsys, runs / "one", "--precise-bn", "1437")["results"]
    model, pixels, labels, average = model_and_test(runs / "one")
    data = Call("digits", (("size", 16), ("test", 360), ("validation", 0)))
    train: Any = load_data(data, network_input((1, 16, 16), data), 10, None, lambda done, total: None).train
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # torch's own plain average over equal batches
    with torch.no_grad():
        for number in range(23):  # 1437 images in batches of at most 64
            first, last = 1437 * number // 23, 1437 * (number + 1) // 23
            model(train.pixels[first:last].float() / 255 - average)
    wrong = softmax(model.eval(), pixels.float() / 255 - average).argmax(dim=1) != labels
    assert result["top1_error"] == pytest.approx(wrong.double().mean().item(), abs=3 / 360)


def test_tables_say_the_same(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("eval", runs / "one", runs / "two", "--per-class", "--confusion")
    code, out, err = resdsl_says(capsys, *arguments)
    assert (code, err) == (0, "")
    found = results(capsys, runs / "one", runs / "two")
    for result in found["results"]:
        assert f"{100 * result['top1_error']:.2f} %" in out
    entry = found["spreads"][0]["top1_error"]
    assert f"{100 * entry['mean']:.2f} ± {100 * entry['deviation']:.2f} %" in out
    assert "tiny: mean of 2" in out
    assert "confusion" in out


def test_results_go_on_record(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (result,) = results(capsys, copied, "--crops", "10")["results"]
    row = json.loads((copied / "evaluations.jsonl").read_text().splitlines()[-1])
    assert (row["views"], row["top1_error"], row["step"]) == ("10 crops, pad 2", result["top1_error"], 12)
    assert "this run, 10 crops, pad 2" in (copied / "README.md").read_text()
    assert "this run, 10 crops, pad 2" in (copied / "index.html").read_text()


def test_crops_of_larger_images(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from torchvision.transforms.v2.functional import resize

    (result,) = results(capsys, runs / "one", "--crops", "10", "--shorter-side", "20")["results"]
    model, pixels, labels, average = model_and_test(runs / "one")
    large = resize(pixels, [20, 20], antialias=True).float() / 255
    corners = [large[:, :, top : top + 16, left : left + 16] for top in (0, 4) for left in (0, 4)]
    crops = [*corners, large[:, :, 2:18, 2:18]]
    views = [softmax(model, view - average) for crop in crops for view in (crop, crop.flip(3))]
    assert result["top1_error"] == pytest.approx((sum(views[1:], views[0]).argmax(1) != labels).double().mean().item())
    assert result["views"] == "10 crops of 20"


# --- images in files -------------------------------------------------------------------------------------------------


FILES = """network seen {
  input 3 x 16 x 16
  conv(3x3, 8, stride = 2) -> bn -> relu -> global_avg_pool -> linear(2)
}
train {
  data folder(resize = 18)
  normalize mean_std
  batch 8
  optimizer sgd(lr = 0.1)
  iterations 6
}
"""


def test_whole_images_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(7)
    for split, number, shape in ((s, n, (20 + n, 30 - n)) for s in ("train", "test") for n in range(6)):
        for label, shade in (("cat", 90), ("dog", 120)):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True, exist_ok=True)
            noise = generator.integers(0, 130, (*shape, 3), dtype=np.uint8)
            Image.fromarray(noise + np.uint8(shade)).save(folder / f"{number}.png")
    (tmp_path / "seen.res").write_text(FILES)
    run = tmp_path / "run"
    trained = ("train", tmp_path / "seen.res", "--data", tmp_path / "images", "--out", run)
    assert resdsl_says(capsys, *trained)[0] == 0
    # The place of the images is on record.
    arguments = (run, "--crops", "10", "--shorter-side", "18", "--scales", "16,18")
    found = results(capsys, *arguments)["results"]
    assert [result["images"] for result in found] == [12, 12]
    model = load_run(run).to_torch()
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    model.load_state_dict(content["model"])
    model.eval()
    average, deviation = content["normalization"]["mean"], content["normalization"]["deviation"]
    wrong = [0, 0]
    for number, name in enumerate(("cat", "dog")):
        for path in (tmp_path / "images" / "test" / name).iterdir():
            image = Image.open(path)

            def at(shorter: int, image: Image.Image = image) -> Tensor:
                scale = shorter / min(image.size)
                sides = [shorter if side == min(image.size) else int(side * scale) for side in image.size]
                pixels = np.asarray(image.resize((sides[0], sides[1]), Image.Resampling.BILINEAR))
                inputs: Tensor = (torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255 - average) / deviation
                return inputs

            large = at(18)
            height, width = large.shape[1:]
            places = [(top, left) for top in (0, height - 16) for left in (0, width - 16)]
            places.append((round((height - 16) / 2), round((width - 16) / 2)))
            crops = torch.stack([large[:, top : top + 16, left : left + 16] for top, left in places])
            ten = softmax(model, torch.cat([crops, crops.flip(3)])).mean(dim=0)
            scales = softmax(model, large[None])[0] + softmax(model, at(16)[None])[0]
            wrong[0] += int(ten.argmax()) != number
            wrong[1] += int(scales.argmax()) != number
    assert abs(found[0]["top1_error"] * 12 - wrong[0]) <= 1  # resized twice, by Pillow and by torchvision: a borderline
    assert abs(found[1]["top1_error"] * 12 - wrong[1]) <= 1


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stiff", "--scales", "16,20"), "takes images of one size only, so no --scales"),
        (("one", "--crops", "10", "--shorter-side", "15"), "--shorter-side 15 is smaller than the 16 pixels"),
        (("one", "--shorter-side", "20"), "--shorter-side is for --crops 10"),
        (("one", "--ensemble"), "an ensemble needs two runs or more"),
        (("one", "one"), "is named twice"),
        (("one", "--precise-bn", "1438"), "has 1,437 images"),
        (("one", "--precise-bn", "1"), "needs two images or more"),
        (("gone",), "there is no folder"),
        (("one/spec.res",), "is not a run folder"),
        (("one/used",), "is not a run folder: it has no recipe.json"),
    ],
)
def test_wrong_orders(runs: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    placed = [
        argument if argument.startswith("--") or argument[0].isdecimal() else runs / argument for argument in arguments
    ]
    code, out, err = resdsl_says(capsys, "eval", *placed)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("text", ["0", "-3", "16,16", "a", "", "16,", "99999999999", "٣"])
def test_wrong_scales(runs: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert resdsl_says(capsys, "eval", runs / "one", f"--scales={text}")[0] == 2


def test_images_too_small_for_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deep.res").write_text(
        "network deep { input 1 x 16 x 16\n conv(3x3, 4, padding = 0) -> conv(5x5, 4, padding = 0) -> bn -> relu\n"
        " global_avg_pool -> linear(10) }\n"
        "train { data digits(size = 16); optimizer sgd(lr = 0.1); iterations 1 }\n"
    )
    assert resdsl_says(capsys, "train", tmp_path / "deep.res", "--out", tmp_path / "run")[0] == 0
    least = resdsl.load(tmp_path / "deep.res").retarget(input="1 x H x W").summary()["minimum_input"][1]
    code, _, err = resdsl_says(capsys, "eval", tmp_path / "run", "--scales", f"{least - 1},16")
    assert code == 1
    assert f"images of {least - 1} pixels are too small; it needs at least {least}" in err
    assert resdsl_says(capsys, "eval", tmp_path / "run", "--scales", f"{least},16")[0] == 0


def test_spoilt_folders(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(message: str) -> None:
        code, _, err = resdsl_says(capsys, "eval", copied)
        assert code == 1
        assert message in err

    used = copied / "used" / "0" / "parts" / "unit.res"
    used.write_text(PARTS.replace("3x3", "5x5"))
    told("no longer gives the network that was trained")
    used.write_text("block {")
    told("no longer compiles")
    used.unlink()
    told("lacks used/0/parts/unit.res, a file that its spec uses")
    used.write_text(PARTS)
    checkpoint = (copied / "checkpoint.pt").read_bytes()
    (copied / "checkpoint.pt").write_bytes(checkpoint[:-100])
    told("damaged")
    torch.save({"version": 99}, copied / "checkpoint.pt")
    told("written by another version of resdsl")
    for name in ("source.json", "recipe.json", "network.json"):
        text = (copied / name).read_text()
        for spoilt in ("", "{", "[]", "{}", '{"version": 1}', "[" * 100_000):
            (copied / name).write_text(spoilt)
            code, _, err = resdsl_says(capsys, "eval", copied)
            assert code == 1, (name, spoilt[:9])
            assert name in err or "no longer gives" in err
        (copied / name).write_text(text)


def test_source_with_wrong_types(copied: Path) -> None:
    content = json.loads((copied / "source.json").read_text())
    for word, value in [("main", 3), ("arguments", [1]), ("changes", [["input"]]), ("files", ["x"]), ("files", "x")]:
        (copied / "source.json").write_text(json.dumps(content | {word: value}))
        with pytest.raises(RunError):
            load_run(copied)


def test_a_seed_counts_once(runs: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert results(capsys, runs / "one", copied)["spreads"] == []
    (spread,) = results(capsys, runs / "one", copied, runs / "two")["spreads"]
    assert spread["runs"] == [str(runs / "one"), str(runs / "two")]


def test_other_classes_are_no_ensemble(runs: Path) -> None:
    from resdsl.train.assess import Member, Wanted, assess, open_member
    from resdsl.train.errors import TrainError

    def member(name: str) -> Member:
        net = load_run(runs / name)
        return open_member(runs / name, net.to_torch(), net.input_shape)

    one, two = member("one"), member("two")
    object.__setattr__(two.stored, "classes", tuple("abcdefghij"))
    with pytest.raises(TrainError, match="was trained on other classes than these data have"):
        assess([one, two], Wanted(ensemble=True))
