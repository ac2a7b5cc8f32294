"""What `data` may say: the data sets, and what there is to choose about each."""

from __future__ import annotations

from resdsl.recipe_types import MAX_SEED, Arg, Form


def data_forms() -> tuple[Form, ...]:
    """The data sets."""
    validation = Arg("validation", "int", "training images set aside, the same ones for every seed", 0, least=0)
    resize = "shorter side to which images are resized before the central window of the network's size is cut out"
    strict = Arg("strict", "bool", "whether one corrupt image is an error; else up to 1 % may be", False)
    return (
        Form(
            "digits",
            "scikit-learn's 1,797 handwritten digits, 8 x 8, upsampled; nothing to download",
            (
                Arg("size", "int", "height and width after upsampling, in pixels", 32, least=8, most=512),
                Arg("test", "int", "images of the test set, drawn evenly from the classes", 360, least=10, most=1700),
                validation,
            ),
        ),
        Form("cifar10", "CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 images, 32 x 32, ten classes", (validation,)),
        Form("cifar100", "CIFAR-100, the same with a hundred classes", (validation,)),
        Form("mnist", "MNIST (LeCun et al. 1998): 60,000 and 10,000 digits, 28 x 28, gray", (validation,)),
        Form("fashion_mnist", "FashionMNIST (Xiao et al. 2017): clothes in MNIST's format", (validation,)),
        Form(
            "imagenet",
            "ImageNet's folders: train/<wnid>/* and val/<wnid>/*, or val/* with a file of labels",
            (
                validation,
                Arg("resize", "int", f"{resize}; 8/7 of that size where it is left out", 0, least=0, most=8192),
                strict,
            ),
        ),
        Form(
            "folder",
            "a folder, tar or packed file of images, train/<class>/* and test/<class>/*",
            (
                validation,
                Arg("resize", "int", f"{resize}; 0 where they have that size", 0, least=0, most=8192),
                strict,
            ),
        ),
        Form("synthetic", "random images and labels, for benchmarks", _synthetic(validation)),
    )


def _synthetic(validation: Arg) -> tuple[Arg, ...]:
    return (
        Arg("images", "int", "images for training; a tenth as many for the test", 1000, least=1, most=10**9),
        Arg("classes", "int", "classes", 10, least=2, most=10**6),
        Arg("size", "int", "height and width in pixels", 32, least=1, most=4096),
        Arg("channels", "int", "1 for gray, 3 for colour", 3, least=1, most=3),
        Arg("seed", "int", "of the pixels and labels", 0, least=0, most=MAX_SEED),
        validation,
    )
