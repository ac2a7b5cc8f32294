"""Graph to Python source: the network as a person would write it, needing nothing but torch."""

from __future__ import annotations

import inspect
import os

from resdsl.emit import torch_layers
from resdsl.emit.inplace import overwriting_nodes
from resdsl.emit.source_classes import Classes, SourceClass
from resdsl.emit.source_forward import access_paths
from resdsl.emit.source_items import resolved
from resdsl.emit.source_layout import STEP
from resdsl.emit.source_writer import ClassWriter
from resdsl.ir.lower import FlatGraph
from resdsl.ir.summary import meaning_hash
from resdsl.ops import Shape
from resdsl.ops.core import shape_text
from resdsl.semantics.model import Network
from resdsl.sizes import Size

_SAMPLE_SIZE = 224
_OWN_LAYERS = ("StochasticDepth", "scale_channels", "dilated_max_pool", "dilated_avg_pool")
_SCOPE = '''class Scope(nn.Module):
    """Submodules under names of their own."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
'''


_ZERO_BIAS = ["if module.bias is not None:", f"{STEP}nn.init.zeros_(module.bias)"]
_TRANSPOSED = [
    "fan_in = module.weight[:, 0].numel() // module.groups",
    "nn.init.normal_(module.weight, 0.0, (2.0 / fan_in) ** 0.5)",
    *_ZERO_BIAS,
]


def emit_source(graph: FlatGraph) -> str:
    """A Python file with the network as classes of torch; its state dict has the module's keys in the module's order.

    For the same weights its outputs equal the module's to the last bit, in training too. With `auxiliary=True` the
    network has its auxiliary heads and gives a tuple, as the module does.
    """
    overwriting = overwriting_nodes(graph)
    classes = Classes(graph, overwriting)
    network = classes.network(graph, overwriting)
    sources = [*classes.found, network]
    used = {item.call.target for source in sources for item in source.steps.items if item.call is not None}
    initialise = _initialise_text(sources, used)
    helpers = {"initialise"} if initialise else set()
    texts = [_block_text(classes, source, helpers) for source in classes.found]
    texts.append(_network_text(classes, network, graph, helpers))
    copies = [_SCOPE] if "Scope" in helpers else []
    copies += [inspect.getsource(getattr(torch_layers, name)) for name in _OWN_LAYERS if name in used]
    texts = [*copies, *texts, initialise, _main_text(network, graph.network)]
    body = "\n\n".join(text.rstrip("\n") + "\n" for text in texts if text)
    return _header(graph, body, "OrderedDict" in helpers) + "\n\n" + body


# --- the file around the classes -----------------------------------------------------------------------------------


def _header(graph: FlatGraph, body: str, has_ordered_dict: bool) -> str:
    network = graph.network
    sizes = f"{network.totals.parameters:,} parameters, {_amount(network.totals.macs)} multiply-adds"
    comments = [
        f"{network.name}, from {os.path.basename(network.source.name)}: {network.geometry.depth} layers with weights",
        f"{sizes} for an input of {shape_text(graph.input_shape)}",
        f"meaning {meaning_hash(graph)}",
        f"made by resdsl {_version()}",
    ]
    rows = [f"# {_printable(comment)}" for comment in comments]
    rows += ["", "from __future__ import annotations", ""]
    rows += ["from collections import OrderedDict", ""] if has_ordered_dict else []
    rows += ["import torch", "from torch import Tensor, nn"]
    rows += ["from torch.nn import functional as F"] if "F." in body else []
    return "\n".join(rows) + "\n"


