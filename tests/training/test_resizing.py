"""Progressive resizing: small training images at first, the test's at the end, and networks that cannot take them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import resdsl
from resdsl.compiler import compile_network
from resdsl.recipe import Recipe
from resdsl.recipe_types import Call, Value
from resdsl.source import SourceFile
from resdsl.train.checkpoint import load_checkpoint
from resdsl.train.data import ImageSet, network_input
from resdsl.train.errors import DataError
from resdsl.train.resizing import ImageSizes, check_resizing, resized, shorter_side
from resdsl.train.verify import verify_resume
from tests.training.runs import Make, MakeNet, Stopper, require_equal, run

pytestmark = pytest.mark.usefixtures("no_pictures")

SPECS = Path(__file__).parents[2] / "specs"


def growing(first: int, **others: Value) -> Call:
    full: dict[str, Value] = {"from": first, "start": 0.0, "end": 0.8, "multiple": 32}
    full.update(others)
    return Call("progressive_resizing", tuple(full.items()))


class Watched(nn.Module):
    """Remembers the sizes of the images that it sees in training and in tests."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.trained: list[tuple[int, ...]] = []
        self.tested: set[tuple[int, ...]] = set()

    def forward(self, images: Tensor) -> Tensor:
        sides = tuple(images.shape[2:])
        if self.training:
            self.trained.append(sides)
        else:
            self.tested.add(sides)
        logits: Tensor = self.inner(images)
        return logits


@pytest.mark.parametrize(
    ("done", "side"),
    [(0.0, 160), (0.4, 160), (0.45, 160), (0.49, 160), (0.51, 192), (0.6, 192), (0.75, 224), (0.8, 224), (1.0, 224)],
)
def test_the_size_grows_along_a_line_in_multiples(done: float, side: int) -> None:
    assert shorter_side(growing(160, start=0.4), 224, done) == side


def test_sizes_are_those_of_ffcv() -> None:
    """FFCV's ResNet-18 of 16 epochs: 160 pixels up to epoch 11, 192 from epoch 13 on, multiples of 32 in between."""
    resizing = growing(160, start=11 / 16, end=13 / 16)
    found = [shorter_side(resizing, 192, epoch / 16) for epoch in range(16)]
    line = [160 + 32 * min(max((epoch - 11) / 2, 0), 1) for epoch in range(16)]
    # FFCV rounds halves to even, as Python does.
    assert found == [round(side / 32) * 32 for side in line]


def test_the_full_size_need_be_no_multiple(make_recipe: Make) -> None:
    recipe = make_recipe(iterations=100, progressive_resizing=growing(7, multiple=4))
    sizes = ImageSizes(recipe, 1437, (18, 27))
    assert sizes.all() == [(7, 10), (8, 12), (12, 18), (16, 24), (18, 27)]
    seen = [sizes.at(step) for step in range(100)]
    assert list(dict.fromkeys(seen)) == sizes.all()
    assert seen[80:] == [(18, 27)] * 20


def test_resizing_is_that_of_torchvision() -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    images = torch.randn(3, 2, 32, 32)
    expected = functional.resize(images, [20, 20], antialias=True)
    assert torch.allclose(resized(images, (20, 20)), expected, atol=1e-6)
    assert resized(images, (32, 32)) is images


def test_training_images_grow_and_tests_have_the_full_size(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet
) -> None:
    model = Watched(make_net())
    recipe = make_recipe(
        iterations=20, evaluate=5, mix=Call("mixup"), progressive_resizing=growing(4, start=0.25, end=0.75, multiple=2)
    )
    result = run(model, recipe, tmp_path / "run")
    assert model.trained == [(4, 4)] * 8 + [(6, 6)] * 5 + [(8, 8)] * 7
    assert model.tested == {(8, 8)}
    recorded = load_checkpoint(result.checkpoint)["recipe"]["progressive_resizing"]
    assert recorded == {"name": "progressive_resizing", "from": 4, "start": 0.25, "end": 0.75, "multiple": 2}


def test_the_same_bits_after_a_stop(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    augment = (Call("pad", (("pixels", 1),)), Call("random_crop", (("size", 8),)))
    recipe = make_recipe(iterations=20, augment=augment, progressive_resizing=growing(4, multiple=1))
    run(make_net(), recipe, tmp_path / "whole")
    run(make_net(), recipe, tmp_path / "stopped", Stopper(9))
    run(make_net(), recipe, tmp_path / "stopped", resume=True)
    require_equal(tmp_path / "whole", tmp_path / "stopped")


def test_streamed_images_grow_too(tmp_path: Path, make_recipe: Make, make_net: MakeNet, image_folder: Path) -> None:
    for path in image_folder.rglob("*.png"):
        Image.open(path).resize((12, 10)).save(path)
    recipe = make_recipe(
        data=Call("folder"),
        augment=(Call("random_resized_crop", (("size", 8),)),),
        normalize="mean_std",
        batch=4,
        iterations=6,
        progressive_resizing=growing(4, end=0.5, multiple=2),
    )
    model = Watched(make_net(3, 2))
    run(model, recipe, tmp_path / "run", data_dir=image_folder, classes=2, input_shape=(3, 8, 8))
    assert model.trained == [(4, 4), (6, 6), (6, 6)] + [(8, 8)] * 3


def fixed_head() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(256, 10))


@pytest.mark.parametrize(
    ("make", "first", "shape", "message"),
    [
        (fixed_head, 4, (1, 8, 8), "the network does not take images of 4 x 4 pixels; it needs one that takes images"),
        (fixed_head, 12, (1, 8, 8), "begins with 12 pixels, but the images have only 8"),
        (lambda: nn.Linear(64, 10), 4, (64,), "is not for a network that takes a vector"),
    ],
)
def test_networks_that_cannot_are_refused_before_anything_is_written(
    tmp_path: Path,
    make_recipe: Make,
    make: Callable[[], nn.Module],
    first: int,
    shape: tuple[int, ...],
    message: str,
) -> None:
    recipe = make_recipe(iterations=4, progressive_resizing=growing(first))
    with pytest.raises(DataError, match=message):
        run(make(), recipe, tmp_path / "run", input_shape=shape)
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=message):
        verify_resume(make, recipe, classes=10, input_shape=shape)


def test_trying_a_network_changes_nothing_about_it(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    """Full size from the first step on: the run is the one without the setting."""
    plain, always_full = make_recipe(iterations=5), make_recipe(iterations=5, progressive_resizing=growing(8))
    weights = [
        load_checkpoint(run(make_net(), recipe, tmp_path / str(number)).checkpoint)["model"]
        for number, recipe in enumerate((plain, always_full))
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_networks_of_the_language(make_recipe: Make) -> None:
    recipe: Recipe = make_recipe(progressive_resizing=growing(16, multiple=8))

    def check(net: resdsl.Net) -> None:
        pixels = torch.zeros(1, dtype=torch.uint8).expand(100, 3, 32, 32)
        images = ImageSet(pixels, torch.zeros(100, dtype=torch.long))
        check_resizing(net.to_torch, recipe, network_input(net.input_shape, recipe.data), images)

    check(resdsl.load(SPECS / "cifar_resnets.res", "resnet20"))
    flat = "network flat { input 3 x 32 x 32; conv(3x3, 4, stride = 4) -> relu -> flatten -> linear(10) }"
    with pytest.raises(DataError, match="does not take images of 16 x 16"):
        check(compile_network(SourceFile("flat.res", flat)))
