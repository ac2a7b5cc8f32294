"""What the commands say to libraries by the environment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from resdsl.cli.device import set_up_libraries

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME")


@pytest.fixture(autouse=True)
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)


def test_what_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/kept")
    set_up_libraries()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/kept"
    assert "GOMP_SPINCOUNT" not in os.environ


def test_places_and_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    set_up_libraries()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/caches/resdsl/inductor"
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize("command", ["train", "eval", "bench"])
def test_it_is_said_before_torch_is_loaded(command: str) -> None:
    """OpenMP looks when it is loaded, and never again."""
    script = f"""
import os, sys
from resdsl.cli import {command}
from resdsl.cli.main import main
seen = []
{command}.set_up_libraries = lambda: seen.append("torch" in sys.modules)
main(["{command}", "nowhere.res"])
assert seen == [False], seen
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
