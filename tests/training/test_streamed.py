"""Images read by workers: the same batches as from memory, at any step, in any order; views as torchvision's."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional

from resdsl.cli.main import main
from resdsl.recipe import Recipe
from resdsl.recipe_types import Call, Value
from resdsl.train import SilentReporter, streamed, train
from resdsl.train.data import DataSet, FileSet, load_data, network_input
from resdsl.train.errors import DataError
from resdsl.train.mix import Targets
from resdsl.train.normalize import Normalization, fit_normalization
from resdsl.train.stream import StreamedFeed, StreamedTraining, open_feed, open_stream, training_pixels
from resdsl.train.verify import verify_resume
from resdsl.train.windows import CentralView, random_part, random_view, split_augment, uniform_numbers

CPU = torch.device("cpu")
NOTHING = Normalization(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))


def call(name: str, **args: Value) -> Call:
    return Call(name, tuple(args.items()))


FOLDER = call("folder", validation=0, resize=0, strict=False)
SHORTER_SIDE = (call("resize_shorter_side", smallest=18, largest=30), call("random_crop", size=16))
PART = (call("random_resized_crop", size=16, smallest=0.08, largest=1.0, aspect=4 / 3),)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes, 20 pictures each of different sizes for training and 5 for the test; a class has one colour."""
    root = tmp_path / "pictures"
    generator = np.random.default_rng(1)
    for split, count in (("train", 20), ("test", 5)):
        for label, green in (("dark", 20), ("light", 220)):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (*generator.integers(20, 40, 2), 3), dtype=np.uint8)
                pixels[:, :, 1] = green
                Image.fromarray(pixels).save(root / split / label / f"{number:02}.png")
    return root


def load(place: Path, augment: tuple[Call, ...], **options: object) -> DataSet:
    data = call("folder", **({"validation": 0, "resize": 0, "strict": False} | options))  # type: ignore[arg-type]
    takes = network_input((3, 16, 16), data)
    return load_data(data, takes, 2, place, lambda done, total: None, augment=augment)


def opened(data: DataSet, recipe: Recipe) -> StreamedTraining:
    feed = open_feed(data.train, NOTHING, CPU, flat=False)
    stream = open_stream(feed, recipe)
    assert isinstance(stream, StreamedTraining)
    return stream


def plain(batch: tuple[Tensor, Targets]) -> tuple[Tensor, Tensor]:
    """A batch that is not mixed."""
    inputs, labels = batch
    assert isinstance(labels, Tensor)
    return inputs, labels


