"""Random specs that mean something: hypothesis strategies for text that the compiler should accept.

Channels are followed while the text is drawn, so that groups divide and sums fit. Map sizes are not: that is what the
tests are about, so a few specs are refused for sides that do not fit or windows that are too large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

# What a spec drawn here may be refused for: its sizes, or a gate where the shortcut is `none`; never for names,
# arguments or layout.
SIZE_CODES = frozenset({"R0301", "R0302", "R0303", "R0304", "R0305", "R0309", "R0311", "R0402", "R0316"})

OWN_BLOCKS = """
block widened(width = filters, kernel = 3x3, drop = 0) {
  residual {
    conv(kernel, width, stride = stride) -> bn -> relu
    if drop > 0 { dropout(drop) }
    conv(3x3, filters) -> bn
  }
  relu
}

block squeezed(rate = 4) {
  residual {
    conv(3x3, filters, stride = stride) -> bn -> relu
    multiply {
      branch { conv(1x1, filters) }
      branch { global_avg_pool -> linear(max(1, filters // rate)) -> relu -> linear(filters) -> sigmoid }
    }
  }
}

block mixed(share = 1) {
  concat {
    branch narrow { conv(1x1, share, stride = stride) -> bn -> relu }
    branch { max_pool(3x3, stride = stride) -> conv(1x1, filters - share) }
  }
  if stride == 1 { bn -> relu } else { group_norm(1) -> elu }
}

block twice { basic(shortcut = B) -> basic(stride = 1) }

shortcut pooled {
  same shape    -> identity
  shape changes -> avg_pool(stride, stride = stride, padding = 0, ceil = true) -> conv(1x1, filters) -> bn
}
"""
BLOCKS = (
    "basic", "bottleneck", "bottleneck(expansion = 2, stride_on_3x3 = true, groups = 2)", "plain", "preact_basic",
    "preact_bottleneck(expansion = 3)", "highway", "highway(kernel = 1x1, bias = -1.5)", "widened", "twice",
    "widened(width = 2 * filters, kernel = 5x1, drop = 0.1)", "squeezed", "squeezed(rate = 2)", "mixed",
    "mixed(share = 3)",
)  # fmt: skip
OPTIONS = ("A", "A(at = both)", "B", "C", "none", "pooled", "projection")
ACTIVATIONS = (
    "relu", "relu6", "leaky_relu(slope = 0.2)", "leaky_relu(slope = -0.1)", "prelu", "elu", "elu(alpha = -1)", "selu",
    "silu", "gelu", "mish", "hard_swish", "hard_sigmoid", "softplus", "sigmoid", "tanh", "softmax", "scale(0.5)",
    "complement", "nn.Hardtanh",
)  # fmt: skip


@dataclass(frozen=True)
class RandomSpec:
    """A spec with one network, named `random`."""

    text: str
    has_heads: bool


class Writer:
    """Draws parts of a spec."""

    def __init__(self, draw: Any, *, is_free: bool) -> None:
        self.draw = draw
        self.is_free = is_free

    def number(self, least: int, most: int) -> int:
        value: int = self.draw(st.integers(least, most))
        return value

    def one_of(self, *choices: str) -> str:
        choice: str = self.draw(st.sampled_from(choices))
        return choice

    def chance(self) -> bool:
        is_so: bool = self.draw(st.booleans())
        return is_so

    # --- steps ---

    def chain(self, channels: int, *, keeps_map: bool, most: int = 3, depth: int = 0) -> tuple[str, int]:
        """Steps in a row, and the channels behind them."""
        steps = []
        for _ in range(self.number(1, most)):
            step, channels = self.step(channels, keeps_map, depth)
            steps.append(step)
        return " -> ".join(steps), channels

    def step(self, channels: int, keeps_map: bool, depth: int) -> tuple[str, int]:  # noqa: C901 - one case a kind of step
        kinds = ["conv", "conv", "depthwise", "pool", "norm", "activation", "drop", "channels"]
        if not keeps_map:
            kinds += ["transposed", "resample"]
        if depth < 2:
            kinds += ["concat", "sum", "weigh", "residual", "gated", "repeat"]
        match self.one_of(*kinds):
            case "conv":
                return self.conv(channels, keeps_map)
            case "depthwise":
                times = self.number(1, 2)
                return f"depthwise_conv({self.window(keeps_map, dilates=True)}, multiplier = {times})", channels * times
            case "transposed":
                return self.transposed(channels)
            case "pool":
                return self.pool(keeps_map), channels
            case "norm":
                return self.norm(channels), channels
            case "activation":
                return self.one_of(*ACTIVATIONS), channels
            case "drop":
                return self.one_of("dropout(0.1)", "channel_dropout", "stochastic_depth(0.2, per = batch)"), channels
            case "channels":
                return self.rearrange(channels)
            case "resample":
                return self.resample(), channels
            case "concat":
                return self.concat(channels, depth)
            case "sum":
                return self.sum(channels, depth)
            case "weigh":
                return self.weigh(channels)
            case "gated":
                gate, transform = self.kernel(True), self.kernel(True)
                text = (
                    f"gated by {{ conv({gate}, {channels}, bias = -2) -> sigmoid }} {{ conv({transform}, {channels}) }}"
                )
                return text, channels
            case "repeat":
                count = self.number(0, 3)
                grown = channels + count * (count - 1) // 2
                return f"{count} x {{ conv(3x3, channels + index) -> {self.one_of(*ACTIVATIONS)} }}", grown
        return self.residual(channels, depth)

    def kernel(self, keeps_map: bool) -> str:
        sides = (1, 3, 5) if keeps_map else (1, 2, 3, 4, 5)
        return "x".join(str(self.draw(st.sampled_from(sides))) for _ in range(2))

    def window(self, keeps_map: bool, *, filters: int | None = None, dilates: bool = False) -> str:
        """The arguments of a window: kernel, filters, and where the map may change stride and padding."""
        words = [self.kernel(keeps_map)]
        if filters is not None:
            words.append(str(filters))
        if dilates and self.chance():
            words.append(f"dilation = {self.one_of('2', '1x3')}")
        if not keeps_map:
            words.append(f"stride = {self.one_of('1', '2', '3', '2x1')}")
            if self.chance():
                words.append(f"padding = {self.number(0, 3)}")
        return ", ".join(words)

    def conv(self, channels: int, keeps_map: bool) -> tuple[str, int]:
        groups = self.draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
        filters = groups * self.number(1, max(1, 12 // groups))
        bias = self.one_of("", ", bias = false", ", bias = true", ", bias = -1")
        return f"conv({self.window(keeps_map, filters=filters, dilates=True)}, groups = {groups}{bias})", filters

    def transposed(self, channels: int) -> tuple[str, int]:
        filters, stride, extra = self.number(1, 8), self.number(1, 3), self.number(0, 2)
        padding = f", padding = {self.number(0, 1)}" if self.chance() else ""
        extra = min(extra, stride - 1)
        return (
            f"transposed_conv({self.kernel(False)}, {filters}, stride = {stride}, output_padding = {extra}{padding})",
            filters,
        )

    def pool(self, keeps_map: bool) -> str:
        name = self.one_of("max_pool", "avg_pool")
        if keeps_map:
            return f"{name}(3x3, stride = 1)"
        side = self.number(1, 4)
        words = [f"{side}x{side}", f"stride = {self.number(1, 3)}", f"ceil = {self.one_of('true', 'false')}"]
        if self.chance():
            words.append(f"padding = {self.number(0, side // 2)}")
        if name == "avg_pool" and self.chance():
            words.append("count_padding = false")
        return f"{name}({', '.join(words)})"

    def norm(self, channels: int) -> str:
        groups = self.draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
        sized = () if self.is_free else ("layer_norm",)
        return self.one_of("bn", "bn(affine = false)", f"group_norm({groups}, gain = 0)", "lrn(3)", *sized)

    def rearrange(self, channels: int) -> tuple[str, int]:
        if self.chance():
            more = channels + self.number(0, 5)
            return f"pad_channels({more}, at = {self.one_of('end', 'both')})", more
        groups = self.draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
        return f"channel_shuffle({groups})", channels

    def resample(self) -> str:
        mode = self.one_of("nearest", "bilinear")
        return self.one_of(f"upsample(2, mode = {mode})", "upsample(1x3)", "subsample(2)", "subsample(1x3)", "pad(1)",
                           "pad(1x0, after = 2)")  # fmt: skip

    # --- groups ---

    def concat(self, channels: int, depth: int) -> tuple[str, int]:
        sides = [self.chain(channels, keeps_map=True, most=2, depth=depth + 1) for _ in range(self.number(1, 3))]
        return f"concat {{ {' '.join(f'branch {{ {text} }}' for text, _ in sides)} }}", sum(c for _, c in sides)

    def sum(self, channels: int, depth: int) -> tuple[str, int]:
        kind, stride, filters = self.one_of("add", "multiply"), self.one_of("1", "2"), self.number(1, 8)
        sides = []
        for _ in range(self.number(2, 3)):
            text, _ = self.chain(channels, keeps_map=True, most=2, depth=depth + 1)
            sides.append(f"branch {{ {text} -> conv({self.kernel(True)}, {filters}, stride = {stride}) }}")
        return f"{kind} {{ {' '.join(sides)} }}", filters

    def weigh(self, channels: int) -> tuple[str, int]:
        vector = f"global_{self.one_of('avg', 'max')}_pool -> linear({channels}) -> sigmoid"
        map_ = f"adaptive_{self.one_of('avg', 'max')}_pool(1x1) -> conv(1x1, {channels}) -> sigmoid"
        weights = [self.one_of(vector, map_) for _ in range(self.number(1, 2))]
        sides = ["identity", *weights]
        return f"multiply {{ {' '.join(f'branch {{ {side} }}' for side in sides)} }}", channels

    def residual(self, channels: int, depth: int) -> tuple[str, int]:
        body, _ = self.chain(channels, keeps_map=True, most=2, depth=depth + 1)
        if self.chance():
            body = f"preactivation {{ bn -> relu }} -> {body}"
        if self.chance():
            return f"residual {{ {body} -> conv(3x3, {channels}) }}", channels
        filters = self.number(1, 10)
        last = f"conv(3x3, {filters}, stride = {self.number(1, 2)})"
        return f"residual(shortcut = {self.one_of('B', 'C', 'pooled')}) {{ {body} -> {last} }}", filters

    # --- networks ---

    def network(self, size: str) -> RandomSpec:
        channels = self.number(1, 4)
        lines = [f"input {channels} x {size}"]
        text, _ = self.chain(channels, keeps_map=False)
        width = 2 * self.number(2, 4)
        stem = f"stem {{ {text}\nconv(3x3, {width}) -> bn -> relu }}"
        block = self.one_of(*BLOCKS)
        options = [option for option in OPTIONS if option != "none" or not block.startswith("highway")]
        grown = self.one_of("double filters", "filters + 2", "filters * 2 - 2")
        lines.append(f"rules {{ same map -> same filters; halve map -> {grown}; shortcut -> {self.one_of(*options)} }}")
        lines.append(stem)
        for number in range(self.number(1, 3)):
            halve = ", halve map" if self.chance() else ""
            at_end = " at end" if halve and self.number(0, 3) == 0 else ""
            own = f", shortcut {self.one_of('B', 'C')}" if self.number(0, 4) == 0 else ""
            lines.append(f"stage s{number}{halve}{at_end}{own} {{ {self.number(1, 3)} x {block} }}")
        if self.chance():
            lines.append(self.long_shortcut())
        has_heads = self.number(0, 3) == 0
        if has_heads:
            lines.append("auxiliary side(weight = 0.3) { global_avg_pool -> linear(3) }")
        lines.append(f"head {{ {self.head()} }}")
        body = "\n".join(lines)
        return RandomSpec(f"{OWN_BLOCKS}\nnetwork random {{\n{body}\n}}\n", has_heads)

    def long_shortcut(self) -> str:
        middle = f"conv(3x3, 6, stride = {self.number(1, 2)}) -> bn"
        join = self.one_of("add(early, shortcut = B)", "add(early, shortcut = C)", "add(early, shortcut = pooled)")
        concat = "relu as early -> conv(3x3, 5) -> concat(early)"
        return self.one_of(f"relu as early -> {middle} -> {join}", concat)

    def head(self) -> str:
        fixed = f"adaptive_avg_pool({self.number(1, 3)}x2) -> flatten -> linear(5)"
        sized = () if self.is_free else ("flatten -> linear(5, bias = false)",)
        return self.one_of(
            "global_avg_pool -> linear(5)", "global_max_pool -> bn -> dropout -> linear(5)", fixed, *sized
        )


@st.composite
def known_specs(draw: Any) -> RandomSpec:
    """A spec with a known input size, mostly an odd one and not a square."""
    writer = Writer(draw, is_free=False)
    return writer.network(f"{writer.number(6, 37)} x {writer.number(6, 37)}")


@st.composite
def free_specs(draw: Any) -> RandomSpec:
    """A spec with a free input size, H x W or S x S."""
    writer = Writer(draw, is_free=True)
    return writer.network(writer.one_of("H x W", "S x S"))


# --- pairs of ways that may fit ------------------------------------------------------------------------------------

PAIR_CHANNELS = 2


@st.composite
def ways(draw: Any, strides: tuple[int, ...]) -> str:
    """Steps with these strides that keep PAIR_CHANNELS channels; paddings and kernels as they come."""
    steps = [draw(_strided(stride)) for stride in strides]
    if draw(st.integers(0, 3)) == 0:
        steps.insert(draw(st.integers(0, len(steps))), draw(st.sampled_from(("pad(0, after = 1)", "pad(1x0)", "relu"))))
    return " -> ".join(steps)


@st.composite
def _strided(draw: Any, stride: int) -> str:
    kind = draw(st.sampled_from(("conv", "conv", "max_pool", "avg_pool", "subsample", "up_and_down")))
    kernel = draw(st.sampled_from(("1x1", "2x2", "3x3", "3x3", "4x4", "5x3", "7x7")))
    padding = draw(st.sampled_from(("", "", ", padding = 0")))
    ceil = draw(st.sampled_from(("", ", ceil = true")))
    match kind:
        case "conv":
            return f"conv({kernel}, {PAIR_CHANNELS}, stride = {stride}{padding})"
        case "subsample":
            return f"subsample({stride})"
        case "up_and_down":
            return f"upsample(2) -> conv({kernel}, {PAIR_CHANNELS}, stride = {2 * stride}{padding})"
    return f"{kind}({kernel}, stride = {stride}{padding}{ceil})"


@dataclass(frozen=True)
class Pair:
    """Two ways from one map to one join; `size` is the input's, `stem` comes before both."""

    size: str
    stem: str
    first: str
    second: str
    join: str

    def alone(self, way: str) -> str:
        """A spec with one of the ways only."""
        return f"network one {{\n  input {PAIR_CHANNELS} x {self.size}\n  {self.stem} -> {way}\n}}\n"

    def text(self) -> str:
        """A spec with both."""
        head = f"network both {{\n  input {PAIR_CHANNELS} x {self.size}\n  {self.stem}"
        match self.join:
            case "residual":
                return f"shortcut own {{ {self.second} }}\n{head} -> residual(shortcut = own) {{ {self.first} }}\n}}\n"
            case "block":
                inner = f"block inner {{ add {{ branch {{ {self.first} }} branch {{ {self.second} }} }} }}\n"
                return f"{inner}{head} -> inner\n}}\n"
        return f"{head} -> {self.join} {{ branch {{ {self.first} }} branch {{ {self.second} }} }}\n}}\n"


@st.composite
def pairs(draw: Any) -> Pair:
    """Two ways with the same total stride."""
    strides = draw(st.sampled_from(((1,), (2,), (3,), (2, 2), (4,), (1, 2), (2, 3))))
    other = draw(st.permutations(strides)) if draw(st.booleans()) else strides
    return Pair(
        draw(st.sampled_from(("S x S", "H x W", "S x S"))),
        draw(st.sampled_from(("relu", "conv(7x7, 2, padding = 0) -> upsample(3)", "conv(3x3, 2, stride = 2)"))),
        draw(ways(tuple(strides))),
        draw(ways(tuple(other))),
        draw(st.sampled_from(("add", "concat", "multiply", "residual", "block"))),
    )
