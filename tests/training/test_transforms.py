"""Batched changes of images against torchvision's, which take one image at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision.transforms.v2.functional as F  # noqa: N812 (its usual name)
from torch import Tensor
from torchvision.transforms import v2

from resdsl.recipe_types import Call
from resdsl.train import colours, geometry, policies
from resdsl.train.augment import draw_epoch
from tests.training.test_augment import bound

IMAGES = 24


def photos(height: int = 33, width: int = 40, channels: int = 3) -> Tensor:
    """Smooth pictures with noise: neighbouring pixels are alike, all values occur, and one image is of one colour."""
    generator = torch.Generator().manual_seed(4)
    coarse = torch.rand(IMAGES, channels, 5, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic") * 300 - 20
    noisy = smooth + 12 * torch.randn(smooth.shape, generator=generator)
    pixels = noisy.clamp(0, 255).to(torch.uint8)
    pixels[0] = 77
    pixels[1] = pixels[1] // 4 + 60  # little contrast
    return pixels


def close(ours: Tensor, theirs: Tensor, *, exact: float = 0.99, most: float = 1) -> bool:
    """No value further away than `most`, and a share `exact` of them equal."""
    apart = (ours - theirs.float()).abs()
    return bool(apart.max() <= most) and float((apart < 1e-4).float().mean()) >= exact


def within_rounding(ours: Tensor, theirs: Tensor) -> bool:
    """Ours are theirs, rounded to integers."""
    return bool((ours - theirs).abs().max() <= 0.501)


FACTORS = torch.linspace(0.0, 2.0, IMAGES)
COLOURS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[..., Any], Tensor]] = {
    "brightness": (colours.brightness, F.adjust_brightness, FACTORS),
    "contrast": (colours.contrast, F.adjust_contrast, FACTORS),
    "saturation": (colours.saturation, F.adjust_saturation, FACTORS),
    "sharpness": (colours.sharpness, F.adjust_sharpness, FACTORS),
    "hue": (colours.hue, F.adjust_hue, torch.linspace(-0.5, 0.5, IMAGES)),
    "solarize": (colours.solarize, F.solarize, torch.linspace(0, 255, IMAGES)),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", COLOURS)
def test_colours(name: str, channels: int) -> None:
    ours, theirs, amounts = COLOURS[name]
    pixels = photos(channels=channels)
    expected = torch.stack([theirs(image, float(amount)) for image, amount in zip(pixels, amounts, strict=True)])
    assert close(ours(pixels.float(), amounts), expected)


def test_posterize_autocontrast_and_equalize() -> None:
    pixels = photos()
    bits = torch.arange(IMAGES) % 9
    expected = torch.stack([F.posterize(image, int(kept)) for image, kept in zip(pixels, bits, strict=True)])
    assert torch.equal(colours.posterize(pixels.float(), bits.float()), expected.float())
    assert close(colours.autocontrast(pixels.float()), torch.stack([F.autocontrast(image) for image in pixels]))
    equalized = torch.stack([F.equalize(image) for image in photos(64, 64)])
    assert torch.equal(colours.equalize(photos(64, 64).float()), equalized.float())
    small = photos(8, 8)  # fewer pixels than values
    assert torch.equal(colours.equalize(small.float()), torch.stack([F.equalize(image) for image in small]).float())


def test_lighting_is_the_papers_formula() -> None:
    pixels = photos()
    drawn = torch.randn(IMAGES, 3, generator=torch.Generator().manual_seed(1))
    directions, sizes = torch.tensor(colours.DIRECTIONS), torch.tensor(colours.DEVIATIONS)
    assert torch.allclose(directions.T @ directions, torch.eye(3), atol=1e-3)
    for image, weights, changed in zip(pixels, drawn, colours.lighting(pixels.float(), drawn, 0.1), strict=True):
        colour = sum(directions[:, place] * weights[place] * 0.1 * sizes[place] for place in range(3))
        assert torch.allclose(changed / 255, image / 255 + torch.as_tensor(colour)[:, None, None], atol=1e-5)


@pytest.mark.parametrize("sides", [(40, 60), (60, 40), (50, 50)])
def test_crops_of_images_with_a_random_shorter_side(sides: tuple[int, int]) -> None:
    pixels = photos(*sides)
    lengths, drawn = torch.rand(IMAGES, 1), torch.rand(IMAGES, 2)
    ours = geometry.crop_of_resized(pixels.float(), lengths, drawn, (24, 80), 24)
    for number, image in enumerate(pixels):
        shorter = 24 + int(lengths[number, 0] * 57)
        large = F.resize(image.float(), [shorter], antialias=True)
        top, left = (int(u * (side - 23)) for u, side in zip(drawn[number].tolist(), large.shape[1:], strict=True))
        assert within_rounding(ours[number], large[:, top : top + 24, left : left + 24])


def test_random_resized_crop() -> None:
    pixels, step = photos(48, 64), bound("random_resized_crop", size=24)
    drawn = torch.rand(IMAGES, geometry.PLACES)
    ours = geometry.random_resized_crop(pixels.float(), drawn, step)
    heights, widths, fits = geometry.rectangles(drawn, step, (48, 64))
    assert fits.all()
    for number, image in enumerate(pixels):
        height, width = int(heights[number]), int(widths[number])
        top, left = int(drawn[number, -2] * (49 - height)), int(drawn[number, -1] * (65 - width))
        expected = F.resized_crop(image.float(), top, left, height, width, [24, 24], antialias=True)
        assert within_rounding(ours[number], expected)
        in_integers = F.resized_crop(image, top, left, height, width, [24, 24], antialias=True)
        assert close(ours[number], in_integers, exact=0.5, most=2)


def test_random_rectangles_have_torchvisions_distribution() -> None:
    step = bound("random_resized_crop", size=24)
    heights, widths, fits = geometry.rectangles(torch.rand(4000, geometry.PLACES), step, (48, 64))
    torch.manual_seed(1)
    theirs = v2.RandomResizedCrop(24)
    image = torch.zeros(3, 48, 64, dtype=torch.uint8)
    drawn = [theirs.make_params([image]) for _ in range(4000)]
    for ours, name in ((heights, "height"), (widths, "width")):
        other = torch.tensor([parameters[name] for parameters in drawn])
        assert distance(ours[fits], other) < 1.95 * math.sqrt(2 / 4000)  # one in a thousand by chance


def distance(first: Tensor, second: Tensor) -> float:
    """Kolmogorov and Smirnov's: the largest distance between the two distributions."""
    values = torch.cat([first, second]).sort().values
    shares = [(sample[:, None] <= values).float().mean(dim=0) for sample in (first, second)]
    return float((shares[0] - shares[1]).abs().max())


