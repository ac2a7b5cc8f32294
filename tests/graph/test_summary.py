"""`summary --json` has exactly the fields that tools rely on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resdsl.cli.main import main
from resdsl.compiler import compile_network
from resdsl.source import SourceFile

SPECS = Path(__file__).parents[2] / "specs"
FREE = """network n {
  input 3 x H x W
  stem { conv(7x7, 8, stride = 2) -> bn -> relu -> max_pool(3x3, stride = 2) }
  stage s { conv(3x3, 8, stride = 8) }
  head { global_avg_pool -> linear(5) }
}
"""


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["summary", *arguments, "--json"]) == 0
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    return summary


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    spec = str(SPECS / "resnet34.res")
    summary = shown(capsys, spec, "--layers")
    assert list(summary) == [
        "network", "spec", "hash", "input", "output", "depth", "parameters", "buffers", "macs", "activations", "stride",
        "minimum_input", "receptive_field", "stages", "published", "layers",
    ]  # fmt: skip
    expected = {
        "network": "resnet34", "spec": spec, "input": [3, 224, 224], "output": [1000], "depth": 34,
        "parameters": 21_797_672, "buffers": 17_024, "macs": 3_663_761_408, "activations": 3_738_112 + 1000,
        "stride": 32, "minimum_input": [3, 1, 1], "receptive_field": 899,
    }  # fmt: skip
    assert summary | expected == summary
    assert len(summary["hash"]) == 64
    assert [list(stage) for stage in summary["stages"]] == [["name", "output", "blocks", "parameters", "macs"]] * 6
    assert [stage["name"] for stage in summary["stages"]] == ["stem", "conv2", "conv3", "conv4", "conv5", "head"]
    assert summary["stages"][1] == {
        "name": "conv2", "output": [64, 56, 56], "blocks": 3, "parameters": 221_952, "macs": 693_633_024
    }  # fmt: skip
    for layer in summary["layers"]:
        assert list(layer) == ["name", "op", "inputs", "output", "parameters", "macs", "line", "column"]
    assert summary["layers"][0] == {
        "name": "stem.conv1", "op": "conv", "inputs": ["input"], "output": [64, 112, 112], "parameters": 9_408,
        "macs": 118_013_952, "line": 14, "column": 5,
    }  # fmt: skip


def test_without_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert "layers" not in shown(capsys, str(SPECS / "resnet34.res"))


def test_free_sizes_are_expressions() -> None:
    net = compile_network(SourceFile("n.res", FREE))
    summary = net.summary(layers=True)
    assert summary["input"] == [3, "H", "W"]
    assert [stage["output"] for stage in summary["stages"]] == [
        [8, "(H+3)//4", "(W+3)//4"], [8, "(H+31)//32", "(W+31)//32"], [5]
    ]  # fmt: skip
    assert summary["macs"] == str(net.macs)
    values = {"H": 70, "W": 33}
    assert eval(summary["macs"], {"__builtins__": {}}, values) == net.macs.at(**values)
    assert summary["minimum_input"] == [3, 1, 1]
    assert json.loads(json.dumps(summary)) == summary


def test_a_field_that_is_the_whole_map_is_still_json() -> None:
    """Behind squeeze-and-excitation every value sees everything; JSON has no word for infinity."""
    text = FREE.replace("stage s {", "stage s { multiply { branch { relu } branch { global_avg_pool -> linear(8) } }\n")
    summary = compile_network(SourceFile("n.res", text)).summary()
    assert "Infinity" not in json.dumps(summary)


def test_vectors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = tmp_path / "mlp.res"
    spec.write_text("network mlp {\n  input 784\n  linear(100) -> relu -> linear(10)\n}\n")
    summary = shown(capsys, str(spec))
    assert (summary["input"], summary["minimum_input"], summary["output"]) == ([784], [784], [10])
    assert (summary["parameters"], summary["macs"], summary["depth"]) == (79_510, 79_400, 2)
