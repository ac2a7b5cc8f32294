"""A build that fails half-way leaves an earlier one as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from resdsl.cli.main import main

SPEC = "network n(filters_there = 4) {\n  input 3 x 8 x 8\n  conv(3x3, filters_there) -> relu\n}\n"


def test_a_failure_in_the_last_file_leaves_the_first_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, out = tmp_path / "n.res", tmp_path / "out"
    spec.write_text(SPEC)
    assert main(["compile", str(spec), "--out", str(out)]) == 0
    before = (out / "model.py").read_text()
    (out / "summary.json").unlink()
    (out / "summary.json").mkdir()
    assert main(["compile", str(spec), "--set", "filters_there=5", "--out", str(out)]) == 1
    assert "Not a regular file" in capsys.readouterr().err
    assert (out / "model.py").read_text() == before
    assert sorted(path.name for path in out.iterdir()) == ["model.py", "summary.json"]
