"""The picture of a run: error against iterations, as in Figure 6 of He et al. 2015."""

from pathlib import Path

from resdsl.files import replace_file

TEST_COLOUR, VALIDATION_COLOUR, TRAIN_COLOUR = (
    "#0072B2",
    "#009E73",
    "#D55E00",
)  # Okabe and Ito: safe for colour-blind readers
LINES = (
    ("train_error", "training", TRAIN_COLOUR, "--", 1.0),
    ("validation_error", "validation", VALIDATION_COLOUR, "-", 1.2),
    ("test_error", "test", TEST_COLOUR, "-", 2.0),
)
WITHOUT = "no curve picture: it needs matplotlib (pip install 'resdsl[plot]')"


def draw_curves(folder: Path, title: str, metrics: list[dict[str, float | None]]) -> list[Path]:
    """Write curves.svg and curves.png into the run folder; their paths, or none where matplotlib is missing."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return []
    # Names in the SVG depend on this salt alone, so equal runs give equal files.
    with rc_context({"svg.hashsalt": "resdsl", "font.size": 10}):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for key, label, colour, style, width in LINES:
            points = [(row["step"], error * 100) for row in metrics if (error := row[key]) is not None]
            if points:
                steps, errors = zip(*points, strict=True)
                marker = "o" if len(points) == 1 else None
                label = f"{label} ({errors[-1]:.2f} % at the end)"
                axes.plot(steps, errors, style, color=colour, linewidth=width, marker=marker, label=label)
        axes.set(xlabel="iterations", ylabel="top-1 error (%)", title=title)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        paths = [folder / "curves.svg", folder / "curves.png"]
        replace_file(paths[0], lambda file: figure.savefig(file, format="svg", metadata={"Date": None}))
        replace_file(paths[1], lambda file: figure.savefig(file, format="png", dpi=160))
    return paths
