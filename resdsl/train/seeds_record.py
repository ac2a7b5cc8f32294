"""The folder of several seeds' runs: which they are, what came of them, and one page about them all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resdsl.files import replace_text
from resdsl.train.curves import FORMATS, Curve, has_matplotlib, plot_runs, rate_drops
from resdsl.train.errors import TrainError
from resdsl.train.page import Section, Table, curves_section, published_error, sections_about, write_sections
from resdsl.train.record import ARGUMENTS
from resdsl.train.scores import Spread, spread
from resdsl.train.stored import RECIPE, RunRecord, read_run

SEEDS = "seeds.json"
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


def run_folder(folder: Path, seed: int) -> Path:
    """Where the run of a seed lies."""
    return folder / f"seed-{seed}"


def write_seeds_start(
    folder: Path,
    name: str,
    seeds: Sequence[int],
    spec_text: str,
    arguments: Mapping[str, object],
    files: Mapping[str, str],
) -> None:
    """What the runs have in common, before the first of them begins."""
    replace_text(folder / SEEDS, _json({"network": name, "seeds": list(seeds), "runs": []}))
    replace_text(folder / ARGUMENTS, _json(arguments))
    replace_text(folder / "spec.res", spec_text)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        replace_text(folder / path, text)


def read_seeds(folder: Path) -> dict[str, Any] | None:
    """seeds.json of a folder with its `seeds`, integers, and `runs`; None where it has none.

    Raises TrainError where it is damaged.
    """
    path = folder / SEEDS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise TrainError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not _is_sound(content):
        raise TrainError(f"{path} is damaged")
    return content


def _is_sound(content: dict[str, Any]) -> bool:
    seeds, runs = content.get("seeds"), content.get("runs")
    if not isinstance(seeds, list) or not isinstance(runs, list):
        return False
    return all(type(seed) is int for seed in seeds) and all(isinstance(run, dict) for run in runs)


def single_runs(folders: Sequence[Path], note: Callable[[str], None]) -> list[Path]:
    """Run folders, where each folder of several seeds stands for its runs, without those that failed.

    Raises TrainError where such a folder has no run to give.
    """
    found = []
    for folder in folders:
        content = read_seeds(folder)
        if content is None:
            found.append(folder)
            continue
        failed = {run.get("seed") for run in content["runs"] if run.get("state") == FAILED}
        for seed in content["seeds"]:
            if seed in failed:
                note(f"{run_folder(folder, seed)} failed and is left out; name it to have it nevertheless")
        whole = [run_folder(folder, seed) for seed in content["seeds"] if seed not in failed]
        begun = [run for run in whole if (run / RECIPE).exists()]
        if not begun:
            raise TrainError(f"{folder} has no run that has not failed")
        found += begun
    return found


def outcome(seed: int, folder: Path, state: str, failure: TrainError | None) -> dict[str, Any]:
    """The line of a run in seeds.json, from its own files. Errors are None where nothing was measured."""
    metrics = read_run(folder).metrics
    last = metrics[-1] if metrics else {}
    tests = [error for row in metrics if (error := row["test_error"]) is not None]
    return {
        "seed": seed,
        "folder": folder.name,
        "state": state,
        "step": last.get("step"),
        "test_error": last.get("test_error"),
        "best_test_error": min(tests, default=None),
        "train_error": last.get("train_error"),
        "validation_error": last.get("validation_error"),
        "seconds": last.get("seconds"),
        "failure": None if failure is None else str(failure),
    }


def write_outcome(folder: Path, name: str, seeds: Sequence[int], outcomes: Sequence[dict[str, Any]]) -> Spread | None:
    """seeds.json and the page. Gives mean and deviation of the test error at the end of the finished runs.

    Of no finished run there are none.
    """
    finished = [row for row in outcomes if row["state"] == FINISHED]
    content: dict[str, Any] = {"network": name, "seeds": list(seeds), "finished": len(finished)}
    for word in ("test_error", "best_test_error", "train_error", "validation_error"):
        content[word] = _spread_of([row[word] for row in finished])
    replace_text(folder / SEEDS, _json(content | {"runs": list(outcomes)}))
    _write_page(folder, name, outcomes, content)
    errors = content["test_error"]
    return None if errors is None else Spread(errors["count"], errors["mean"], errors["deviation"])


def _spread_of(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return asdict(spread(known)) | {"least": min(known), "largest": max(known)}


# --- the page ---

_COLUMNS = (
    ("test_error", "test error"),
    ("best_test_error", "least on the way"),
    ("train_error", "training error"),
    ("validation_error", "validation error"),
)


def _write_page(folder: Path, name: str, outcomes: Sequence[dict[str, Any]], content: dict[str, Any]) -> None:
    runs = [read_run(folder / row["folder"]) for row in outcomes]
    _draw(folder, name, [run for run, row in zip(runs, outcomes, strict=True) if run.metrics and not row["failure"]])
    lead = f"{_in_words(content['test_error'])}{published_error(runs[0])}."
    sections = [Section("Result", (_table(outcomes, content),)), curves_section(folder), *sections_about(runs[0])]
    write_sections(folder, name, lead, sections)


def _in_words(errors: dict[str, Any] | None) -> str:
    if errors is None:
        return "No run has come to its end yet"
    if errors["deviation"] is None:
        return f"Test error {percent(errors)}, of one run"
    return f"Test error {percent(errors)}: mean and standard deviation (n - 1) of {errors['count']} seeds"


def _table(outcomes: Sequence[dict[str, Any]], content: dict[str, Any]) -> Table:
    used = [(word, title) for word, title in _COLUMNS if any(row[word] is not None for row in outcomes)]
    rows = [
        (str(row["seed"]), row["state"], f"{row['step'] or 0:,}", *(_error(row[word]) for word, _ in used))
        for row in outcomes
    ]
    rows.append(("mean", "", "", *(percent(content[word]) for word, _ in used)))
    titles = tuple(title for _, title in used)
    return Table(("seed", "", "iterations", *titles), tuple(rows), ("iterations", *titles))


def percent(errors: dict[str, Any] | None) -> str:
    """A mean with its deviation, as 6.61 ± 0.16 %."""
    if errors is None:
        return ""
    deviation = "" if errors["deviation"] is None else f" ± {100 * errors['deviation']:.2f}"
    return f"{100 * errors['mean']:.2f}{deviation} %"


def _error(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def _draw(folder: Path, name: str, runs: Sequence[RunRecord]) -> None:
    if not runs or not has_matplotlib():
        return
    label = "test error" if len(runs) == 1 else f"median of {len(runs)} seeds"
    curve = Curve(label, tuple(run.metrics for run in runs), rate_drops(runs[0].metrics, runs[0].recipe))
    plot_runs([curve], [folder / f"curves.{suffix}" for suffix in FORMATS], log=False, top=None, title=name)


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
