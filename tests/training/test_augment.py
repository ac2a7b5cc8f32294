"""Augmentation: the right distribution, the same images as one by one, and no state."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from resdsl.recipe_schema import Call
from resdsl.train.augment import Draws, apply_augment, check_augment, crop, draw_epoch
from resdsl.train.errors import DataError

PAD, CROP, FLIP = Call("pad", (("pixels", 4),)), Call("random_crop", (("size", 32),)), Call("flip", (("p", 0.5),))
PAPER = (PAD, CROP, FLIP)


def draw(images: int, *, seed: int = 1, epoch: int = 0) -> Draws:
    return draw_epoch(PAPER, images, (32, 32), seed, epoch)


def chi_square(counts: Tensor) -> float:
    expected = counts.sum() / counts.numel()
    return float(((counts - expected) ** 2 / expected).sum())


def test_all_places_and_both_flips_are_equally_frequent() -> None:
    draws = draw(81_000)
    tops, lefts = draws.steps[1].unbind(dim=1)
    flips = draws.steps[2].long()
    counts = torch.bincount((tops * 9 + lefts) * 2 + flips, minlength=162).float()
    assert len(counts) == 162
    # 161 degrees of freedom: mean 161, deviation 18; five deviations leave no room for a biased draw.
    assert chi_square(counts) < 161 + 5 * 18


def test_draws_of_images_do_not_hang_together() -> None:
    tops, lefts = (column.float() for column in draw(50_000).steps[1].unbind(dim=1))
    for first, second in ((tops, lefts), (tops[1:], tops[:-1]), (lefts[1:], lefts[:-1])):
        assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.02


def test_batches_equal_images_done_one_by_one() -> None:
    images = torch.randn(40, 3, 32, 32)
    draws = draw(40)
    batch = apply_augment(images, PAPER, draws.steps)
    for number in range(40):
        top, left = draws.steps[1][number].tolist()
        padded = torch.zeros(3, 40, 40)
        padded[:, 4:36, 4:36] = images[number]
        single = padded[:, top : top + 32, left : left + 32]
        assert torch.equal(batch[number], single.flip(2) if draws.steps[2][number] else single)


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


@pytest.mark.parametrize("augment", [(), (FLIP,), PAPER, (CROP,)])
def test_sizes_that_come_out_as_they_went_in(augment: tuple[Call, ...]) -> None:
    check_augment(augment, (32, 32))


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ((CROP,), "random_crop(32) does not fit into 28 x 28: crop less, or pad before"),
        ((PAD,), "turns images of 28 x 28 into 36 x 36, unlike the test's: end it with random_crop(28)"),
    ],
)
def test_sizes_that_do_not(augment: tuple[Call, ...], message: str) -> None:
    with pytest.raises(DataError) as caught:
        check_augment(augment, (28, 28))
    assert message in str(caught.value)
