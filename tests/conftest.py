"""What all tests share: golden files, the program dot, and one thread for each pytest worker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Must precede the first import of torch; workers that each start a thread per core slow one another down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="accept what the code now writes as the golden files")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Path], None]:
    """`golden(text, path)`: the text equals the golden file, or becomes it under --update-golden.

    A relative path counts from the test file's folder.
    """
    is_update = request.config.getoption("--update-golden")

    def check(text: str, path: Path) -> None:
        file = request.path.parent / path
        if is_update:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        elif not file.exists():
            pytest.fail(f"no golden file {file}; look at the text and accept it with --update-golden:\n{text}")
        else:
            assert text == file.read_bytes().decode(), f"differs from {file}; accept it with --update-golden"

    return check


@pytest.fixture(scope="session")
def dot() -> str:
    """The path of Graphviz' program; tests that ask for it are skipped where it is missing."""
    program = shutil.which("dot")
    if program is None:
        pytest.skip("the program dot is not installed")
    return program
