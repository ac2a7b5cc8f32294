"""Variants, and what calls hand on: arguments that go to the base, defaults that use what a call sets."""

from __future__ import annotations

from pathlib import Path

import resdsl
from resdsl.compiler import check_source
from resdsl.source import SourceFile

ROOT = Path(__file__).parents[2]


def test_arguments_that_a_variant_does_not_know_go_to_its_base() -> None:
    spec = ROOT / "specs" / "resnet50.res"
    fewer = resdsl.load(spec, "resnet50", classes=10)
    assert fewer.output_shape == (10,)
    assert fewer.parameters == 25_557_032 - 990 * 2049
    with_option_c = resdsl.load(ROOT / "specs" / "resnet110_cifar.res", option="C")
    assert with_option_c.parameters == 1_826_202


def test_an_argument_replaces_what_the_variant_states() -> None:
    assert resdsl.load(ROOT / "specs" / "resnet110_cifar.res", n=3).parameters == 269_722


def test_a_default_sees_the_filters_of_the_call() -> None:
    text = """
block wide(w = filters * 2) { conv(1x1, w) }
network n { input 3 x 8 x 8; wide(filters = 4); bottleneck(filters = 4, shortcut = B) }
"""
    result = check_source(SourceFile("defaults.res", text))
    assert not result.diagnostics
    (network,) = result.networks
    assert [node.shape for node in network.nodes] == [(8, 8, 8), (16, 8, 8)]


def test_rows_of_the_summary_add_up(tmp_path: Path) -> None:
    (tmp_path / "n.res").write_text(
        """
network n {
  input 3 x 16 x 16
  conv(3x3, 8) -> bn
  stage a, filters 8 { 2 x basic }
  conv(1x1, 4)
  auxiliary side { global_avg_pool -> linear(3) }
  stage b, filters 8 { basic(shortcut = B) }
  auxiliary last { global_avg_pool -> linear(3) }
}
""",
        encoding="utf-8",
    )
    summary = resdsl.load(tmp_path / "n.res").summary()
    assert sum(stage["parameters"] for stage in summary["stages"]) == summary["parameters"]
    assert sum(stage["macs"] for stage in summary["stages"]) == summary["macs"]
    assert [stage["name"] for stage in summary["stages"]] == ["layers", "a", "layers", "b"]
