"""A checked network as users hold it: its numbers, and the way to each target, made on demand."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from resdsl.source import SourceFile

if TYPE_CHECKING:
    import networkx as nx
    from torch import fx

    from resdsl.ir.lower import FlatGraph
    from resdsl.ops import Shape
    from resdsl.recipe import Recipe
    from resdsl.semantics.model import Network


class Net:
    """A checked network, and the way to everything that can be made of it."""

    def __init__(self, network: Network, source: SourceFile, recipe: Recipe | None) -> None:
        self.network = network
        self.recipe = recipe
        self._source = source

    def __repr__(self) -> str:
        return f"<resdsl.Net {self.name}: depth {self.depth}, {self.parameters:,} parameters>"

    @property
    def name(self) -> str:
        """The network's name."""
        return self.network.name

    @property
    def source_text(self) -> str:
        """The text of the spec."""
        return self._source.text

    @property
    def input_shape(self) -> Shape:
        """(C, H, W) or (F,); a free size is an expression that prints as its symbol."""
        return self.network.input_shape

    @property
    def output_shape(self) -> Shape:
        """Shape of the output, without the batch."""
        return self.network.shape

    @property
    def auxiliary_weights(self) -> tuple[float, ...]:
        """Loss weights of the auxiliary heads, in order."""
        return tuple(head.weight for head in self.network.auxiliaries)

    @property
    def parameters(self) -> int:
        """Number of trainable parameters, auxiliary heads aside."""
        return self.network.totals.parameters

    @property
    def macs(self) -> Any:
        """Multiply-adds of convolutions and linear layers for one image; an expression where a size is free."""
        return self.network.totals.macs

    @property
    def depth(self) -> int:
        """Weighted layers on the trunk, as in the papers' names."""
        return self.network.geometry.depth

    @cached_property
    def flat(self) -> FlatGraph:
        """All ops in order."""
        from resdsl.ir.lower import lower_network

        return lower_network(self.network)

    @cached_property
    def graph(self) -> nx.DiGraph[str]:
        """The op graph, verified; see resdsl.ir.graph.build_digraph for its attributes."""
        from resdsl.ir.graph import build_digraph, verify_graph

        verify_graph(self.flat)
        return build_digraph(self.flat)

    @cached_property
    def hash(self) -> str:
        """A hash of the meaning, not of the text."""
        from resdsl.ir.summary import meaning_hash

        return meaning_hash(self.flat)

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Name, output, blocks, parameters and multiply-adds of the stem, each stage and the head."""
        stages: list[dict[str, Any]] = self.summary()["stages"]
        return stages

    def summary(self, *, layers: bool = False) -> dict[str, Any]:
        """The content of `resdsl summary --json`."""
        from resdsl.ir.summary import summarize

        return summarize(self.flat, layers=layers)

    def to_torch(
        self,
        *,
        init: str = "he",
        bn_eps: float | None = None,
        bn_momentum: float | None = None,
        taps: Iterable[str] = (),
        auxiliary: bool = False,
    ) -> fx.GraphModule:
        """A trainable module; see resdsl.emit.torch_module.build_module."""
        from resdsl.emit.torch_module import build_module

        return build_module(
            self.flat, init=init, bn_eps=bn_eps, bn_momentum=bn_momentum, taps=taps, auxiliary=auxiliary
        )

    def to_source(self) -> str:
        """The network as Python source that needs only torch."""
        from resdsl.emit.torch_source import emit_source

        return emit_source(self.flat)

    def to_dot(self, level: str = "block") -> str:
        """The network's picture in Graphviz' language, at level `stage`, `block` or `layer`."""
        from resdsl.emit.dot import emit_dot

        return emit_dot([self.flat], level)
