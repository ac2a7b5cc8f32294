"""Trained networks on the test set, as papers report them: by kinds of views, in ensembles, with exact statistics."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from resdsl.train.augment import keyed_generator
from resdsl.train.crops import OneCrop, Scales, TenCrops, Views
from resdsl.train.data import DataSet, NetworkInput, Progress, load_data, network_input
from resdsl.train.errors import DataError, TrainError
from resdsl.train.images import AROUND_CROP
from resdsl.train.precise import precise_statistics
from resdsl.train.predict import ensemble, in_order_of, predict
from resdsl.train.scores import Counts, count
from resdsl.train.stored import RunRecord, StoredWeights, called, chain, read_run, read_weights
from resdsl.train.stream import AnyFeed, open_feed

Sides = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure. `crops` is 1, 10, or 0 for none; `precise_bn` counts training images, 0 keeps the statistics."""

    crops: int = 1
    shorter_side: int | None = None
    scales: tuple[int, ...] = ()
    precise_bn: int = 0
    ensemble: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A trained network to be tested.

    `least` is the smallest input (H, W) it takes, None where it takes one size only; `place` holds its images.
    """

    record: RunRecord
    stored: StoredWeights
    model: nn.Module
    takes: NetworkInput
    least: Sides | None
    place: Path | None

    @property
    def name(self) -> str:
        """For messages and tables."""
        return str(self.record.folder)


@dataclass(frozen=True, slots=True)
class Assessed:
    """One result. `members` are the run folders of a network, or of an ensemble."""

    members: tuple[Path, ...]
    views: str
    classes: tuple[str, ...]
    counts: Counts


@dataclass(frozen=True, slots=True)
class _Prediction:
    member: Member
    views: str
    classes: tuple[str, ...]
    probabilities: Tensor
    labels: Tensor


def open_member(
    folder: Path,
    model: nn.Module,
    input_shape: tuple[object, ...],
    *,
    least: Sides | None = None,
    place: Path | None = None,
    device: torch.device | str = "cpu",
) -> Member:
    """A run's network with the weights that its tests were made with: the moving average where it kept one.

    Without `place` the images are where they were in training. Raises TrainError for what is no run folder, or for
    weights that are not those of this model.
    """
    record, stored = read_run(folder), read_weights(folder)
    try:
        model.load_state_dict(stored.weights)
    except RuntimeError:
        raise TrainError(f"the weights in {folder} are not those of its network") from None
    takes = network_input(input_shape, called(record.recipe, "data"))
    device = torch.device(device)
    placed = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    recorded = record.arguments.get("data")
    place = place or (Path(recorded) if isinstance(recorded, str) else None)
    return Member(record, stored, placed, takes, least, place)


def assess(
    members: Sequence[Member],
    wanted: Wanted,
    *,
    device: torch.device | str = "cpu",
    loading: Progress = lambda done, total: None,
    testing: Callable[[str, int, int], None] = lambda what, done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> list[Assessed]:
    """Results of each member, in order, and then of all together.

    `loading` hears of images read, of all; `testing` of what is tested, images classified, of all. Raises TrainError
    for what cannot be measured so, before anything is measured where that is possible.
    """
    device = torch.device(device)
    for member in members:
        _check(member, wanted)
    loader = _Loader(device, wanted, loading, note)
    predictions = [prediction for member in members for prediction in _predict(member, wanted, loader, testing)]
    results = [_assessed([prediction]) for prediction in predictions]
    if wanted.ensemble:
        # The same kind of views of all members goes together: of ten crops each member has its own size.
        kinds = len(predictions) // len(members)
        results += [_assessed(predictions[kind::kinds]) for kind in range(kinds)]
    return results


class _Loader:
    """Reads images, and keeps the last data set: runs that are tested together mostly have the same."""

    def __init__(self, device: torch.device, wanted: Wanted, loading: Progress, note: Callable[[str], None]) -> None:
        self.device, self.loading, self.note = device, loading, note
        self.in_files = wanted.crops == 10 or bool(wanted.scales)
        self.key: object = None
        self.data: DataSet | None = None

    def load(self, member: Member) -> DataSet:
        """The images of a member. Raises DataError."""
        data = called(member.record.recipe, "data")
        augment = chain(member.record.recipe, "augment")
        key = (data, augment, member.takes, len(member.stored.classes), member.place)
        if self.data is None or self.key != key:
            self.data = None
            self.data = load_data(
                data,
                member.takes,
                len(member.stored.classes),
                member.place,
                self.loading,
                augment=augment,
                device=self.device,
                note=self.note,
                in_files=self.in_files,
            )
            self.key = key
        return self.data


def _check(member: Member, wanted: Wanted) -> None:
    if wanted.crops == 10 and wanted.shorter_side and member.takes.sides:
        least = max(member.takes.sides)
        if wanted.shorter_side < least:
            found = f"--shorter-side {wanted.shorter_side} is smaller than the {least} pixels that {member.name} takes"
            raise DataError(found)
    if not wanted.scales:
        return
    if member.least is None:
        raise TrainError(f"{member.name}: {member.record.network} takes images of one size only, so no --scales")
    least = max(member.least)
    if min(wanted.scales) < least:
        raise TrainError(
            f"{member.name}: images of {min(wanted.scales)} pixels are too small; it needs at least {least}"
        )


def _predict(
    member: Member, wanted: Wanted, loader: _Loader, testing: Callable[[str, int, int], None]
) -> list[_Prediction]:
    data = loader.load(member)
    if sorted(data.classes) != sorted(member.stored.classes):
        odd = ", ".join(sorted(set(data.classes) ^ set(member.stored.classes))[:6])
        raise DataError(f"{member.name} was trained on other classes than these data have: {odd}")
    if wanted.precise_bn:
        _measure_statistics(member, data, wanted.precise_bn, loader.device)
    feed = open_feed(data.test, member.stored.normalization, loader.device, flat=member.takes.flat)
    found = []
    for views in _views(member, wanted, feed):
        done = partial(_tell, testing, f"{member.name}, {views.name}", len(data.test))
        probabilities, labels = predict(member.model, feed, views, whole=views.resize is not None, done=done)
        # The network's outputs are numbered as its run numbered the classes.
        ordered = in_order_of(data.classes, member.stored.classes, probabilities)
        name = views.name + (f", precise BN of {wanted.precise_bn:,}" if wanted.precise_bn else "")
        found.append(_Prediction(member, name, data.classes, ordered, labels))
    return found


def _tell(testing: Callable[[str, int, int], None], what: str, total: int, done: int) -> None:
    testing(what, done, total)


def _measure_statistics(member: Member, data: DataSet, images: int, device: torch.device) -> None:
    total = len(data.train)
    if images > total:
        raise DataError(f"--precise-bn {images}: the training set of {member.name} has {total:,} images")
    places = torch.randperm(total, generator=keyed_generator(0, "precise"))[:images].sort().values
    feed = open_feed(data.train.take(places), member.stored.normalization, device, flat=member.takes.flat)
    batch = member.record.recipe.get("batch")
    size = batch if isinstance(batch, int) and batch > 1 else 128
    with feed.precision():
        precise_statistics(member.model, _even_batches(feed, images, size))


def _even_batches(feed: AnyFeed, images: int, size: int) -> Iterator[Tensor]:
    """Inputs in batches of nearly one size, at most the training's: a short last one would have poor statistics."""
    batches = -(-images // size)
    ends = [images * number // batches for number in range(batches + 1)]
    kept: list[Tensor] = []
    sizes = (end - begin for begin, end in pairwise(ends))
    wanted = next(sizes)
    for pixels, _ in feed.pixels_in_order():
        kept.append(pixels)
        while wanted and sum(map(len, kept)) >= wanted:
            whole = torch.cat(kept)
            yield feed.inputs(whole[:wanted])
            kept = [whole[wanted:]]
            wanted = next(sizes, 0)


def _views(member: Member, wanted: Wanted, feed: AnyFeed) -> list[Views]:
    found: list[Views] = [OneCrop()] if wanted.crops == 1 else []
    if wanted.crops == 10:
        found.append(_ten_crops(member, wanted.shorter_side, feed.shape[1:]))
    if wanted.scales:
        found.append(Scales(wanted.scales))
    return found


def _ten_crops(member: Member, shorter_side: int | None, sides: Sides) -> TenCrops:
    """Of larger images; of padded ones where the training padded."""
    if shorter_side is not None:
        return TenCrops(sides, shorter_side)
    for step in chain(member.record.recipe, "augment"):
        if step.name == "pad":
            return TenCrops(sides, None, step.integer("pixels"))
    return TenCrops(sides, round(max(sides) * AROUND_CROP))


def _assessed(predictions: Sequence[_Prediction]) -> Assessed:
    """The result of one prediction, or of several together."""
    first = predictions[0]
    together = ensemble([(prediction.classes, prediction.probabilities) for prediction in predictions])
    for prediction in predictions[1:]:
        order = torch.tensor([first.classes.index(name) for name in prediction.classes])
        if not torch.equal(order[prediction.labels], first.labels):
            names = f"{first.member.name} and {prediction.member.name}"
            raise TrainError(f"{names} were tested on different images: no ensemble of them")
    members = tuple(prediction.member.record.folder for prediction in predictions)
    views = "; ".join(dict.fromkeys(prediction.views for prediction in predictions))
    return Assessed(members, views, first.classes, count(together, first.labels))
