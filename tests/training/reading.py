"""Data sets read into memory, for tests that look at their pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from resdsl.recipe_types import Call
from resdsl.train.data import Images, ImageSet, load_data, network_input


class InMemory(NamedTuple):
    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet | None
    test: ImageSet


def read(
    data: Call,
    place: Path | None,
    shape: tuple[object, ...],
    classes: int,
    note: Callable[[str], None] = lambda text: None,
) -> InMemory:
    found = load_data(data, network_input(shape, data), classes, place, lambda done, total: None, note=note)
    validation = None if found.validation is None else held(found.validation)
    return InMemory(found.classes, held(found.train), validation, held(found.test))


def held(images: Images) -> ImageSet:
    assert isinstance(images, ImageSet)
    return images
