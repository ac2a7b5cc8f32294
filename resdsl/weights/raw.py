"""What the readers hand on: tensors under their full names, not yet judged, and what the file says of their layers."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from resdsl.weights.errors import WeightsError

# Weights hardly compress. What unpacks to more than this many times the file's size was made to fill the memory.
MOST_EXPANSION = 20
ALWAYS_ALLOWED = 64 << 20


@dataclass(frozen=True, slots=True)
class RawLayer:
    """A layer whose tensors the file itself holds together; `parts` gives full names by their last part, in order."""

    name: str
    parts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Topology:
    """What a Keras configuration says: layers in order, their classes and settings, and which layers feed which."""

    order: tuple[str, ...]
    classes: Mapping[str, str]
    settings: Mapping[str, Mapping[str, Any]]
    feeds: Mapping[str, tuple[str, ...]]
    map_shapes: Mapping[str, tuple[int | None, ...]]  # of the first input, without the batch, where stated


@dataclass(frozen=True, slots=True)
class RawFile:
    """The content of a file; without `layers` the names of the tensors tell which belong together."""

    format: str
    tensors: Mapping[str, Tensor]
    order: str
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    layers: tuple[RawLayer, ...] | None = None
    topology: Topology | None = field(default=None)
    record: Mapping[str, object] = field(default_factory=dict)  # what resdsl itself wrote beside the weights


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into a WeightsError."""
    try:
        yield
    except (WeightsError, KeyboardInterrupt):
        raise
    except OSError as error:
        # Libraries raise it for damage, too, and damage leads to places that a file does not have (EINVAL).
        is_of_system = error.errno not in (None, 0, errno.EINVAL) and error.strerror
        reason = error.strerror if is_of_system else "it is damaged or cut short"
        raise WeightsError(f"cannot read {path}: {reason}") from error
    except Exception as error:
        raise WeightsError(f"cannot read {path}: it is damaged or cut short") from error


def check_size(path: str, claimed: int, file_size: int) -> None:
    """Refuse content that would take far more memory than the file's size, in bytes, explains."""
    if claimed > max(ALWAYS_ALLOWED, MOST_EXPANSION * file_size):
        raise WeightsError(
            f"{path} is refused: its {file_size:,} bytes claim to hold {claimed:,} bytes of weights, "
            f"more than {MOST_EXPANSION} times as much"
        )
