"""Tests as the papers make them, each number against a loop written here with torch and torchvision alone."""

from __future__ import annotations

from itertools import product
from random import Random
from statistics import mean, stdev

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor, nn

from resdsl.train.crops import OneCrop, Scales, TenCrops, normalized, resized
from resdsl.train.data import ImageSet
from resdsl.train.errors import DataError, TrainError
from resdsl.train.evaluate import evaluate
from resdsl.train.normalize import Normalization, fit_normalization
from resdsl.train.precise import precise_statistics
from resdsl.train.predict import ensemble, predict
from resdsl.train.scores import count, spread
from resdsl.train.stream import Feed
from resdsl.train.windows import CentralView

CPU = torch.device("cpu")


class Whole(nn.Module):
    """Fully convolutional: takes maps of any size."""

    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.bn2(self.conv2(torch.relu(self.bn(self.conv(images))))))
        logits: Tensor = self.linear(self.dropout(features.mean(dim=(2, 3)))) * 20
        return logits


def images_of(count: int, height: int, width: int) -> ImageSet:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.randint(0, 7, (count,), generator=generator))


def feed_of(images: ImageSet, kind: str = "mean_std") -> Feed:
    return Feed(images, fit_normalization(kind, images.pixels), CPU, flat=False)


@pytest.fixture
def net() -> Whole:
    torch.manual_seed(5)
    return Whole()


# --- counting --------------------------------------------------------------------------------------------------------


def test_errors_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    probabilities = torch.randn(200, 9).double().softmax(dim=1)
    labels = torch.randint(0, 8, (200,))  # no image of the last class
    found = count(probabilities, labels)
    wrong = beyond = 0
    confusion = [[0] * 9 for _ in range(9)]
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        order = sorted(range(9), key=lambda place: -row[place])
        wrong += order[0] != label
        beyond += label not in order[:5]
        confusion[label][order[0]] += 1
    assert found.images == 200
    assert found.top1_error == wrong / 200
    assert found.top5_error == beyond / 200
    assert found.confusion.tolist() == confusion
    for place, row in enumerate(confusion[:8]):
        assert found.class_errors[place] == pytest.approx(1 - row[place] / sum(row))
    assert found.class_errors[8] is None


def test_equal_probabilities_count_for_the_first_class() -> None:
    found = count(torch.full((3, 6), 1 / 6, dtype=torch.float64), torch.tensor([0, 4, 5]))
    assert found.confusion[:, 0].tolist() == [1, 0, 0, 0, 1, 1]
    assert found.confusion.sum() == 3
    assert found.top5_error == pytest.approx(1 / 3)


def test_five_classes_have_no_top_5_error() -> None:
    assert count(torch.eye(5).double(), torch.arange(5)).top5_error is None
    assert count(torch.eye(5).double(), torch.arange(5)).top1_error == 0


def test_lost_weights_are_told() -> None:
    with pytest.raises(TrainError, match="what is no number"):
        count(torch.full((2, 3), torch.nan), torch.tensor([0, 1]))


def test_spread_is_the_statistics_modules() -> None:
    values = [0.0661, 0.0643, 0.0672, 0.0668, 0.0659]
    found = spread(values)
    assert found.count == 5
    assert found.mean == pytest.approx(mean(values), rel=1e-12)
    assert found.deviation == pytest.approx(stdev(values), rel=1e-12)
    assert spread([0.5]).deviation is None


# --- views -----------------------------------------------------------------------------------------------------------


def test_one_crop_is_what_training_reports(net: Whole) -> None:
    images = images_of(300, 12, 12)
    feed = feed_of(images)
    found = count(*predict(net, feed, OneCrop()))
    assert found.top1_error == evaluate(net, feed).error
    with torch.no_grad():
        logits = net.eval()((images.pixels.float() / 255 - feed.normalization.mean) / feed.normalization.deviation)
    assert found.top1_error == (logits.argmax(dim=1) != images.labels).double().mean().item()


def test_the_mode_comes_back(net: Whole) -> None:
    assert net.training
    predict(net, feed_of(images_of(4, 8, 8)), OneCrop())
    assert net.training


