"""The op graph: documented attributes, verification that finds planted faults, a dump that is always the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest

import resdsl
from resdsl.compiler import compile_network
from resdsl.diagnostics import InternalError
from resdsl.ir.graph import verify_graph
from resdsl.ir.lower import FlatGraph, OpNode, dump
from resdsl.net import Net
from resdsl.source import SourceFile

SPECS = Path(__file__).parents[2] / "specs"
TEXT = """network n(option = A) {
  input 3 x 16 x 16
  rules { same map -> same filters; halve map -> double filters; shortcut -> option }
  stem { conv(3x3, 8) -> bn -> relu }
  stage conv2            { 2 x basic }
  auxiliary side(weight = 0.3) { global_avg_pool -> linear(4) }
  stage conv3, halve map { 2 x basic }
  head { global_avg_pool -> linear(5) }
}
"""


def compiled(text: str = TEXT) -> Net:
    return compile_network(SourceFile("n.res", text))


def test_attributes() -> None:
    graph = compiled().graph
    assert isinstance(graph, nx.DiGraph)
    assert graph.graph == {"name": "n", "output": "head.linear1", "auxiliaries": {"side": "side.linear1"}}
    assert graph.nodes["input"]["op"] == "input"
    assert graph.nodes["input"]["shape"] == (3, 16, 16)
    conv = graph.nodes["conv3.0.conv1"]
    assert conv["op"] == "conv"
    assert (
        conv["args"] | {"kernel": (3, 3), "filters": 16, "stride": (2, 2), "groups": 1, "bias": False} == conv["args"]
    )
    assert conv["inputs"] == ("conv2.1.relu2",)
    assert (conv["shape"], conv["parameters"]) == ((16, 8, 8), 3 * 3 * 8 * 16)
    assert (conv["part"], conv["block"], conv["role"]) == ("conv3", "conv3.0", "trunk")
    assert conv["place"].endswith("residual.res:6:5")
    assert graph.nodes["stem.conv1"]["place"] == "n.res:4:10"
    assert graph.nodes["conv3.0.shortcut.subsample1"]["role"] == "shortcut"
    assert graph.nodes["side.linear1"]["role"] == "auxiliary"
    join = graph.nodes["conv3.0.add1"]["inputs"]
    assert [graph.edges[name, "conv3.0.add1"]["position"] for name in join] == [0, 1]
    assert sum(values["parameters"] for _, values in graph.nodes(data=True)) == compiled().parameters + 4 * 9
    assert next(iter(nx.topological_sort(graph))) == "input"


def test_every_node_has_every_attribute() -> None:
    keys = {"op", "args", "inputs", "shape", "part", "block", "role", "place", "parameters"}
    for name, values in compiled().graph.nodes(data=True):
        assert keys <= values.keys(), name


# --- verification --------------------------------------------------------------------------------------------------

Fault = Callable[[list[OpNode]], list[OpNode]]


def changed(name: str, **changes: object) -> Fault:
    return lambda nodes: [node.replaced(**changes) if node.name == name else node for node in nodes]


FAULTS: dict[str, tuple[Fault, str]] = {
    "a wrong shape": (changed("stem.bn1", shape=(8, 15, 16)), "stem.bn1: shape"),
    "an input that does not suit": (changed("head.linear1", inputs=("conv3.1.relu2",)), "head.linear1"),
    "an unknown input": (changed("stem.bn1", inputs=("nowhere",)), "an input is unknown"),
    "too many inputs": (changed("stem.relu1", inputs=("stem.bn1", "stem.conv1")), "stem.relu1: relu has 2 inputs"),
    "a join of one": (changed("conv2.0.add1", inputs=("conv2.0.bn2",)), "conv2.0.add1: add has 1 inputs"),
    "no input": (changed("stem.relu1", inputs=()), "stem.relu1: relu has 0 inputs"),
    "a name twice": (lambda nodes: [*nodes, nodes[3]], "names are not unique"),
    "a cycle": (changed("stem.bn1", inputs=("stem.relu1",)), "cycle"),
    "a result used nowhere": (
        lambda nodes: [*nodes, nodes[0].replaced(name="lost")],
        "lost: its result is used nowhere",
    ),
    "a wrong order": (lambda nodes: [nodes[1], nodes[0], *nodes[2:]], "stem.bn1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_verification_finds(fault: str) -> None:
    flat = compiled().flat
    verify_graph(flat)
    plant, words = FAULTS[fault]
    broken = FlatGraph(flat.network, flat.input_shape, tuple(plant(list(flat.nodes))), flat.output, flat.auxiliaries)
    with pytest.raises(InternalError, match=words):
        verify_graph(broken)


# --- dump ----------------------------------------------------------------------------------------------------------


def test_dump_reads() -> None:
    lines = dump(compiled().flat).splitlines()
    assert lines[0] == "input 3x16x16"
    assert lines[1].startswith("stem.conv1 = conv(kernel=3x3, filters=8, stride=1x1, padding=1x1, ")
    assert lines[1].endswith(" of input : 8x16x16")
    assert lines[-2:] == ["auxiliary side (weight=0.3) = side.linear1", "output head.linear1"]


def test_dump_is_the_same_in_every_process() -> None:
    code = (
        "import sys, resdsl\nfrom resdsl.ir.lower import dump\n"
        "for path in sys.argv[1:]:\n    net = resdsl.load(path)\n    print(dump(net.flat), net.hash)"
    )
    paths = [str(SPECS / name) for name in ("resnet34.res", "highway.res", "resnet20_digits.res")]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, *paths],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True,
        ).stdout
        for seed in ("0", "1", "77")
    }  # fmt: skip
    assert len(outputs) == 1
    assert resdsl.load(paths[0]).hash in outputs.pop()
