"""What `augment` and `mix` may say: random changes of each training image, and images mixed with one another."""

from __future__ import annotations

from resdsl.recipe_types import Arg, Form

# Steps that change pixels come before normalisation, those of ON_INPUTS after it; random_crop and flip do for both.
RESIZING = ("resize_shorter_side", "random_resized_crop")
ON_PIXELS = (*RESIZING, "colour_jitter", "lighting", "rand_augment", "trivial_augment")
ON_INPUTS = ("pad", "random_erasing")


def augment_forms() -> tuple[Form, ...]:
    """The steps of `augment`."""
    return (*_plain_forms(), *_resizing_forms(), *_colour_forms(), *_policy_forms(), _erasing_form())


def mix_forms() -> tuple[Form, ...]:
    """What `mix` may be."""
    alpha = "shares are drawn from Beta(alpha, alpha)"
    p = Arg("p", "float", "probability that an image is mixed", 1.0, least=0, most=1)
    mixup, cutmix = (
        Arg(name, "float", f"alpha of {name}", default, above=0, most=100)
        for name, default in (("mixup", 0.2), ("cutmix", 1.0))
    )
    return (
        Form(
            "mixup",
            "weighted means of two images and of their targets (Zhang et al. 2017)",
            (Arg("alpha", "float", alpha, 0.2, above=0, most=100), p),
        ),
        Form(
            "cutmix",
            "a rectangle from another image, and its share of the target (Yun et al. 2019)",
            (Arg("alpha", "float", alpha, 1.0, above=0, most=100), p),
        ),
        Form("mixup_or_cutmix", "one of the two, drawn evenly for each image", (mixup, cutmix, p)),
    )


def _plain_forms() -> tuple[Form, ...]:
    pixels = Arg("pixels", "int", "width of the border", required=True, least=1, most=512)
    return (
        Form("pad", "a border of zeros on every side, after normalisation", (pixels,)),
        Form("random_crop", "a square cut out at a uniformly random place", (_size(),)),
        Form("flip", "left and right swapped at random", (_probability(0.5),)),
    )


def _resizing_forms() -> tuple[Form, ...]:
    sides = (
        Arg("smallest", "int", "the least length of the shorter side", required=True, least=1, most=4096),
        Arg("largest", "int", "its greatest length", required=True, least=1, most=4096),
    )
    return (
        Form(
            "resize_shorter_side",
            "scaled to a random length of the shorter side (Simonyan and Zisserman 2014); random_crop must follow",
            sides,
        ),
        Form(
            "random_resized_crop",
            "a rectangle of random area and shape, scaled to a square (Szegedy et al. 2014)",
            (_size(), *_rectangle(0.08, 1.0, 4 / 3)),
        ),
    )


def _colour_forms() -> tuple[Form, ...]:
    jitter = tuple(
        Arg(name, "float", f"{name} times a factor between 1 - this and 1 + this", 0.0, least=0, most=1)
        for name in ("brightness", "contrast", "saturation")
    )
    hue = Arg("hue", "float", "hue turned by up to this share of the circle", 0.0, least=0, most=0.5)
    deviation = Arg("deviation", "float", "standard deviation of the weight of each component", 0.1, above=0, most=10)
    return (
        Form("colour_jitter", "brightness, contrast, saturation and hue, changed in a random order", (*jitter, hue)),
        Form(
            "lighting",
            "AlexNet's change of colours along the principal components of ImageNet's pixels (Krizhevsky et al. 2012)",
            (deviation,),
        ),
    )


def _policy_forms() -> tuple[Form, ...]:
    operations = Arg("operations", "int", "operations on each image", 2, least=1, most=8)
    magnitude = Arg("magnitude", "int", "their strength", 9, least=0, most=30)
    return (
        Form("rand_augment", "RandAugment (Cubuk et al. 2019): operations of one strength", (operations, magnitude)),
        Form("trivial_augment", "TrivialAugment, wide (Müller and Hutter 2021): one operation of random strength"),
    )


def _erasing_form() -> Form:
    doc = "a random rectangle set to zero, after normalisation (Zhong et al. 2017)"
    return Form("random_erasing", doc, (_probability(0.5), *_rectangle(0.02, 0.33, 10 / 3)))


def _size() -> Arg:
    return Arg("size", "int", "side of the square", required=True, least=1, most=4096)


def _probability(default: float) -> Arg:
    return Arg("p", "float", "probability", default, least=0, most=1)


def _rectangle(smallest: float, largest: float, aspect: float) -> tuple[Arg, ...]:
    return (
        Arg("smallest", "float", "its least area, as a share of the image", smallest, above=0, most=1),
        Arg("largest", "float", "its greatest area", largest, above=0, most=1),
        Arg("aspect", "float", "width over height lies between 1 / this and this", aspect, least=1, most=100),
    )