def test_where_no_rectangle_fits_the_middle_is_taken() -> None:
    step = bound("random_resized_crop", size=8, smallest=1.0, largest=1.0, aspect=1.0)
    pixels = photos(8, 30)
    ours = geometry.random_resized_crop(pixels.float(), torch.rand(IMAGES, geometry.PLACES), step)
    assert torch.equal(ours, pixels[:, :, :, 11:19].float())


def test_random_erasing() -> None:
    step = bound("random_erasing", p=0.25)
    drawn = draw_epoch((step,), 6000, 1, 0).steps[0]
    erased = geometry.erase(torch.ones(6000, 3, 16, 16), drawn, step) == 0
    assert torch.equal(erased[:, 0], erased[:, 2])
    hit = erased[:, 0].flatten(1).any(dim=1)
    assert abs(float(hit.float().mean()) - 0.25) < 0.02
    areas = erased[hit, 0].float().mean(dim=(1, 2))
    assert areas.min() >= 0.01
    assert areas.max() <= 0.36
    rows, columns = erased[hit, 0].any(dim=2).sum(dim=1), erased[hit, 0].any(dim=1).sum(dim=1)
    assert torch.equal(rows * columns, erased[hit, 0].sum(dim=(1, 2)))  # rectangles


TORCHVISIONS = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}


