"""Networks of run folders: what a run keeps of its network, and the network compiled from that again."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from resdsl.compiler import compile_origin
from resdsl.diagnostics import CompileError
from resdsl.net import Origin

if TYPE_CHECKING:
    from resdsl.net import Net

VERSION = 1
SUMMARY, SOURCE, USED = "network.json", "source.json", "used"
_TEXTS = ("name", "text", "network")
_FILE = re.compile(r"used/[0-9]{1,3}/")


class RunError(Exception):
    """A folder whose network cannot be compiled again; the message says why, in one line or several."""


def run_files(net: Net) -> dict[str, str]:
    """Texts for a run folder by their paths in it: the network's summary, what it was compiled from, the files used."""
    origin = net.origin
    used = {f"{USED}/{path}": text for path, text in origin.files}
    source = {"version": VERSION, **origin._asdict(), "files": list(used)}
    return {SUMMARY: _json(net.summary()), SOURCE: _json(source), **used}


def load_run(folder: str | os.PathLike[str]) -> Net:
    """The network of a run, compiled from the texts in its folder.

    Raises:
        RunError: the folder lacks what is needed or was changed since: it would be another network than was trained.
    """
    used = os.path.join(os.fspath(folder), USED)
    content = _read_json(os.path.join(os.fspath(folder), SOURCE))
    origin = _origin(content, folder, used)
    recorded = _read_json(os.path.join(os.fspath(folder), SUMMARY)).get("hash")
    try:
        net = compile_origin(origin, used)
    except CompileError as error:
        found = "; ".join(diagnostic.title for diagnostic in error.diagnostics[:3])
        raise RunError(f"the network of {os.fspath(folder)} no longer compiles: {found}") from None
    if net.hash != recorded:
        reason = "its files were changed, or it was trained with another version of resdsl"
        raise RunError(f"the spec in {os.fspath(folder)} no longer gives the network that was trained: {reason}")
    return net


def _origin(content: dict[str, Any], folder: str | os.PathLike[str], used: str) -> Origin:
    shown = os.path.join(os.fspath(folder), SOURCE)
    if content.get("version") != VERSION:
        raise RunError(f"{shown} was written by another version of resdsl")
    if not _is_sound(content):
        raise RunError(f"{shown} is damaged")
    files: list[str] = content["files"]
    missing = [path for path in files if not os.path.isfile(os.path.join(os.fspath(folder), path))]
    if missing:
        raise RunError(f"{os.fspath(folder)} lacks {missing[0]}, a file that its spec uses")
    return Origin(
        name=content["name"],
        main=content["main"],
        text=content["text"],
        network=content["network"],
        arguments=tuple(content["arguments"]),
        changes=tuple((what, where, text) for what, where, text in content["changes"]),
        files=tuple((path.removeprefix(f"{USED}/"), "") for path in files),
    )


def _is_sound(content: dict[str, Any]) -> bool:
    texts = [*(content.get(word) for word in _TEXTS), content.get("main") or ""]
    lists = [content.get(word) for word in ("arguments", "files")]
    changes = content.get("changes")
    return (
        _are_texts(texts)
        and all(map(_are_texts, lists))
        and all(_FILE.match(path) for path in content["files"])
        and isinstance(changes, list)
        and all(_are_texts(change) and len(change) == 3 for change in changes)
    )


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        folder, name = os.path.split(path)
        raise RunError(f"{folder} has no {name}: it is not the folder of a run of `resdsl train`") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RunError(f"{path} is damaged: it is not JSON") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged: it is not a JSON object")
    return content


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
