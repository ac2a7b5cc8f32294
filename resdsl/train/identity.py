"""What makes a run the run it is, and whether it may go on with what is at hand now."""

from contextlib import suppress
from difflib import unified_diff
from typing import Any

import torch
from torch import Tensor

from resdsl.recipe import Recipe
from resdsl.train.checkpoint import checksum
from resdsl.train.data import DataSet, FileSet, Images
from resdsl.train.errors import ResumeError

SAMPLED_IMAGES = 4096  # of each split: an image among the others is read at once, a whole large set is not
SAMPLED_FILES = 256  # where images stay in their files


def fingerprint(data: DataSet) -> str:
    """A hash of the classes, all labels, and 4,096 evenly spread images of each split, or 256 of its files."""
    splits = [_sample(images) for images in (data.train, data.validation, data.test) if images is not None]
    return checksum([list(data.classes), splits])


def _sample(images: Images) -> list[object]:
    if isinstance(images, FileSet):
        return [images.labels, images.shape, _sampled_files(images)]
    count = len(images)
    places = torch.linspace(0, count - 1, min(count, SAMPLED_IMAGES), dtype=torch.float64).round().long()
    pixels: Tensor = images.pixels[places.to(images.pixels.device)]
    return [images.labels.cpu(), pixels.cpu()]


def _sampled_files(files: FileSet) -> list[bytes]:
    """Evenly spread files, as they are; one that cannot be read is left to whoever decodes it."""
    found = []
    for index in range(0, len(files), max(1, len(files) // SAMPLED_FILES)):
        with suppress(OSError):
            found.append(files.source.read(int(files.places[index])))
    return found


def surroundings(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """What the last bits of the numbers depend on, besides the run itself."""
    return {
        "torch": str(torch.__version__),  # a class of its own that is no plain value
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads() if device.type == "cpu" else 0,
        "processes": processes,
    }


def require_same_network(saved: dict[str, Any], identity: dict[str, Any], recipe: Recipe) -> None:
    """Raise ResumeError where the network, its loss weights or the recipe are not those of the saved run."""
    if saved["network"] != identity["network"]:
        raise ResumeError(f"the run is one of {saved['network']}, not of {identity['network']}")
    if saved["hash"] != identity["hash"] or saved["auxiliary_weights"] != identity["auxiliary_weights"]:
        difference = _difference(saved["spec"], identity["spec"], "spec.res")
        if not difference:
            difference = ["the spec's own text is the same: an option, or a file that it uses, is another"]
        raise ResumeError("the network has changed since the run began", difference)
    if saved["recipe"] != recipe.as_dict():
        difference = _difference(saved["recipe_text"], recipe.to_text(), "recipe")
        raise ResumeError("the recipe has changed since the run began", difference)
    if saved["deterministic"] != identity["deterministic"]:
        began, now = ("with" if state["deterministic"] else "without" for state in (saved, identity))
        raise ResumeError(f"the run began {began} deterministic kernels and would go on {now} them")


def require_same_data(saved: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise ResumeError where the images, their labels or the classes are not those of the saved run."""
    if saved["classes"] != identity["classes"]:
        difference = _difference("\n".join(saved["classes"]), "\n".join(identity["classes"]), "classes")
        raise ResumeError("the data have other classes than when the run began", difference)
    if saved["data"] != identity["data"]:
        raise ResumeError("the images or their labels are not those that the run began with")


def changes_of_surroundings(saved: dict[str, Any], identity: dict[str, Any]) -> list[str]:
    """What may change the last bits from here on, in words."""
    then, here = saved["surroundings"], identity["surroundings"]
    pairs = ((word, then[word], here[word]) for word in here if word in then)
    changes = [f"{word} {old}, now {new}" for word, old, new in pairs if old != new]
    if not changes:
        return []
    notes = [f"the run goes on elsewhere, so its numbers may differ in the last bits: {'; '.join(changes)}"]
    if then["processes"] != here["processes"]:
        notes.append(
            "with another number of processes dropout draws otherwise, and without `sync_bn` batch normalisation "
            "sees another number of images at once"
        )
    return notes


def _difference(before: str, now: str, name: str) -> list[str]:
    lines = unified_diff(before.splitlines(), now.splitlines(), f"{name} of the run", f"{name} now", lineterm="")
    return list(lines)