@pytest.mark.parametrize("name", policies.OPERATIONS)
@pytest.mark.parametrize("policy", [v2.RandAugment, v2.TrivialAugmentWide])
def test_operations_of_the_policies(name: str, policy: Any) -> None:
    pixels = photos(34)
    levels, is_positive = torch.arange(IMAGES) * 1.3, torch.arange(IMAGES) % 3 > 0
    levels = levels.floor().clamp_max(30)
    full = policies.usual_range(34, 40) if policy is v2.RandAugment else policies.WIDE
    which = torch.full((IMAGES,), policies.OPERATIONS.index(name))
    ours = policies.apply(pixels.float(), which, levels, is_positive, full)
    space, reference = policy._AUGMENTATION_SPACE, policy()
    assert len(space) == len(policies.OPERATIONS)
    magnitudes, signed = space[TORCHVISIONS[name]]
    for number, image in enumerate(pixels):
        strengths = magnitudes(policies.LEVELS, 34, 40)
        magnitude = 0.0 if strengths is None else float(strengths[int(levels[number])])
        magnitude *= -1 if signed and not is_positive[number] else 1
        expected = reference_image(reference, image, TORCHVISIONS[name], magnitude)
        moves = name in {"shear_x", "shear_y", "rotate"}
        # A place that falls between two pixels within rounding may take either.
        exact = 0.9 if name == "colour" else 0.98  # where the product is an integer, rounding decides
        assert close(ours[number], expected, exact=exact, most=255 if moves else 1), (magnitude, number)


def reference_image(policy: Any, image: Tensor, name: str, magnitude: float) -> Tensor:
    result: Tensor = policy._apply_image_or_video_transform(
        image, name, magnitude, interpolation=v2.InterpolationMode.NEAREST, fill=policy._fill
    )
    return result


def test_policies_draw_every_operation_strength_and_sign_equally_often() -> None:
    step = Call("trivial_augment")
    drawn = draw_epoch((step,), 42_000, 1, 0).steps[0]
    which = policies._choice(drawn[:, 0])
    levels = (drawn[:, 1] * policies.LEVELS).floor().long()
    counts = torch.bincount(which * 31 + levels, minlength=14 * 31).float()
    expected = 42_000 / (14 * 31)
    assert float(((counts - expected) ** 2 / expected).sum()) < 433 + 5 * math.sqrt(2 * 433)
    assert abs(float((drawn[:, 2] >= 0.5).float().mean()) - 0.5) < 0.01


def test_colour_jitter_takes_all_orders_and_stays_within_its_bounds() -> None:
    gray_images = torch.full((2000, 3, 2, 2), 100.0)
    step = bound("colour_jitter", brightness=0.2)
    seen = colours.colour_jitter(gray_images, torch.rand(2000, 8), step)
    assert 80 <= seen.min() <= 82
    assert 118 <= seen.max() <= 120
    both = bound("colour_jitter", brightness=0.5, contrast=0.5)
    drawn = torch.rand(2, 8)
    drawn[1, :4] = drawn[0, :4]
    drawn[0, 4:6], drawn[1, 4:6] = torch.tensor([0.1, 0.9]), torch.tensor([0.9, 0.1])
    image = photos()[2:3].float()
    factors = 1 + 0.5 * (2 * drawn[0, :2] - 1)
    first = colours.contrast(colours.brightness(image, factors[:1]), factors[1:])
    second = colours.brightness(colours.contrast(image, factors[1:]), factors[:1])
    changed = colours.colour_jitter(image.expand(2, -1, -1, -1), drawn, both)
    assert torch.equal(changed[0], first[0])
    assert torch.equal(changed[1], second[0])
