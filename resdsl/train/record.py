"""The run folder: what was trained, how, where, and how it went."""

import json
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from resdsl.files import replace_text
from resdsl.recipe import Recipe
from resdsl.train.errors import StorageError, TrainError, is_full_disk
from resdsl.train.report import Evaluation

METRICS, ENVIRONMENT, ARGUMENTS = "metrics.jsonl", "environment.json", "arguments.json"


def open_run_folder(folder: Path) -> None:
    """Make the folder. Raises TrainError where it already holds something: no run overwrites another."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            also = ", or go on with the run in it with --resume" if (folder / ENVIRONMENT).exists() else ""
            raise TrainError(f"{folder} is not empty: name another folder with --out{also}")
    except OSError as error:
        raise TrainError(f"cannot make the run folder {folder}: {error.strerror}") from None


def write_start(
    folder: Path,
    name: str,
    recipe: Recipe,
    spec_text: str,
    spec_hash: str,
    device: torch.device,
    arguments: Mapping[str, object],
    files: Mapping[str, str],
    *,
    deterministic: bool,
    engine: str = "plain",
    processes: int = 1,
) -> None:
    """arguments.json, spec.res, recipe.json, environment.json and `files`, texts by path, before the first step.

    The first one comes first: with it a run can be begun again, however early it was killed.
    """
    replace_text(folder / ARGUMENTS, _json(arguments))
    replace_text(folder / "spec.res", spec_text)
    used = {"network": name, "hash": spec_hash, "recipe": recipe.as_dict(), "text": recipe.to_text()}
    replace_text(folder / "recipe.json", _json(used))
    surroundings = environment(device, engine, processes) | {"deterministic": deterministic, "resumed": []}
    replace_text(folder / ENVIRONMENT, _json(surroundings))
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        replace_text(folder / path, text)


def write_resumption(folder: Path, step: int, device: torch.device, engine: str, processes: int = 1) -> None:
    """Add to environment.json where and when the run went on, from which step."""
    begun = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    begun["resumed"].append({"step": step} | environment(device, engine, processes))
    replace_text(folder / ENVIRONMENT, _json(begun))


def read_arguments(folder: Path) -> dict[str, Any]:
    """What write_start was given to make the network again. Raises TrainError where the folder holds no run."""
    try:
        arguments = json.loads((folder / ARGUMENTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists():
            raise TrainError(f"there is no folder {folder}") from None
        raise TrainError(f"{folder} is not a run folder, or was written by another version of resdsl") from None
    except OSError as error:
        raise TrainError(f"cannot read {folder / ARGUMENTS}: {error.strerror}") from None
    except ValueError:
        raise TrainError(f"{folder / ARGUMENTS} is damaged") from None
    if not isinstance(arguments, dict):
        raise TrainError(f"{folder / ARGUMENTS} is damaged")
    return arguments


def keep_place(folder: Path, place: Path | None) -> None:
    """Remember where the images of a run are now; nothing where the run was begun without options to remember."""
    arguments = read_arguments(folder)
    if place is not None and arguments and arguments.get("data") != str(place.absolute()):
        replace_text(folder / ARGUMENTS, _json(arguments | {"data": str(place.absolute())}))


def append_metrics(folder: Path, evaluation: Evaluation) -> None:
    """One more line of metrics.jsonl. Raises StorageError where the disk is full."""
    try:
        with (folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(_line(evaluation.as_dict()))
    except OSError as error:
        if not is_full_disk(error):
            raise
        message = f"no space left in {folder} for the evaluation of iteration {evaluation.step:,}"
        raise StorageError(f"{message}: the last checkpoint is kept") from None


def replace_metrics(folder: Path, rows: Iterable[Mapping[str, float | None]]) -> None:
    """Let metrics.jsonl have these lines and no others."""
    replace_text(folder / METRICS, "".join(map(_line, rows)))


def read_metrics(folder: Path) -> list[dict[str, float | None]]:
    """All lines of metrics.jsonl, oldest first."""
    return [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]


def environment(device: torch.device, engine: str, processes: int = 1) -> dict[str, object]:
    """Versions and hardware, and how steps are computed, for the record."""
    on_gpu = device.type == "cuda"
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **versions(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if on_gpu else processor(),
        "precision": "bfloat16 autocast" if on_gpu else "float32",
        "threads": torch.get_num_threads(),
        "processes": processes,
        "engine": engine,
    }


def versions() -> dict[str, str]:
    """Of the libraries that the numbers of a run come from: torch with its CUDA and cuDNN, and what decodes images."""
    found = {"torch": str(torch.__version__)}
    if torch.version.cuda and torch.cuda.is_available():
        found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
    for library in ("torchvision", "numpy", "pillow", "resdsl"):
        with suppress(PackageNotFoundError):
            found[library] = version(library)
    return found


def processor() -> str:
    """The name of the CPU, as precise as the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, name = line.partition(":")
            if key.strip() == "model name" and name.strip():
                return name.strip()
    return platform.processor() or platform.machine()


def _line(row: Mapping[str, float | None]) -> str:
    # What is not a finite number, which JSON cannot say, becomes null.
    finite = {key: value if value is not None and isfinite(value) else None for key, value in row.items()}
    return json.dumps(finite) + "\n"


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
