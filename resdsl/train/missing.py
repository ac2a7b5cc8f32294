"""What to tell a user whose data are not there: nothing is ever downloaded by itself."""

from dataclasses import dataclass
from pathlib import Path

from resdsl.suggest import closest
from resdsl.train.errors import DataError

LAYOUT = "a folder, a tar of it or a file of `resdsl pack`, with train/<class>/<image> and test/<class>/<image>"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a data set comes from: its own page or file, its size, and what --data takes."""

    download: str
    takes: str


ORIGINS = {
    "cifar10": Origin(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz (171 MB)",
        f"that file, the folder with it, its folder cifar-10-batches-py, or {LAYOUT}",
    ),
    "cifar100": Origin(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz (169 MB)",
        f"that file, the folder with it, its folder cifar-100-python, or {LAYOUT}",
    ),
    "mnist": Origin(
        "the four files of http://yann.lecun.com/exdb/mnist/ (12 MB), or of its mirror "
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "the folder with them, as they are or unpacked, or the one that holds it as MNIST/raw",
    ),
    "fashion_mnist": Origin(
        "the four files that https://github.com/zalandoresearch/fashion-mnist names (31 MB)",
        "the folder with them, as they are or unpacked, or the one that holds it as FashionMNIST/raw",
    ),
    "imagenet": Origin(
        "ILSVRC2012_img_train.tar (138 GB) and ILSVRC2012_img_val.tar (6.3 GB) from "
        "https://image-net.org/download.php, and unpack them",
        "the folder with train/<wnid>/*.JPEG and val/<wnid>/*.JPEG; or val/*.JPEG with LOC_val_solution.csv or val.txt "
        "beside it; or a tar or a file of `resdsl pack`",
    ),
    "folder": Origin("", LAYOUT),
}


def expected(form: str) -> str:
    """What to get and what --data takes for one of the recipe's data forms, as the end of a sentence."""
    origin = ORIGINS[form]
    source = f"get {origin.download} (nothing is downloaded by itself); " if origin.download else ""
    return f"{source}--data takes {origin.takes}"


def require_place(form: str, place: Path | None) -> Path:
    """The folder or file that was given. Raises DataError where there is none."""
    if place is None:
        raise DataError(f"the recipe's data {form} need --data DIR: {expected(form)}")
    if not place.exists():
        guess = closest(place.name, [other.name for other in _siblings(place)])
        meant = f" (did you mean {place.parent / guess}?)" if guess else ""
        raise DataError(f"there is no {place}{meant}; {expected(form)}")
    return place


def _siblings(place: Path) -> list[Path]:
    try:
        return sorted(place.parent.iterdir())
    except OSError:
        return []
