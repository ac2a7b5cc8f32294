"""Who has a bias when nobody says so: every convolution that something else than one normalisation reads."""

from __future__ import annotations

import pytest

from resdsl.compiler import check_source
from resdsl.ops import Op
from resdsl.source import SourceFile


def biases(body: str) -> dict[str, bool]:
    """The bias of each convolution of a network."""
    result = check_source(SourceFile("bias.res", f"network n {{ input 4 x 8 x 8\n{body}\n}}"))
    assert not result.diagnostics
    (network,) = result.networks
    ops = {node.name: node.content for node in network.nodes if isinstance(node.content, Op)}
    return {name: op.args["bias"] for name, op in ops.items() if op.name == "conv"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("conv(3x3, 4) -> bn", False),
        ("conv(3x3, 4) as first -> group_norm(2) -> relu", False),
        ("conv(3x3, 4)\nif channels == 4 { bn }", False),
        ("conv(3x3, 4) -> relu -> bn", True),
        ("conv(3x3, 4)", True),
        ("conv(3x3, 4) -> concat { branch { bn } branch { relu } }", True),
        ("conv(3x3, 4)\nresidual { bn -> relu }", True),
        ("conv(3x3, 4) as early -> bn -> add(early)", True),
        ("conv(3x3, 4, bias = true) -> bn", True),
        ("conv(3x3, 4, bias = false) -> relu", False),
    ],
)
def test_bias_of_the_only_convolution(body: str, expected: bool) -> None:
    assert list(biases(body).values()) == [expected]
