"""Reading run folders: what a run wrote about itself, and the weights it ended with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from resdsl.recipe_schema import SCHEMA
from resdsl.recipe_types import Call, Value
from resdsl.train.checkpoint import FILE_NAME, load_checkpoint
from resdsl.train.errors import CheckpointError, TrainError
from resdsl.train.normalize import Normalization
from resdsl.train.record import ARGUMENTS, ENVIRONMENT, METRICS

RECIPE, NETWORK, EVALUATIONS = "recipe.json", "network.json", "evaluations.jsonl"
Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The texts of a run folder. `facts` is the network's summary, empty where the run did not have one."""

    folder: Path
    network: str
    hash: str
    recipe: Plain
    recipe_text: str
    spec_text: str
    facts: Plain
    environment: Plain
    arguments: Plain
    metrics: list[dict[str, float | None]]
    evaluations: list[Plain]

    @property
    def kind(self) -> tuple[str, str, str]:
        """Equal for runs that differ by their seed alone."""
        settings = {word: value for word, value in self.recipe.items() if word != "seed"}
        return self.network, self.hash, json.dumps(settings, sort_keys=True)


def read_run(folder: Path) -> RunRecord:
    """The record of a run. Raises TrainError for what is no run folder, or is damaged."""
    if not folder.is_dir():
        raise TrainError(f"{folder} is not a run folder" if folder.exists() else f"there is no folder {folder}")
    used = _read_used(folder)
    return RunRecord(
        folder=folder,
        network=used["network"],
        hash=used["hash"],
        recipe=used["recipe"],
        recipe_text=used["text"],
        spec_text=_read_text(folder / "spec.res"),
        facts=_read_json(folder / NETWORK),
        environment=_read_json(folder / ENVIRONMENT),
        arguments=_read_json(folder / ARGUMENTS),
        metrics=[row for row in _read_lines(folder / METRICS) if _is_metrics(row)],
        evaluations=_read_lines(folder / EVALUATIONS),
    )


def read_recipe_text(folder: Path) -> str:
    """The recipe of a run as text of the language, as it was used. Raises TrainError."""
    text: str = _read_used(folder)["text"]
    return text


def _read_used(folder: Path) -> Plain:
    used = _read_json(folder / RECIPE, needed=True)
    texts = (used.get(word) for word in ("network", "hash", "text"))
    if not isinstance(used.get("recipe"), dict) or not all(isinstance(text, str) for text in texts):
        raise TrainError(f"{folder / RECIPE} was not written by this version of resdsl")
    return used


def check_records(folder: Path) -> None:
    """Raise TrainError where what a run wrote before its first step is damaged: before it goes on, not at its end."""
    _read_used(folder)
    begun = _read_json(folder / ENVIRONMENT, needed=True)
    if not isinstance(begun.get("resumed"), list):
        raise TrainError(f"{folder / ENVIRONMENT} was not written by this version of resdsl")
    _read_json(folder / NETWORK)
    _read_lines(folder / EVALUATIONS)


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """A trained model from its checkpoint, with the weights its tests were made with: the average if it kept one."""

    weights: dict[str, Tensor]
    is_average: bool
    normalization: Normalization
    classes: tuple[str, ...]
    step: int


def read_weights(folder: Path) -> StoredWeights:
    """The weights of a run. Raises CheckpointError."""
    path = folder / FILE_NAME
    content = load_checkpoint(path)
    try:
        average, normalization = content["average"], content["normalization"]
        return StoredWeights(
            weights=content["model"] if average is None else average,
            is_average=average is not None,
            normalization=Normalization(normalization["mean"], normalization["deviation"]),
            classes=tuple(content["classes"]),
            step=content["progress"]["step"],
        )
    except (KeyError, TypeError):
        raise CheckpointError(f"{path} is not the checkpoint of a run") from None


def called(recipe: Plain, word: str) -> Call:
    """A setting that is a call, from the recipe as a run recorded it. Raises TrainError for one of another version."""
    return _call(word, recipe.get(word))


def chain(recipe: Plain, word: str) -> tuple[Call, ...]:
    """A setting that is a chain of calls."""
    steps = recipe.get(word)
    return tuple(_call(word, step) for step in (steps if isinstance(steps, list) else []))


def _call(word: str, plain: object) -> Call:
    if isinstance(plain, dict):
        args = tuple((name, _value(value)) for name, value in plain.items() if name != "name")
        form = SCHEMA[word].form(str(plain.get("name")))
        if form is not None:
            # Arguments that came after the run was made have their defaults.
            return form.bind(Call(form.name, args))
    raise TrainError(f"the run's recipe says `{word}` in another way than this version of resdsl")


def _value(value: object) -> Value:
    if isinstance(value, list):
        return tuple(item for item in value if isinstance(item, int))
    return value if isinstance(value, (bool, int, float, str)) else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise TrainError(f"{path} is not text in UTF-8") from None
    except OSError as error:
        raise TrainError(f"cannot read {path}: {error.strerror}") from None


def _read_json(path: Path, *, needed: bool = False) -> Plain:
    text = _read_text(path)
    if not text and not needed:
        return {}
    if not text:
        raise TrainError(f"{path.parent} is not a run folder: it has no {path.name}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise TrainError(f"{path} is damaged: it is not JSON") from None
    if not isinstance(value, dict):
        raise TrainError(f"{path} is damaged: it is not a JSON object")
    return value


def _read_lines(path: Path) -> list[Plain]:
    text = _read_text(path)
    rows = []
    # A line without its end is just being written, or was when the machine stopped.
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise TrainError(f"{path}, line {number}, is damaged: it is not JSON") from None
        if not isinstance(row, dict):
            raise TrainError(f"{path}, line {number}, is damaged: it is not a JSON object")
        rows.append(row)
    return rows


def _is_metrics(row: Plain) -> bool:
    """Whether the line has numbers where a picture or a table needs them."""
    needed = ("step", "epoch", "lr", "train_error", "test_error", "seconds")
    values = [row.get(word, False) for word in needed]
    return all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values)
