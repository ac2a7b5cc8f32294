"""Augmentation: the right distribution, the same images as one by one, and no state."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from resdsl.recipe_schema import SCHEMA
from resdsl.recipe_types import Call, Value
from resdsl.train.augment import Draws, apply_augment, change_inputs, check_augment, draw_epoch, steps_on_pixels
from resdsl.train.errors import DataError
from resdsl.train.geometry import crop, places

PAD, CROP, FLIP = Call("pad", (("pixels", 4),)), Call("random_crop", (("size", 32),)), Call("flip", (("p", 0.5),))
PAPER = (PAD, CROP, FLIP)


def bound(name: str, **args: Value) -> Call:
    """A step of the schema with its defaults."""
    form = SCHEMA["augment"].form(name)
    assert form is not None
    return form.bind(Call(name, tuple(args.items())))


EVERY = (
    bound("resize_shorter_side", smallest=36, largest=60),
    bound("random_resized_crop", size=32),
    bound("colour_jitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
    bound("lighting"),
    bound("rand_augment"),
    bound("trivial_augment"),
    bound("random_erasing", p=0.8),
)


def draw(images: int, *, seed: int = 1, epoch: int = 0) -> Draws:
    return draw_epoch(PAPER, images, seed, epoch)


def chi_square(counts: Tensor) -> float:
    expected = counts.sum() / counts.numel()
    return float(((counts - expected) ** 2 / expected).sum())


def test_all_places_and_both_flips_are_equally_frequent() -> None:
    """Seen in the images themselves: each pixel says where it was, and the border is 0."""
    images = 81_000
    rows = torch.arange(1, 33).view(1, 1, 32, 1).expand(1, 1, 32, 32)
    columns = torch.arange(1, 33).view(1, 1, 1, 32).expand(1, 1, 32, 32)
    picture = torch.cat([rows, columns], dim=1).float()
    counts, draws = torch.zeros(9, 9, 2), draw(images)
    for part in range(0, images, 9000):
        drawn = draws.part(part, part + 9000)
        seen = change_inputs(picture.expand(9000, -1, -1, -1), PAPER, drawn.steps)
        # The middle of the crop lies inside the picture, wherever the crop is.
        is_flipped = seen[:, 1, 16, 15] > seen[:, 1, 16, 16]
        top = seen[:, 0, 16, 16].long() - 13
        left = torch.where(is_flipped, seen[:, 1, 16, 15], seen[:, 1, 16, 16]).long() - 13
        counts += torch.bincount((top * 9 + left) * 2 + is_flipped, minlength=162).view(9, 9, 2)
    assert counts.sum() == images
    # 161 degrees of freedom: mean 161, deviation 18; five deviations leave no room for a biased draw.
    assert chi_square(counts) < 161 + 5 * 18


def test_draws_of_images_do_not_hang_together() -> None:
    numbers = torch.cat([step for step in draw(50_000).steps if step.numel()], dim=1)
    for distance in range(3):
        together = torch.corrcoef(torch.cat([numbers[distance:], numbers[: len(numbers) - distance]], dim=1).T)
        together[torch.arange(6), torch.arange(6)] = 0
        if distance == 0:
            together[torch.arange(6), torch.arange(6).roll(3)] = 0
        assert together.abs().max() < 0.025


def test_batches_equal_images_done_one_by_one() -> None:
    images = torch.randn(40, 3, 32, 32)
    draws = draw(40)
    batch = change_inputs(images, PAPER, draws.steps)
    for number in range(40):
        top, left = (int(value) for value in places(draws.steps[1][number], 8))
        padded = torch.zeros(3, 40, 40)
        padded[:, 4:36, 4:36] = images[number]
        single = padded[:, top : top + 32, left : left + 32]
        assert torch.equal(batch[number], single.flip(2) if draws.steps[2][number] < 0.5 else single)


@pytest.mark.parametrize("step", [CROP, FLIP, *EVERY])
def test_a_batch_gives_what_its_images_give_alone(step: Call) -> None:
    pixels = torch.randint(0, 256, (12, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    chain = (step, CROP) if step.name == "resize_shorter_side" else (step,)
    drawn = draw_epoch(chain, 12, 5, 0).steps

    def halved(images: Tensor) -> Tensor:
        return images.float() / 2

    together = apply_augment(pixels, chain, drawn, halved)
    for number in range(12):
        alone = apply_augment(pixels[number : number + 1], chain, tuple(d[number : number + 1] for d in drawn), halved)
        assert torch.allclose(together[number], alone[0], atol=1e-4)
    untouched = pixels if together.shape == pixels.shape else pixels[:, :, 4:36, 4:36]
    assert not torch.equal(together, halved(untouched))


def test_normalisation_comes_between_pixels_and_inputs() -> None:
    erasing, jitter = bound("random_erasing", p=1.0), bound("colour_jitter", brightness=0.5)
    assert steps_on_pixels((FLIP, PAD, CROP)) == 0
    assert steps_on_pixels((FLIP, jitter, PAD, CROP, erasing)) == 2
    assert steps_on_pixels((bound("resize_shorter_side", smallest=40, largest=48), CROP, FLIP)) == 2
    pixels = torch.full((8, 3, 32, 32), 200, dtype=torch.uint8)
    chain = (jitter, erasing)
    seen = apply_augment(pixels, chain, draw_epoch(chain, 8, 1, 0).steps, lambda images: images.float() / 255 + 10)
    assert set((seen == 0).flatten(1).any(dim=1).tolist()) == {True}  # erased after normalisation
    assert seen[seen != 0].min() >= 10


def test_crop_of_a_part() -> None:
    images = torch.arange(32.0).view(1, 2, 4, 4)
    assert torch.equal(crop(images, torch.tensor([1]), torch.tensor([2]), 2), images[:, :, 1:3, 2:4])


def test_an_epoch_is_a_permutation_and_depends_on_seed_and_epoch_alone() -> None:
    first, again = draw(500), draw(500)
    assert torch.equal(first.order.sort().values, torch.arange(500))
    assert torch.equal(first.order, again.order)
    assert all(torch.equal(*pair) for pair in zip(first.steps, again.steps, strict=True))
    for other in (draw(500, seed=2), draw(500, epoch=1)):
        assert not torch.equal(first.order, other.order)
        assert not torch.equal(first.steps[1], other.steps[1])


def test_parts_join_to_the_whole() -> None:
    whole = draw(50)
    joined = whole.part(0, 20).join(whole.part(20, 50))
    assert torch.equal(joined.order, whole.order)
    assert torch.equal(joined.steps[2], whole.steps[2])


def test_mixing_is_drawn_joined_and_moved_with_the_rest() -> None:
    mix = Call("mixup", (("alpha", 0.2), ("p", 1.0)))
    whole = draw_epoch(PAPER, 50, 1, 0, mix)
    assert whole.mix is not None
    joined = whole.part(0, 20).join(whole.part(20, 50)).to(torch.device("cpu"))
    assert joined.mix is not None
    assert torch.equal(joined.mix, whole.mix)
    assert torch.equal(whole.order, draw(50).order)


@pytest.mark.parametrize(
    "augment", [(), (FLIP,), PAPER, (CROP,), (EVERY[1],), (EVERY[0], CROP), (PAD, *EVERY[2:], CROP)]
)
def test_sizes_that_come_out_as_they_went_in(augment: tuple[Call, ...]) -> None:
    check_augment(augment, (32, 32))


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ((CROP,), "random_crop(32) does not fit into 28 x 28: crop less, or pad before"),
        ((EVERY[1],), "turns images of 28 x 28 into 32 x 32, unlike the test's: end it with random_crop(28)"),
        (
            (bound("resize_shorter_side", smallest=20, largest=60), CROP),
            "random_crop(32) does not fit into 20 x 20: scale to a larger size",
        ),
        ((PAD,), "turns images of 28 x 28 into 36 x 36, unlike the test's: end it with random_crop(28)"),
    ],
)
def test_sizes_that_do_not(augment: tuple[Call, ...], message: str) -> None:
    with pytest.raises(DataError) as caught:
        check_augment(augment, (28, 28))
    assert message in str(caught.value)


def test_lighting_needs_colours() -> None:
    with pytest.raises(DataError, match="the images are gray"):
        check_augment((bound("lighting"),), (32, 32), 1)