def test_batches_are_those_from_memory(
    image_folder: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = (call("pad", pixels=2), call("random_crop", size=8), call("flip", p=0.5))
    recipe = make_recipe(data=FOLDER, augment=augment, batch=5)
    takes = network_input((3, 8, 8), FOLDER)
    whole = load_data(FOLDER, takes, 2, image_folder, lambda done, total: None, augment=augment)
    monkeypatch.setattr("resdsl.train.data.MEMORY_LIMIT", 16 * 3 * 8 * 8 - 1)
    files = load_data(FOLDER, takes, 2, image_folder, lambda done, total: None, augment=augment)
    normalization = fit_normalization("per_pixel_mean", training_pixels(whole.train))
    sampled = fit_normalization("per_pixel_mean", training_pixels(files.train))
    assert torch.allclose(normalization.mean, sampled.mean)
    feeds = [open_feed(data.train, normalization, CPU, flat=False) for data in (whole, files)]
    assert isinstance(feeds[1], StreamedFeed)
    streams = [open_stream(feed, recipe) for feed in feeds]
    for step in range(8):
        ours, theirs = (plain(stream.batch(step)) for stream in streams)
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
    evaluated = [torch.cat([inputs for inputs, _ in feed.in_order()]) for feed in feeds]
    assert torch.equal(*evaluated)


@pytest.mark.parametrize("augment", [SHORTER_SIDE, PART])
def test_a_batch_is_a_function_of_seed_and_step(
    pictures: Path, make_recipe: Callable[..., Recipe], augment: tuple[Call, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(pictures, augment)
    assert isinstance(data.train, FileSet)
    recipe = make_recipe(data=FOLDER, augment=(*augment, call("flip", p=0.5)), batch=16, seed=3)
    state = torch.get_rng_state()
    stream = opened(data, recipe)
    batches = [plain(stream.batch(step)) for step in range(6)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(inputs.shape == (16, 3, 16, 16) for inputs, _ in batches)
    # Five batches are two epochs of 40 images: each image comes twice, seen in two ways.
    labels = torch.cat([labels for _, labels in batches[:5]])
    assert labels.bincount().tolist() == [40, 40]
    greens = torch.cat([inputs[:, 1].mean(dim=(1, 2)) for inputs, _ in batches[:5]])
    assert torch.equal((greens > 0.5).long(), labels)
    monkeypatch.setattr(streamed, "MOST_WORKERS", 1)
    again = opened(data, recipe)
    for step in (4, 5, 1):
        inputs, _ = again.batch(step)
        assert torch.equal(inputs, batches[step][0])
    other = opened(data, make_recipe(data=FOLDER, augment=augment, batch=16, seed=4))
    assert not torch.equal(other.batch(0)[0], batches[0][0])


def test_folders_tars_and_packed_files_give_the_same(
    pictures: Path, tmp_path: Path, make_recipe: Callable[..., Recipe]
) -> None:
    places = [pictures, tmp_path / "plain.tar", tmp_path / "small.tar.gz", tmp_path / "pictures.pack"]
    for place, mode in zip(places[1:3], ("w", "w:gz"), strict=True):
        with tarfile.open(place, mode) as tar:  # type: ignore[call-overload]
            tar.add(pictures, "pictures")
    assert main(["pack", str(pictures), "-o", str(places[3]), "--size", "0"]) == 0
    recipe = make_recipe(data=FOLDER, augment=PART, batch=24)
    batches = [plain(opened(load(place, PART), recipe).batch(1)) for place in places]
    for inputs, labels in batches[1:]:
        assert torch.equal(inputs, batches[0][0])
        assert torch.equal(labels, batches[0][1])


def test_views_are_torchvisions() -> None:
    generator = np.random.default_rng(2)
    for height, width in ((50, 71), (64, 40), (33, 33)):
        coarse = Image.fromarray(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        image = coarse.resize((width, height), Image.Resampling.BICUBIC)
        central = CentralView((28, 28), 32)(image, Random(0))
        expected = functional.center_crop(functional.resize(image, [32]), [28])
        assert np.abs(np.asarray(central, int) - np.asarray(expected, int)).max() <= 1
        # The same numbers, drawn here in the order of the view.
        view = random_view((call("resize_shorter_side", smallest=30, largest=48), call("random_crop", size=28)))
        seen = view(image, Random(7))
        numbers = Random(7)
        resized = functional.resize(image, [numbers.randint(30, 48)])
        top, left = numbers.randint(0, resized.height - 28), numbers.randint(0, resized.width - 28)
        expected = functional.crop(resized, top, left, 28, 28)
        assert np.abs(np.asarray(seen, int) - np.asarray(expected, int)).max() <= 1


def test_random_views_have_the_right_distribution() -> None:
    view = random_view((call("resize_shorter_side", smallest=8, largest=9), call("random_crop", size=8)))
    ramp = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    seen = [np.asarray(view(ramp, uniform_numbers(1, 0, index))).tobytes() for index in range(4000)]
    # Half of them are the whole image of 8 x 8, the others one of the four windows of the one of 9 x 9.
    shares = sorted(seen.count(one) / len(seen) for one in set(seen))
    assert len(shares) == 5
    assert np.allclose(shares, [1 / 8] * 4 + [1 / 2], atol=0.03)


def test_random_parts_have_torchvisions_distribution() -> None:
    torch.manual_seed(1)
    image = Image.new("L", (60, 40))
    ours = np.array([np.ravel(random_part((40, 60), PART[0], uniform_numbers(1, 0, n))) for n in range(4000)])
    parameters = torchvision.transforms.RandomResizedCrop.get_params
    theirs = np.array([parameters(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    assert np.allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.6)
    assert np.allclose(ours.std(axis=0), theirs.std(axis=0), atol=0.6)
    assert ours[:, 2].max() <= 40
    assert ours[:, 3].max() <= 60


def test_evaluation_views(pictures: Path) -> None:
    data = load(pictures, PART)
    feed = open_feed(data.test, NOTHING, CPU, flat=False)
    usual = torch.cat([pixels for pixels, _ in feed.pixels_in_order()])
    assert usual.shape == (10, 3, 16, 16)
    path = min((pictures / "test" / "dark").iterdir())
    with Image.open(path) as image:
        expected = functional.center_crop(functional.resize(image.convert("RGB"), [18]), [16])
        whole = functional.resize(image.convert("RGB"), [24])
    assert (usual[0].int() - functional.pil_to_tensor(expected).int()).abs().max() <= 1
    larger = [pixels for pixels, _ in feed.pixels_in_order(resize=24, crop=20)]
    assert torch.cat(larger).shape == (10, 3, 20, 20)
    alone = [pixels for pixels, _ in feed.pixels_in_order(resize=24, crop=0)]
    assert len(alone) == 10
    assert torch.equal(alone[0][0], functional.pil_to_tensor(whole))
    assert load(pictures, PART, resize=30).test.central.shorter == 30  # type: ignore[union-attr]


def corrupted(pictures: Path, wanted: int = 400) -> Path:
    for number in range(wanted):
        shutil.copy(pictures / "train/dark/00.png", pictures / f"train/dark/more{number:03}.png")
    (pictures / "train/light/00.png").write_bytes(b"hello")
    (pictures / "train/light/01.png").write_bytes(b"")
    return pictures


def test_corrupt_images_are_replaced(pictures: Path, make_recipe: Callable[..., Recipe]) -> None:
    notes: list[str] = []
    takes = network_input((3, 16, 16), FOLDER)
    data = load_data(FOLDER, takes, 2, corrupted(pictures), lambda done, total: None, augment=PART, note=notes.append)
    stream = opened(data, make_recipe(data=FOLDER, augment=PART, batch=110))
    labels = torch.cat([plain(stream.batch(step))[1] for step in range(8)])
    assert labels.bincount().tolist() == [840, 40]
    assert len(notes) == 2
    assert any("light/00.png is not an image" in note and "light/02.png takes its place" in note for note in notes)
    assert notes[1].endswith("2 so far")


def test_corrupt_images_that_are_errors(pictures: Path, make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(data=FOLDER, augment=PART, batch=40)
    strict = opened(load(corrupted(pictures, 400), PART, strict=True), recipe)
    with pytest.raises(DataError, match=r"light/0[01].png .*the recipe's data are strict"):
        [strict.batch(step) for step in range(11)]
    for path in (pictures / "train/dark").glob("more*"):
        path.unlink()
    with pytest.raises(DataError, match=r"1 of 40 images cannot be used, more than 1%"):
        opened(load(pictures, PART), recipe).batch(0)


def test_images_of_another_size_in_a_worker(
    pictures: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resdsl.train.data.MEMORY_LIMIT", 1)
    stream = opened(load(pictures, ()), make_recipe(data=FOLDER, batch=4))
    with pytest.raises(DataError, match=r"but the network takes 16 x 16: give the recipe's data `resize`"):
        stream.batch(0)


def test_too_little_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"workers need 3,072 PiB|workers need [\d,]+ MiB of shared memory"):
        streamed.count_workers(1 << 60, None)
    assert streamed.count_workers(1000, 1) == 1


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ((call("flip", p=0.5), *PART), "random_resized_crop must come first"),
        ((*PART, *PART), "must come first in the augmentation, and only once"),
        ((call("resize_shorter_side", smallest=15, largest=30), SHORTER_SIDE[1]), r"random_crop\(16\) does not fit"),
        ((call("random_resized_crop", size=8, smallest=0.1, largest=1.0, aspect=2.0),), "gives 8 x 8, but the network"),
    ],
)
def test_augmentations_that_do_not_fit(pictures: Path, augment: tuple[Call, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(pictures, augment)
    assert split_augment((call("flip", p=0.5),)) == ((), (call("flip", p=0.5),))


def test_training_on_streamed_images(pictures: Path, tmp_path: Path, make_recipe: Callable[..., Recipe]) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3, 2))
    recipe = make_recipe(
        data=call("folder", validation=10),
        augment=(*PART, call("flip", p=0.5)),
        normalize="mean_std",
        batch=10,
        iterations=20,
    )
    result = train(
        net, recipe, tmp_path / "run", classes=2, input_shape=(3, 16, 16), name="net", data_dir=pictures,
        reporter=SilentReporter(),
    )  # fmt: skip
    assert result.test_error == 0
    assert result.validation_error == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 20


def test_a_streamed_run_resumes_bit_for_bit(pictures: Path, make_recipe: Callable[..., Recipe]) -> None:
    augment = (*PART, call("flip", p=0.5))
    recipe = make_recipe(data=FOLDER, augment=augment, normalize="mean_std", batch=16, iterations=20)

    def make_model() -> nn.Module:
        return nn.Sequential(nn.Dropout(), nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3, 2))

    assert verify_resume(make_model, recipe, classes=2, input_shape=(3, 16, 16), data_dir=pictures) is None


def test_workers_end(pictures: Path, make_recipe: Callable[..., Recipe]) -> None:
    import multiprocessing

    before = len(multiprocessing.active_children())
    stream = opened(load(pictures, PART), make_recipe(data=FOLDER, augment=PART, batch=4))
    stream.batch(0)
    assert len(multiprocessing.active_children()) > before
    stream.close()
    assert len(multiprocessing.active_children()) == before
    feed = stream.feed
    batches: Iterator[object] = feed.in_order()
    next(iter(batches))
    del batches
    assert len(multiprocessing.active_children()) == before
