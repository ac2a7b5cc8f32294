"""The commands that the README and CI promise."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_target_is_documented() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    promised = {"help", "demo", "test", "check", "bench", "clean"}
    assert promised <= set(re.findall(r"^([a-z-]+):.*## ", text, flags=re.MULTILINE))


def test_ci_calls_what_contributors_call() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").rstrip().endswith("exec make test")
