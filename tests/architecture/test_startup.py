"""What the quick commands load: start-up time is a feature."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = str(ROOT / "specs" / "resnet34.res")
HEAVY = ("torch", "torchvision", "networkx", "numpy", "sympy", "matplotlib", "graphviz")

PROBE = f"""
import sys
code = 0
if sys.argv[1:]:
    from resdsl.cli.main import main
    code = main(sys.argv[1:])
else:
    import resdsl
heavy = {set(HEAVY)!r} | (set() if "summary" in sys.argv else {{"rich"}})  # the summary is a table
loaded = sorted({{name.partition(".")[0] for name in sys.modules}} & heavy)
sys.exit(f"exit code {{code}}, loaded {{loaded}}" if code or loaded else 0)
"""


def run_probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("check", SPEC),
        ("fmt", "--check", SPEC),
        ("summary", SPEC),
        ("summary", "--layers", "--json", SPEC),
        ("explain", "R0301"),
        ("--help",),
    ],
    ids=lambda arguments: " ".join(arguments).replace(SPEC, "SPEC") or "import resdsl",
)
def test_loads_no_heavy_library(arguments: tuple[str, ...]) -> None:
    done = run_probe(*arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["--help", "--version"])
def test_help_imports_no_command(command: str) -> None:
    code = (
        "import sys; from resdsl.cli.main import COMMANDS, main; main(sys.argv[1:]); "
        "sys.exit(any(f'resdsl.cli.{name}' in sys.modules for name in COMMANDS))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