def ten_by_hand(image: Tensor, side: int) -> list[Tensor]:
    """Four corners, centre, and their mirror images, cut by slicing."""
    height, width = image.shape[1:]
    tops, lefts = (0, height - side), (0, width - side)
    corners = [(top, left) for top, left in product(tops, lefts)]
    places = [*corners, (round((height - side) / 2), round((width - side) / 2))]
    crops = [image[:, top : top + side, left : left + side] for top, left in places]
    return crops + [crop.flip(2) for crop in crops]


@pytest.mark.parametrize(("height", "width"), [(14, 20), (20, 14), (14, 14)])
@pytest.mark.parametrize("kind", ["per_pixel_mean", "mean_std"])
def test_ten_crops(net: Whole, height: int, width: int, kind: str) -> None:
    images = images_of(6, height, width)
    normalization = fit_normalization(kind, images_of(20, 8, 8).pixels)
    found, _ = predict(net, Feed(images, normalization, CPU, flat=False), TenCrops((8, 8), 14))
    net.eval()
    for image, row in zip(images.pixels, found, strict=True):
        crops = torch.stack(ten_by_hand(image, 8)).float() / 255
        with torch.no_grad():
            logits = net((crops - normalization.mean) / normalization.deviation)
        assert torch.allclose(F.softmax(logits.double(), dim=1).mean(dim=0), row, atol=1e-6)


def test_ten_crops_resize_first(net: Whole) -> None:
    from torchvision.transforms.v2.functional import resize

    images = images_of(3, 12, 18)
    feed = feed_of(images)
    assert resized(images.pixels, 16).shape == (3, 3, 16, 24)
    large = Feed(ImageSet(resize(images.pixels, [16, 24]), images.labels), feed.normalization, CPU, flat=False)
    views = TenCrops((8, 8), 16)
    assert torch.equal(predict(net, feed, views)[0], predict(net, large, views)[0])


def test_ten_crops_of_small_images_are_those_of_the_training(net: Whole) -> None:
    images = images_of(5, 8, 8)
    feed = feed_of(images, "per_pixel_mean")
    found, _ = predict(net, feed, TenCrops((8, 8), None, pad=2))
    net.eval()
    for image, row in zip(images.pixels, found, strict=True):
        padded = torch.zeros(3, 12, 12)
        padded[:, 2:10, 2:10] = image.float() / 255 - feed.normalization.mean
        with torch.no_grad():
            logits = net(torch.stack(ten_by_hand(padded, 8)))
        assert torch.allclose(F.softmax(logits.double(), dim=1).mean(dim=0), row, atol=1e-6)


def test_crops_that_do_not_fit(net: Whole) -> None:
    with pytest.raises(DataError, match="crops of 8 x 8 do not fit into images of 7 x 7"):
        predict(net, feed_of(images_of(2, 12, 12)), TenCrops((8, 8), 7))


def test_several_scales(net: Whole) -> None:
    from torchvision.transforms.v2.functional import resize

    images = images_of(4, 12, 18)
    feed = feed_of(images)
    found, _ = predict(net, feed, Scales((8, 12, 15)))
    net.eval()
    for image, row in zip(images.pixels, found, strict=True):
        total = torch.zeros(7, dtype=torch.float64)
        for sides in ((8, 12), (12, 18), (15, 22)):
            pixels = resize(image, list(sides), antialias=True).float() / 255
            with torch.no_grad():
                logits = net(((pixels - feed.normalization.mean) / feed.normalization.deviation).unsqueeze(0))
            total += F.softmax(logits[0].double(), dim=0)
        assert torch.allclose(total / 3, row, atol=1e-6)


def test_a_mean_image_gives_other_sizes_its_mean() -> None:
    normalization = Normalization(torch.rand(3, 8, 8), torch.ones(3, 1, 1))
    pixels = images_of(2, 10, 12).pixels
    expected = pixels.float() / 255 - normalization.mean.mean(dim=(1, 2)).view(3, 1, 1)
    assert torch.allclose(normalized(pixels, normalization), expected)
    small = images_of(2, 8, 8).pixels
    assert torch.equal(normalized(small, normalization), small.float() / 255 - normalization.mean)


# --- ensembles -------------------------------------------------------------------------------------------------------


