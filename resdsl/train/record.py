"""The run folder: what was trained, how, where, and how it went."""

import json
import platform
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

import torch

from resdsl.files import replace_text
from resdsl.recipe import Recipe
from resdsl.train.errors import TrainError
from resdsl.train.report import Evaluation

METRICS = "metrics.jsonl"


def open_run_folder(folder: Path) -> None:
    """Make the folder. Raises TrainError where it already holds something: no run overwrites another."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise TrainError(f"{folder} is not empty: name another folder with --out")
    except OSError as error:
        raise TrainError(f"cannot make the run folder {folder}: {error.strerror}") from None


def write_start(folder: Path, name: str, recipe: Recipe, spec_text: str, spec_hash: str, device: torch.device) -> None:
    """spec.res, recipe.json and environment.json, before the first step."""
    replace_text(folder / "spec.res", spec_text)
    used = {"network": name, "hash": spec_hash, "recipe": recipe.as_dict(), "text": recipe.to_text()}
    replace_text(folder / "recipe.json", _json(used))
    replace_text(folder / "environment.json", _json(environment(device)))


def append_metrics(folder: Path, evaluation: Evaluation) -> None:
    """One more line of metrics.jsonl; what is not a finite number, which JSON cannot say, becomes null."""
    row = {key: value if value is not None and isfinite(value) else None for key, value in evaluation.as_dict().items()}
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_metrics(folder: Path) -> list[dict[str, float | None]]:
    """All lines of metrics.jsonl, oldest first."""
    return [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]


def environment(device: torch.device) -> dict[str, object]:
    """Versions and hardware, for the record."""
    on_gpu = device.type == "cuda"
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine(),
        "precision": "bfloat16 autocast" if on_gpu else "float32",
        "threads": torch.get_num_threads(),
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
