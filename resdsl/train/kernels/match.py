"""Finds the blocks of a traced network that the fused kernels compute, and gives a module that lets them."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from resdsl.train.kernels.chain import fused_chain
from resdsl.train.kernels.tuning import TILINGS

LONGEST = 64  # convolutions in a chain: all their gradients are held until the weights' are computed
_ADDITIONS = (operator.add, operator.iadd, torch.add)
_HOLDER = "fused"


@dataclass(slots=True)
class Chain:
    """Convolutions in a row with their norms, from the node `begin`, which it reads, to `end`, a relu."""

    begin: fx.Node
    end: fx.Node
    shortcuts: bool
    convs: list[nn.Conv2d] = field(default_factory=list)
    norms: list[nn.BatchNorm2d] = field(default_factory=list)
    nodes: set[fx.Node] = field(default_factory=set)


class FusedChain(nn.Module):
    """Computes a chain with the fused kernels where these apply: in training, on a GPU, under autocast to bfloat16.

    Elsewhere its layers are computed one by one. They belong to the network, not to this module.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self._layers = tuple(zip(chain.convs, chain.norms, strict=True))
        self._shortcuts = chain.shortcuts

    def extra_repr(self) -> str:
        """How many convolutions of how many filters."""
        filters = self._layers[0][0].out_channels
        return f"{len(self._layers)} convolutions of {filters} filters, shortcuts={self._shortcuts}"

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        if not self._applies(x):
            return self._plainly(x)
        convs, norms = zip(*self._layers, strict=True)
        return fused_chain(x.to(torch.bfloat16), convs, norms, shortcuts=self._shortcuts)

    def _applies(self, x: Tensor) -> bool:
        kind = x.device.type
        is_half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
        norms = (norm for _, norm in self._layers)
        fits = x.dim() == 4 and x.numel() // x.shape[1] > 1 and x.numel() < 2**31
        return is_half and fits and runs_on(x.device) and all(norm.training and norm.momentum for norm in norms)

    def _plainly(self, x: Tensor) -> Tensor:
        block = x
        for number, (conv, norm) in enumerate(self._layers):
            x = norm(conv(x))
            ends_block = self._shortcuts and number % 2 == 1
            x = functional.relu(x + block if ends_block else x)
            if ends_block:
                block = x
        return x


def runs_on(device: torch.device) -> bool:
    """Whether Triton compiles for the device, or interprets its programs."""
    if find_spec("triton") is None:
        return False
    import triton

    return device.type == "cuda" or bool(triton.knobs.runtime.interpret)


def fuse(module: fx.GraphModule) -> fx.GraphModule:
    """A module that computes what `module` does, its blocks fused where that can be; without any, `module` itself.

    The layers are shared and keep their paths, so that either one's state dict serves both. A copy of the result would
    compute with layers of its own: copy `module` and fuse that.
    """
    chains = find_chains(module)
    if not chains:
        return module
    fused = fx.GraphModule(nn.Module(), fx.Graph(), class_name=type(module).__name__)
    for path, layer in module.named_modules(remove_duplicate=False):
        if path and next(layer.children(), None) is None:
            fused.add_submodule(path, layer)
    holder = _HOLDER
    while hasattr(fused, holder):
        holder += "_"
    for number, chain in enumerate(chains):
        fused.add_submodule(f"{holder}.{number}", FusedChain(chain))
    fused.graph = _flow(module, chains, holder)
    fused.meta.update(module.meta)
    return fused


def _flow(module: fx.GraphModule, chains: list[Chain], holder: str) -> fx.Graph:
    flow = fx.Graph()
    inside = {node for chain in chains for node in chain.nodes}
    ends = {chain.end: number for number, chain in enumerate(chains)}
    values: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if node in ends:
            number = ends[node]
            values[node] = flow.call_module(f"{holder}.{number}", (values[chains[number].begin],))
            values[node].meta = dict(node.meta)
        elif node not in inside:
            values[node] = flow.node_copy(node, values.__getitem__)
    return flow


