"""Places: nothing overlaps, the trunk is straight, shortcuts stay on one side and cut through no box."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from resdsl.emit.dot import sketch
from resdsl.emit.picture import palette
from resdsl.emit.picture.fonts import text_width
from resdsl.emit.picture.layout import Column, Placed, arrange
from resdsl.emit.picture.routes import Point, Route, route
from tests.pictures.conftest import load


def drawn(name: str, level: str) -> tuple[Column, list[Route]]:
    (column,) = arrange([sketch(load(name), level, 4)])
    return column, route(column)


def along(way: Route) -> Iterator[Point]:
    """Points on a route's curves."""
    for start in range(0, len(way.points) - 3, 3):
        a, b, c, d = way.points[start : start + 4]
        for step in range(21):
            t = step / 20
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            yield (
                sum(w * p[0] for w, p in zip(weights, (a, b, c, d), strict=True)),
                sum(w * p[1] for w, p in zip(weights, (a, b, c, d), strict=True)),
            )


def test_units_do_not_overlap(name: str, level: str) -> None:
    column, _ = drawn(name, level)
    spots = sorted(column.placed.values(), key=lambda spot: spot.top)
    for index, upper in enumerate(spots):
        for lower in spots[index + 1 :]:
            if lower.top >= upper.bottom:
                break
            assert abs(upper.x - lower.x) >= (upper.outer + lower.outer) / 2, (upper.unit.key, lower.unit.key)


def test_wires_cut_through_no_unit(name: str, level: str) -> None:
    column, routes = drawn(name, level)
    spots = list(column.placed.values())
    for way in routes:
        for x, y in along(way):
            for spot in spots:
                is_inside = abs(x - spot.x) < spot.outer / 2 - 0.5 and spot.top + 0.5 < y < spot.bottom - 0.5
                assert not is_inside, (way.source.unit.key, way.target.unit.key, spot.unit.key)


def test_wires_are_curves_that_hold_together(name: str, level: str) -> None:
    for way in drawn(name, level)[1]:
        assert len(way.points) % 3 == 1
        reach = way.source.width / 2 if way.wire.leaves_at is not None else 0.0
        assert abs(way.points[0][0] - way.source.x) == pytest.approx(reach, abs=0.01)


def test_the_trunk_is_one_vertical_line(name: str, level: str) -> None:
    column, routes = drawn(name, level)
    trunk = [spot.unit.key for spot in column.trunk]
    assert {spot.x for spot in column.trunk} == {0.0}
    straight = {way.target.unit.key for way in routes if {x for x, _ in way.points} == {0.0}}
    assert set(trunk[1:]) <= straight
    assert all(upper.bottom < lower.top for upper, lower in pairwise(column.trunk))


def test_shortcuts_stay_on_the_right(name: str, level: str) -> None:
    for way in drawn(name, level)[1]:
        if way.wire.kind in {"identity", "changed"}:
            assert min(x for x, _ in along(way)) >= -0.01


def test_words_fit_their_boxes(name: str, level: str) -> None:
    def width(spot: Placed) -> float:
        lines = enumerate(spot.unit.lines)
        return max((text_width(line, 9, is_bold=spot.unit.is_bold and n == 0) for n, line in lines), default=0.0)

    column, _ = drawn(name, level)
    wordy = [spot for spot in column.placed.values() if spot.unit.kind not in {"join", "gate", "concat", "point"}]
    assert all(width(spot) < spot.width or spot.unit.kind == "strip" for spot in wordy)


def luminance(color: str) -> float:
    """Relative luminance of `#rrggbb`, 0 to 1 (WCAG 2)."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_stage_colours_survive_grey_print() -> None:
    """Each stage is darker than the one before by a step that grey shows; words on it keep their contrast."""
    lightness = [116 * luminance(color) ** (1 / 3) - 16 for color in palette.STAGE_FILLS]
    assert all(upper - lower >= 5 for upper, lower in pairwise(lightness))
    ink = luminance(palette.INK)
    assert all((luminance(fill) + 0.05) / (ink + 0.05) >= 4.5 for fill in palette.STAGE_FILLS)


@pytest.mark.parametrize("index", [0, 5, 6, 100])
def test_any_number_of_stages_has_colours(index: int) -> None:
    assert palette.stage_colors(index)[0] in palette.STAGE_FILLS