def test_an_ensemble_is_the_mean_of_the_softmax() -> None:
    images = images_of(40, 10, 10)
    feed = feed_of(images)
    nets = []
    for seed in range(3):
        torch.manual_seed(seed)
        nets.append(Whole())
    names = tuple("abcdefg")
    found = ensemble([(names, predict(net, feed, OneCrop())[0]) for net in nets])
    inputs = feed.inputs(images.pixels)
    with torch.no_grad():
        expected = torch.stack([net.eval()(inputs).double().softmax(dim=1) for net in nets]).mean(dim=0)
    assert torch.allclose(found, expected, atol=1e-7)


def test_classes_of_an_ensemble_agree_by_name() -> None:
    first = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    second = torch.tensor([[0.5, 0.1, 0.4]], dtype=torch.float64)
    found = ensemble([(("cat", "dog", "emu"), first), (("emu", "cat", "dog"), second)])
    assert found.tolist() == [[pytest.approx(0.4), pytest.approx(0.3), pytest.approx(0.3)]]
    with pytest.raises(TrainError, match="tell different classes apart"):
        ensemble([(("cat", "dog", "emu"), first), (("cat", "dog", "fox"), second)])


# --- precise statistics ----------------------------------------------------------------------------------------------


def test_precise_statistics_are_those_of_the_whole_set(net: Whole) -> None:
    images = images_of(64, 8, 8)
    inputs = feed_of(images).inputs(images.pixels)
    assert precise_statistics(net, [inputs]) == 2
    with torch.no_grad():
        first = net.conv(inputs)
        normed = (first - first.mean(dim=(0, 2, 3), keepdim=True)) / (
            first.var(dim=(0, 2, 3), unbiased=False, keepdim=True) + net.bn.eps
        ).sqrt()
        second = net.conv2(torch.relu(normed))
    for layer, values in ((net.bn, first), (net.bn2, second)):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        assert torch.allclose(layer.running_mean, values.mean(dim=(0, 2, 3)), atol=1e-5)
        assert torch.allclose(layer.running_var, values.var(dim=(0, 2, 3)), rtol=1e-4)
        assert layer.momentum == 0.1


def test_precise_statistics_of_batches_are_their_plain_average(net: Whole) -> None:
    images = images_of(60, 8, 8)
    batches = feed_of(images).inputs(images.pixels).split([25, 25, 10])  # type: ignore[no-untyped-call]
    precise_statistics(net, batches)
    seen: list[list[Tensor]] = [[], []]
    with torch.no_grad():
        for batch in batches:
            first = net.conv(batch)
            second = net.conv2(torch.relu(F.batch_norm(first, None, None, training=True)))
            for kept, values in zip(seen, (first, second), strict=True):
                kept.append(values.transpose(0, 1).flatten(1))
    for layer, kept in zip((net.bn, net.bn2), seen, strict=True):
        values = torch.cat(kept, dim=1).double()
        assert layer.running_mean is not None
        assert layer.running_var is not None
        assert torch.allclose(layer.running_mean.double(), values.mean(dim=1), atol=1e-5)
        assert torch.allclose(layer.running_var.double(), values.var(dim=1), rtol=1e-4)


def test_precise_statistics_leave_all_else_alone(net: Whole) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items() if "running" not in name}
    net.bn.eval()
    precise_statistics(net, [torch.randn(8, 3, 8, 8)])
    after = net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if "tracked" not in name)
    assert not net.bn._forward_pre_hooks


def test_one_value_a_channel_has_no_variance() -> None:
    with pytest.raises(TrainError, match="need larger batches"):
        precise_statistics(nn.Sequential(nn.BatchNorm1d(4)), [torch.randn(1, 4)])


def test_a_whole_image_is_not_enlarged_while_it_is_read() -> None:
    """A smaller scale would then be made of the enlarged image, and the result of two scales not be that of each."""
    image = Image.effect_noise((13, 9), 90)
    assert CentralView(None, 40)(image, Random(1)).tobytes() == image.tobytes()
    assert CentralView(None, 6)(image, Random(1)).size == (8, 6)
    assert CentralView((30, 30), 40)(image, Random(1)).size == (30, 30)