def _amount(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _printable(text: str) -> str:
    """Text for one line of a comment or docstring: it cannot end either."""
    return "".join(sign if sign.isprintable() and sign not in '"\\' else "?" for sign in text)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("resdsl")
    except PackageNotFoundError:
        return "from its source folder"


def _main_text(network: SourceClass, resolved: Network) -> str:
    extents = []
    for extent in resolved.input_shape:
        least = resolved.least.get(extent.symbol, 1) if isinstance(extent, Size) else 1
        extents.append(str(extent if isinstance(extent, int) else max(least, _SAMPLE_SIZE)))
    return f"""if __name__ == "__main__":
    model = {network.name}().eval()
    print(f"{{sum(weight.numel() for weight in model.parameters()):,}} parameters")
    print(tuple(model(torch.zeros(1, {", ".join(extents)})).shape))
"""


# --- classes -------------------------------------------------------------------------------------------------------


def _block_text(classes: Classes, source: SourceClass, helpers: set[str]) -> str:
    writer = ClassWriter(classes, source, helpers)
    rows = [
        f"class {source.name}(nn.Module):",
        f'{STEP}"""{_printable(source.origin)}"""',
        "",
        *writer.signature_lines(STEP),
        f"{STEP * 2}super().__init__()",
        *writer.init_lines(STEP * 2),
        "",
        f"{STEP}def forward(self, x: Tensor) -> Tensor:",
        *writer.forward_lines(STEP * 2),
    ]
    return "\n".join(rows)


def _network_text(classes: Classes, source: SourceClass, graph: FlatGraph, helpers: set[str]) -> str:
    heads = graph.network.auxiliaries
    writer = ClassWriter(classes, source, helpers, _part_shapes(graph.network, source))
    rows = [
        f"class {source.name}(nn.Module):",
        f'{STEP}"""(N, {_comma(graph.input_shape)}) to (N, {_comma(graph.network.shape)})"""',
        "",
        f"{STEP}def __init__(self{', auxiliary: bool = False' if heads else ''}) -> None:",
        f"{STEP * 2}super().__init__()",
        *([f"{STEP * 2}self.auxiliary = auxiliary"] if heads else []),
        *writer.init_lines(STEP * 2),
        *([f"{STEP * 2}self.apply(initialise)"] if "initialise" in helpers else []),
        "",
        f"{STEP}def forward(self, x: Tensor) -> {'Tensor | tuple[Tensor, ...]' if heads else 'Tensor'}:",
        *writer.forward_lines(STEP * 2),
    ]
    return "\n".join(rows)


def _comma(shape: Shape) -> str:
    return ", ".join(map(str, shape))


def _part_shapes(network: Network, source: SourceClass) -> dict[int, str]:
    """The shape behind each part, by the item that gives it."""
    positions = source.steps.positions
    ends = {resolved(network.nodes, part.output): shape_text(part.shape) for part in network.parts}
    return {positions[end]: text for end, text in ends.items() if end in positions}


# --- first weights -------------------------------------------------------------------------------------------------


def _initialise_text(sources: list[SourceClass], used: set[str]) -> str:
    """He initialisation for all layers with weights, and what the spec states for some."""
    plain: list[str] = [target for target in ("nn.Conv2d", "nn.Linear") if target in used]
    rows = [
        "def initialise(module: nn.Module) -> None:",
        f'{STEP}"""Weights from N(0, 2 / fan_in) (He et al. 2015b, equation 10), biases 0 unless stated."""',
    ]
    branches: list[tuple[str, list[str]]] = []
    if plain:
        branches.append((_either(plain), ['nn.init.kaiming_normal_(module.weight, nonlinearity="relu")', *_ZERO_BIAS]))
    if "nn.ConvTranspose2d" in used:
        branches.append(("nn.ConvTranspose2d", _TRANSPOSED))
    by_rows: dict[tuple[str, ...], list[str]] = {}
    for source in sources:
        by_rows.setdefault(_stated_rows(source), []).append(source.name)
    branches += [(_either(names), list(stated)) for stated, names in by_rows.items() if stated]
    if not branches:
        return ""
    for number, (kinds, statements) in enumerate(branches):
        rows.append(f"{STEP}{'el' if number else ''}if isinstance(module, {kinds}):")
        rows.extend(STEP * 2 + statement for statement in statements)
    return "\n".join(rows)


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def _stated_rows(source: SourceClass) -> tuple[str, ...]:
    paths = access_paths(source.steps.root, "module")
    rows: dict[bool, list[str]] = {False: [], True: []}
    for item in source.steps.items:
        for weight, value in item.stated:
            rows[item.is_auxiliary].append(f"nn.init.constant_({paths[item.path]}.{weight}, {value!r})")
    auxiliary = ["if module.auxiliary:", *(STEP + row for row in rows[True])] if rows[True] else []
    return (*rows[False], *auxiliary)
