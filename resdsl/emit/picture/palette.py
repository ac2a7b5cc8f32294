"""Colours: hues in the order of He et al. 2015, Figure 3 (violet, green, red, blue), each stage darker than the last.

Neighbours differ in lightness, too, so that stages can be told apart in grey print and with any colour vision. Black
words on the darkest fill keep a contrast above 4.5 to 1.
"""

from __future__ import annotations

STAGE_FILLS = ("#ebe3f5", "#bfe0b8", "#f2b49d", "#8ab9e5", "#c49f36", "#8a9983")
STAGE_LINES = ("#6f5591", "#39733a", "#a34a2c", "#1f5488", "#7a6110", "#4c5c45")
NEUTRAL_FILL, NEUTRAL_LINE = "#ffffff", "#555555"
STRIP_FILL = "#ffffff"
INK = "#222222"
FAINT_INK = "#666666"
FRAME_LINE = "#999999"


def stage_colors(index: int | None) -> tuple[str, str]:
    """Fill and line of the stage at an index from 0, or of what is in no stage."""
    if index is None:
        return NEUTRAL_FILL, NEUTRAL_LINE
    return STAGE_FILLS[index % len(STAGE_FILLS)], STAGE_LINES[index % len(STAGE_LINES)]
