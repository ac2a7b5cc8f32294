"""Mixed images and their targets: torchvision's formulas, the right shares, and an honest loss and error."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor
from torchvision.transforms import v2

from resdsl.recipe_schema import SCHEMA
from resdsl.recipe_types import Call, Value
from resdsl.train.augment import keyed_generator
from resdsl.train.mix import Mixed, draw_mix, mix_batch
from resdsl.train.step import loss_of, wrong_images

SIDES = (12, 10)


def bound(name: str, **args: Value) -> Call:
    form = SCHEMA["mix"].form(name)
    assert form is not None
    return form.bind(Call(name, tuple(args.items())))


def batch(images: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(images, 3, *SIDES, generator=generator), torch.randint(7, (images,), generator=generator)


def drawn(mix: Call, images: int = 40) -> Tensor:
    return draw_mix(mix, images, keyed_generator(1, "test"))


def test_mixup_is_torchvisions() -> None:
    images, labels = batch()
    mix = bound("mixup", alpha=0.4)
    numbers = drawn(mix)
    mixed, targets = mix_batch(images, labels, mix, numbers)
    theirs = v2.MixUp(num_classes=7)
    for number, share in enumerate(numbers[:, 0].tolist()):
        parameters = {"lam": share, "labels": labels, "batch_size": 40}
        assert torch.allclose(mixed[number], theirs.transform(images, parameters)[number], atol=1e-6)
        assert torch.allclose(soft(targets)[number], theirs.transform(labels, parameters)[number], atol=1e-6)


def test_cutmix_is_torchvisions() -> None:
    images, labels = batch()
    mix = bound("cutmix")
    numbers = drawn(mix)
    mixed, targets = mix_batch(images, labels, mix, numbers)
    theirs = v2.CutMix(num_classes=7)
    for number, (_, share, row, column, _) in enumerate(numbers.tolist()):
        half = 0.5 * (1 - share) ** 0.5
        middle, halves = (int(row * 12), int(column * 10)), (int(half * 12), int(half * 10))
        top, left = (max(place - reach, 0) for place, reach in zip(middle, halves, strict=True))
        bottom, right = (min(m + h, side) for m, h, side in zip(middle, halves, SIDES, strict=True))
        area = (bottom - top) * (right - left) / 120
        parameters = {"box": (left, top, right, bottom), "lam_adjusted": 1 - area, "labels": labels, "batch_size": 40}
        assert torch.equal(mixed[number], theirs.transform(images, parameters)[number])
        assert torch.allclose(soft(targets)[number], theirs.transform(labels, parameters)[number], atol=1e-6)


def soft(targets: Mixed) -> Tensor:
    own, other = F.one_hot(targets.labels, 7).float(), F.one_hot(targets.others, 7).float()
    return own * targets.shares[:, None] + other * (1 - targets.shares[:, None])


def test_shares_are_beta_distributed() -> None:
    shares = drawn(bound("mixup", alpha=0.2), 40_000)[:, 0]
    assert abs(float(shares.mean()) - 0.5) < 0.01
    assert abs(float(shares.var()) - 0.25 / 1.4) < 0.01  # 1 / (4 (2 alpha + 1))
    uniform = drawn(bound("cutmix"), 40_000)[:, 1]
    assert abs(float(uniform.var()) - 1 / 12) < 0.005


def test_only_a_share_of_the_images_is_mixed_and_half_of_them_by_either() -> None:
    images = torch.arange(4000.0).view(4000, 1, 1, 1).expand(4000, 1, 8, 8)
    mix = bound("mixup_or_cutmix", p=0.5)
    numbers = drawn(mix, 4000)
    mixed, targets = mix_batch(images, torch.arange(4000), mix, numbers)
    assert abs(float((numbers[:, 4] < 0.5).float().mean()) - 0.5) < 0.03
    untouched = numbers[:, 4] >= 0.5
    assert torch.equal(mixed[untouched], images[untouched])
    assert targets.shares[untouched].eq(1).all()
    by_cutting = numbers[:, 4] < 0.25
    ours_or_theirs = (mixed == images) | (mixed == images.roll(1, 0))
    assert ours_or_theirs[by_cutting].all()
    blended = (numbers[:, 4] >= 0.25) & ~untouched & (numbers[:, 0] > 0.1) & (numbers[:, 0] < 0.9)
    assert not ours_or_theirs[blended].flatten(1).any(dim=1).float().mean() > 0.01
    again = mix_batch(images, torch.arange(4000), mix, drawn(mix, 4000))[0]
    assert torch.equal(mixed, again)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_the_mixed_target(smoothing: float) -> None:
    images, labels = batch()
    _, targets = mix_batch(images, labels, bound("mixup"), drawn(bound("mixup")))
    logits = torch.randn(40, 7)
    expected = F.cross_entropy(logits, soft(targets), label_smoothing=smoothing)
    assert torch.allclose(loss_of(logits, targets, smoothing), expected, atol=1e-6)
    plain = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert torch.equal(loss_of(logits, labels, smoothing), plain)


def test_errors_count_against_the_larger_share() -> None:
    targets = Mixed(torch.tensor([0, 1, 2]), torch.tensor([3, 3, 3]), torch.tensor([0.9, 0.2, 0.5]))
    assert targets.dominant.tolist() == [0, 3, 2]
    logits = F.one_hot(torch.tensor([0, 1, 2]), 4).float()
    assert wrong_images(logits, targets) == 1
    assert [part.labels.tolist() for part in targets.split(2)] == [[0, 1], [2]]
