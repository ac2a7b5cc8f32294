"""A checked network as users hold it: its numbers, and the way to each target, made on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from resdsl.semantics.retarget import Changes
from resdsl.source import SourceFile

if TYPE_CHECKING:
    import networkx as nx

    from resdsl.emit.torch_module import NetModule
    from resdsl.ir.lower import FlatGraph
    from resdsl.ops import Shape
    from resdsl.recipe import Recipe
    from resdsl.semantics.model import Network


class Origin(NamedTuple):
    """What a network was compiled from, as text: enough to compile it again elsewhere, with compiler.compile_origin.

    Attributes:
        name, main, text: how the main file is shown, its name in its folder (None for a text of no file), its text.
        network, arguments, changes: as for compiler.compile_network; a change is (what, its place's name, text).
        files: (path, text) of every used file that does not come with resdsl; the path's first part counts the folders
            that `use` reads from, the main file's own first.
    """

    name: str
    main: str | None
    text: str
    network: str
    arguments: tuple[str, ...]
    changes: tuple[tuple[str, str, str], ...]
    files: tuple[tuple[str, str], ...]


class Net:
    """A checked network, and the way to everything that can be made of it."""

    def __init__(
        self,
        network: Network,
        source: SourceFile,
        recipe: Recipe | None,
        again: Callable[[Changes, dict[str, Any]], Net],
        origin: Origin,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self._source = source
        self._again = again
        self.origin = origin  # what it was compiled from

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

    def retarget(
        self,
        *,
        input: str | Sequence[int | str] | None = None,  # noqa: A002 - the language's own word
        stem: str | None = None,
        head: str | None = None,
        output_stride: int | None = None,
        **parameters: Any,
    ) -> Net:
        """The network for another task: the variant of it that has these parts and parameters, checked anew.

        Args:
            input: `(1, 32, 32)` or text as in the language, `"1 x 32 x 32"`, `"3 x H x W"`.
            stem: steps as in the language, such as `"cifar_stem"`.
            head: steps as in the language, or `"none"`, `"avg"`, `"max"`.
            output_stride: from this stride on strides become dilations.
            parameters: values for the network's parameters, as for resdsl.load.

        Raises:
            CompileError: with `.diagnostics`; places in a text given here are in a file named after its argument.
            TypeError: an argument of another type.
        """
        if output_stride is not None and (isinstance(output_stride, bool) or not isinstance(output_stride, int)):
            raise TypeError(f"output_stride is a whole number, not {output_stride!r}")
        if isinstance(input, tuple | list):
            input = " x ".join(map(str, input))  # noqa: A001
        stride = None if output_stride is None else str(output_stride)
        given: dict[str, object] = {"input": input, "stem": stem, "head": head, "output_stride": stride}
        texts = []
        for what, text in given.items():
            if isinstance(text, str):
                texts.append((what, f"{what}=", text))
            elif text is not None:
                wanted = "a text or sizes such as (3, 32, 32)" if what == "input" else "a text"
                raise TypeError(f"{what} is {wanted}, not {text!r}")
        return self._again(Changes(texts), parameters)

    def to_torch(
        self,
        *,
        init: str = "he",
        bn_eps: float | None = None,
        bn_momentum: float | None = None,
        taps: Iterable[str] | Mapping[str, str] = (),
        start: str | None = None,
        auxiliary: bool = False,
    ) -> NetModule:
        """A trainable module; see resdsl.emit.torch_module.build_module."""
        from resdsl.emit.torch_module import build_module

        return build_module(
            self.flat,
            init=init,
            bn_eps=bn_eps,
            bn_momentum=bn_momentum,
            taps=taps,
            start=start,
            auxiliary=auxiliary,
        )

    def to_source(self) -> str:
        """The network as Python source that needs only torch."""
        from resdsl.emit.torch_source import emit_source

        return emit_source(self.flat)

    def to_dot(self, level: str = "block") -> str:
        """The network's picture in Graphviz' language, at level `stage`, `block` or `layer`."""
        from resdsl.emit.dot import emit_dot

        return emit_dot([self.flat], level)
