"""Every spec that comes with resdsl is sound. That each is the net of its paper is the matter of tests/zoo."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import resdsl
from resdsl.cli.main import main

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"
FILES = sorted(SPECS.rglob("*.res"))
MOST_PROVED = 200  # layers: nets of a thousand take seconds each, and repeat the blocks of the others


def name_of(path: Path) -> str:
    return path.relative_to(SPECS).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_it_checks(path: Path) -> None:
    """Without a diagnostic: with it all that the spec claims of itself holds."""
    assert resdsl.check_file(str(path)).diagnostics == ()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_it_is_laid_out(path: Path) -> None:
    assert main(["fmt", "--check", str(path)]) == 0


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_its_networks_are_proved(path: Path) -> None:
    from resdsl.emit.torch_proof import prove_on_meta
    from resdsl.ir.graph import verify_graph
    from resdsl.ir.lower import lower_network

    for network in resdsl.check_file(str(path)).networks:
        graph = lower_network(network)
        verify_graph(graph)
        if network.geometry.depth <= MOST_PROVED:
            prove_on_meta(graph)


@pytest.mark.parametrize("path", [path for path in FILES if "\ntrain" in path.read_text()], ids=name_of)
def test_its_recipe_is_found(path: Path) -> None:
    assert resdsl.load(path).recipe is not None


def test_filters_have_no_value_where_a_network_is_called() -> None:
    """In a block they have."""
    from resdsl.compiler import compile_network, open_source

    family = open_source(str(SPECS / "families" / "resnet.res"))
    with pytest.raises(resdsl.CompileError, match="R0215"):
        compile_network(family, arguments="block = bottleneck(widen = filters)")


@pytest.mark.parametrize(
    ("side", "receptive_field", "sizes"), [(224, 899, [56, 28, 14, 7]), (225, 899, [57, 29, 15, 8])]
)
def test_table_1_of_the_paper(side: int, receptive_field: int, sizes: list[int]) -> None:
    from resdsl.compiler import compile_network
    from resdsl.source import SourceFile

    text = f'use "families/resnet.res"\nnetwork n = resnet(blocks = [3, 4, 6, 3]) {{ input 3 x {side} x {side} }}\n'
    net = compile_network(SourceFile("n.res", text), roots=[str(SPECS)])
    assert [stage["output"][1] for stage in net.stages[1:5]] == sizes
    assert [stage["blocks"] for stage in net.stages] == [0, 3, 4, 6, 3, 0]
    summary = net.summary()
    assert (summary["stride"], summary["receptive_field"]) == (32, receptive_field)
    assert summary["minimum_input"] == [3, 1, 1]
    with torch.device("meta"):
        assert net.to_torch()(torch.empty(2, 3, side, side)).shape == (2, 1000)
