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


def test_only_what_was_written_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("n.res").write_text("network n { input 3 x 8 x 8; conv(3x3, 4) }\n", encoding="utf-8")
    Path("build/n").mkdir(parents=True)
    Path("build/n/n.png").write_bytes(b"of an earlier build")
    assert main(["compile", "n.res"]) == 0
    listed = [line.strip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert listed == ["build/n/model.py", "build/n/summary.json"]
    assert Path("build/n/n.png").exists()