def find_chains(module: fx.GraphModule) -> list[Chain]:
    """The chains of a network, in order, none of which share a node."""
    finder = _Finder(module)
    taken: set[fx.Node] = set()
    chains = []
    for node in module.graph.nodes:
        if node in taken:
            continue
        chain = finder.block(node) or finder.unit(node)
        if chain is None:
            continue
        while len(chain.convs) < LONGEST and finder.extend(chain):
            pass
        if len(chain.convs) > 1:
            chains.append(chain)
            taken |= chain.nodes
    return chains


class _Finder:
    """Knows a network's layers; each layer of a chain must be called once."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._layers = dict(module.named_modules())
        self._calls = Counter(node.target for node in module.graph.nodes if node.op == "call_module")

    def block(self, first: fx.Node) -> Chain | None:
        """The block with an identity shortcut whose first convolution this is."""
        one = self.unit(first)
        two = None if one is None else self._normalised(_only_user(one.end))
        if one is None or two is None or not _are_alike(one.convs[0], two[0]):
            return None
        conv, norm, nodes = two
        total = _only_user(nodes[-1])
        if total is None or total.target not in _ADDITIONS or total.kwargs:
            return None
        end = self._relu(_only_user(total))
        if end is None or set(total.args) != {nodes[-1], one.begin} or len(total.args) != 2:
            return None
        members = {*one.nodes, *nodes, total, end}
        return Chain(one.begin, end, True, [*one.convs, conv], [*one.norms, norm], members)

    def unit(self, first: fx.Node) -> Chain | None:
        """The convolution with its norm and relu."""
        found = self._normalised(first)
        if found is None:
            return None
        conv, norm, nodes = found
        end = self._relu(_only_user(nodes[-1]))
        begin = first.args[0]
        if end is None or not isinstance(begin, fx.Node):
            return None
        return Chain(begin, end, False, [conv], [norm], {*nodes, end})

    def extend(self, chain: Chain) -> bool:
        """Put what follows on the chain, if that is of its kind and nothing else reads the chain's end."""
        for user in chain.end.users:
            found = self.block(user) if chain.shortcuts else self.unit(user)
            if found is None or found.begin is not chain.end or not set(chain.end.users) <= found.nodes:
                continue
            if _are_alike(chain.convs[0], found.convs[0]):
                chain.end = found.end
                chain.convs += found.convs
                chain.norms += found.norms
                chain.nodes |= found.nodes
                return True
        return False

    def _normalised(self, node: fx.Node | None) -> tuple[nn.Conv2d, nn.BatchNorm2d, list[fx.Node]] | None:
        conv = self._layer(node)
        behind = _only_user(node)
        norm = self._layer(behind)
        if type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d or not (_fits(conv) and _keeps(norm)):
            return None
        assert node is not None
        assert behind is not None
        return conv, norm, [node, behind]

    def _relu(self, node: fx.Node | None) -> fx.Node | None:
        return node if type(self._layer(node)) is nn.ReLU else None

    def _layer(self, node: fx.Node | None) -> nn.Module | None:
        if node is None or node.op != "call_module" or self._calls[node.target] > 1:
            return None
        layer: nn.Module = self._layers[str(node.target)]
        return layer


def _only_user(node: fx.Node | None) -> fx.Node | None:
    return next(iter(node.users)) if node is not None and len(node.users) == 1 else None


def _fits(conv: nn.Conv2d) -> bool:
    form = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    is_same = conv.in_channels == conv.out_channels
    return (
        form == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")
        and conv.bias is None
        and is_same
        and (conv.out_channels in TILINGS)
    )


def _keeps(norm: nn.BatchNorm2d) -> bool:
    return norm.affine and norm.track_running_stats and norm.running_mean is not None


def _are_alike(one: nn.Conv2d, other: nn.Conv2d) -> bool:
    return one.out_channels == other.out_channels
