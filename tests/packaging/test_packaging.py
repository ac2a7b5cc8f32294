"""The package map: what is declared, what is packed, and that a wheel works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKED_FOLDERS = ("resdsl", "cli", "grammars", "specs")
DATA_SUFFIXES = (".lark", ".res")


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def data_files() -> set[str]:
    """Names within the wheel of every grammar and spec in the checkout."""
    return {
        f"resdsl/{path.relative_to(ROOT).as_posix()}"
        for folder in ("grammars", "specs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in DATA_SUFFIXES
    }


def test_package_list_is_complete() -> None:
    found = set()
    for top in PACKED_FOLDERS:
        for folder in [ROOT / top, *(path for path in (ROOT / top).rglob("*") if path.is_dir())]:
            if any(path.suffix in {".py", *DATA_SUFFIXES} for path in folder.iterdir()):
                inside = folder.relative_to(ROOT).parts
                found.add(".".join(inside if top == "resdsl" else ("resdsl", *inside)))
    declared = SETTINGS["tool"]["setuptools"]["packages"]
    assert sorted(found) == sorted(declared)


@pytest.mark.parametrize("folder", ["cli", "grammars", "specs"])
def test_links_reach_the_top_folders(folder: str) -> None:
    assert (ROOT / "resdsl" / folder).resolve() == ROOT / folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from an sdist, built from a copy of the checkout."""
    work = tmp_path_factory.mktemp("packaging")
    checkout = work / "checkout"
    checkout.mkdir()
    for name in PACKED_FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    build = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
    run(sys.executable, "-c", build, "build_sdist", str(work), cwd=checkout)
    (sdist,) = work.glob("*.tar.gz")
    shutil.unpack_archive(sdist, work)
    run(sys.executable, "-c", build, "build_wheel", str(work), cwd=work / sdist.name.removesuffix(".tar.gz"))
    (built,) = work.glob("*.whl")
    return built


def test_wheel_holds_everything_under_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = f"resdsl-{SETTINGS['project']['version']}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"resdsl", metadata}
    modules = {
        f"resdsl/{path.relative_to(ROOT / 'resdsl').as_posix()}"
        for path in [*(ROOT / "resdsl").rglob("*.py"), *(ROOT / "resdsl" / "cli").rglob("*.py")]
    }
    expected = data_files() | modules | {"resdsl/py.typed", f"{metadata}/licenses/LICENSE"}
    assert expected <= names
    assert "resdsl/grammars/res.lark" in names


def test_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("pip")
    target = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=tmp_path)
    use = (
        "import sys, resdsl, importlib.resources as resources; "
        "assert resdsl.__file__.startswith(sys.argv[1]), resdsl.__file__; "
        "spec = resources.files('resdsl.specs') / 'resnet34.res'; "
        "assert str(spec).startswith(sys.argv[1]), spec; "
        "print(resdsl.load(str(spec)).parameters)"
    )
    assert run(sys.executable, "-c", use, str(target), cwd=tmp_path, PYTHONPATH=str(target)) == "21797672\n"
    script = target / "bin" / "resdsl"
    shown = run(sys.executable, str(script), "--version", cwd=tmp_path, PYTHONPATH=str(target))
    assert shown == f"resdsl {SETTINGS['project']['version']}\n"
