"""Words for shapes that do not fit."""

from __future__ import annotations

from resdsl.catalogue.entry import Entry

_SIDES = {"first": "this side gives {first}", "other": "this side gives {other}"}
_SIDE_HINTS = ("give both sides the same {unequal}",)


def _network(*lines: str, size: str = "3 x 32 x 32") -> str:
    """A small network with these lines."""
    return "\n".join(["network tiny {", f"  input {size}", *(f"  {line}" for line in lines), "}", ""])


def _branches(kind: str, first: str, second: str) -> str:
    return _network(f"{kind} {{", f"  branch {{ {first} }}", f"  branch {{ {second} }}", "}")


ENTRIES = (
    Entry(
        "R0301",
        "the shortcut cannot be added: its shape differs from the branch's",
        "the branch gives {branch}{where}{kept}",
        "An addition needs two sides of one shape (He et al. 2015, equation 1). Where the branch changes the "
        "number of "
        "filters or the map, the shortcut must do the same: option A pads with zeros and takes every second place, B "
        "projects by a 1x1 convolution where the shape changes, C projects always; `none` leaves the shortcut out.",
        "network tiny {\n  input 3 x 32 x 32\n  rules {\n    same map  -> same filters\n"
        "    halve map -> double filters\n    shortcut  -> identity\n  }\n  stem { conv(3x3, 16) -> bn -> relu }\n"
        "  stage one            { 3 x basic }\n  stage two, halve map { 3 x basic }\n}\n",
        "network tiny {\n  input 3 x 32 x 32\n  rules {\n    same map  -> same filters\n"
        "    halve map -> double filters\n    shortcut  -> B\n  }\n  stem { conv(3x3, 16) -> bn -> relu }\n"
        "  stage one            { 3 x basic }\n  stage two, halve map { 3 x basic }\n}\n",
        related={
            "shortcut": "{option} {verb} {side}",
            "branch": "this gives {branch}",
            "start": "the shortcut comes from here",
        },
    ),
    Entry(
        "R0302",
        "the sides of the addition differ in shape",
        "an addition needs sides of one shape",
        "All sides of `add` have the same channels, height and width.",
        _branches("add", "conv(3x3, 16)", "conv(1x1, 32)"),
        _branches("add", "conv(3x3, 16)", "conv(1x1, 16)"),
        related=_SIDES,
        hints=_SIDE_HINTS,
    ),
    Entry(
        "R0303",
        "the sides of the concatenation differ in map size",
        "only the channels may differ",
        "`concat` puts channels one after the other; height and width must be the same on all sides.",
        _branches("concat", "conv(3x3, 16)", "max_pool(3x3, stride = 2)"),
        _branches("concat", "conv(3x3, 16)", "max_pool(3x3, stride = 1)"),
        related=_SIDES,
        hints=_SIDE_HINTS,
    ),
    Entry(
        "R0304",
        "the gate and what it weighs differ in shape",
        "each value needs a gate of its own",
        "In `gated by { gate } { transform }` both give one shape: y = H(x) T(x) + x (1 - T(x)), element by element "
        "(Srivastava et al. 2015).",
        _network("gated by { conv(3x3, 8) -> sigmoid } { conv(3x3, 3) -> relu }"),
        _network("gated by { conv(3x3, 3) -> sigmoid } { conv(3x3, 3) -> relu }"),
        related={"first": "the gate gives {first}", "other": "the transform gives {other}"},
        hints=_SIDE_HINTS,
    ),
    Entry(
        "R0305",
        "the map is too small for this {kernel} window",
        "it spans {reach}, but the map of {input} with its padding only {available}",
        "A window must fit into the map and its padding at least once. Stride and pooling before this place have made "
        "the map too small, or the kernel is too large.",
        "network tiny {\n  input 3 x 4 x 4\n  conv(7x7, 16, padding = 0)\n}\n",
        "network tiny {\n  input 3 x 4 x 4\n  conv(3x3, 16, padding = 0)\n}\n",
        hints=("use a smaller kernel, more padding, or less stride before this place",),
    ),
    Entry(
        "R0306",
        "`{step}` needs {needs}",
        "its input is {shape}",
        "Convolutions and pools work on maps (channels x height x width); `linear` works on a vector, which a global "
        "pool or `flatten` makes of a map.",
        _network("conv(3x3, 16) -> relu -> linear(10)"),
        _network("conv(3x3, 16) -> relu -> global_avg_pool -> linear(10)"),
    ),
    Entry(
        "R0307",
        "the channels cannot be split into {groups} groups of one size",
        "the input has {channels} channels, the output {filters}",
        "The number of groups must divide the channels that come in and those that go out.",
        _network("conv(3x3, 64) -> conv(3x3, 64, groups = 24)"),
        _network("conv(3x3, 64) -> conv(3x3, 64, groups = 32)"),
        hints=("numbers of groups that divide both, near this one: {fitting}",),
    ),
    Entry(
        "R0308",
        "`{step}` needs a known map size",
        "the map here is {shape}",
        "The weights behind this step depend on the size of the map. With a free input size, write "
        "`global_avg_pool` or "
        "`adaptive_avg_pool` instead, which give one size for every map.",
        "network tiny {\n  input 3 x H x W\n  conv(3x3, 16) -> flatten -> linear(10)\n}\n",
        "network tiny {\n  input 3 x H x W\n  conv(3x3, 16) -> adaptive_avg_pool(4x4) -> flatten -> linear(10)\n}\n",
    ),
    Entry(
        "R0309",
        "the two sides fit for some sizes of the input only: not for {symbol} = {size}",
        "at {symbol} = {size} the {axis} is {left} on one side and {right} on the other",
        "The map size of the input is free, so the sides must agree for every size. Here they agree for some and not "
        "for others, mostly because one side rounds a division up and the other one down; the smallest size at which "
        "they differ is shown.",
        "network tiny {\n  input 3 x H x W\n  concat {\n    branch { conv(3x3, 16, stride = 2) }\n"
        "    branch { max_pool(2x2, stride = 2, padding = 0) }\n  }\n}\n",
        "network tiny {\n  input 3 x H x W\n  concat {\n    branch { conv(3x3, 16, stride = 2) }\n"
        "    branch { max_pool(3x3, stride = 2) }\n  }\n}\n",
        related={
            "shortcut": "{option} {verb} {side}: {axis} {right}",
            "branch": "this gives {branch}: {axis} {left}",
            "start": "the shortcut comes from here",
            "first": "this side gives {first}: {axis} {left}",
            "other": "this side gives {other}: {axis} {right}",
        },
        hints=("let both sides round in the same way, or state the size in `input`",),
    ),
    Entry(
        "R0310",
        "`{name}` cannot be used here",
        "{reason}",
        "A class of torch.nn is checked by building it and running it on an input of this shape. It must exist, take "
        "these arguments, and make one tensor of one.",
        _network("nn.Conv2d(5, 8, 3)"),
        _network("nn.Conv2d(3, 8, 3)"),
        hints=("did you mean `{guess}`?",),
    ),
    Entry(
        "R0311",
        "the sides of the multiplication do not fit",
        "{first} cannot be weighed by {other}",
        "The sides of `multiply` have one shape, or the later ones are a vector (or C x 1 x 1) with one "
        "factor for each "
        "channel of the first, as in squeeze-and-excitation (Hu et al. 2018).",
        _branches("multiply", "identity", "global_avg_pool -> linear(8) -> sigmoid"),
        _branches("multiply", "identity", "global_avg_pool -> linear(channels) -> sigmoid"),
        related=_SIDES,
    ),
    Entry(
        "R0312",
        "the output padding is too large",
        "{extra}, where the stride is {stride}",
        "The output padding of a transposed convolution chooses between the sizes that its stride makes "
        "equal; it must "
        "be smaller than the stride or the dilation.",
        _network("transposed_conv(4x4, 16, stride = 2, output_padding = 2)"),
        _network("transposed_conv(4x4, 16, stride = 2, output_padding = 1)"),
    ),
    Entry(
        "R0313",
        "the padding of a pool is at most half its kernel",
        "{padding} around a {kernel} kernel",
        "With more padding some windows would see nothing but padding.",
        _network("max_pool(3x3, stride = 2, padding = 2)"),
        _network("max_pool(3x3, stride = 2, padding = 1)"),
    ),
    Entry(
        "R0314",
        "zero padding cannot remove channels",
        "the input has {channels} channels, more than {to}",
        "`pad_channels` only adds channels. Where the branch has fewer filters than its input, a projection is needed.",
        _network("conv(3x3, 64) -> pad_channels(32)"),
        _network("conv(3x3, 64) -> pad_channels(128)"),
        hints=("write `conv(1x1, {to})` to have fewer channels",),
    ),
    Entry(
        "R0315",
        "the shortcut `{name}` does not say what to do where {words}",
        "{words} here",
        "A shortcut with cases is used for both: where the branch keeps the shape and where it changes it.",
        "shortcut half { shape changes -> projection }\n\n"
        + _network("conv(3x3, 16) -> basic(filters = 16, shortcut = half)"),
        "shortcut half { same shape -> identity; shape changes -> projection }\n\n"
        + _network("conv(3x3, 16) -> basic(filters = 16, shortcut = half)"),
        related={"shortcut": "`{name}` has no line for it"},
        hints=("add a line to `{name}`, such as `{case}`",),
    ),
    Entry(
        "R0316",
        "a gate needs something to carry: its shortcut cannot be `none`",
        "this weighs the branch against what the shortcut carries",
        "In y = H(x) T(x) + x (1 - T(x)) the x arrives through the shortcut.",
        _network("rules { shortcut -> none }", "conv(3x3, 16)", "highway(filters = 16)"),
        _network("rules { shortcut -> identity }", "conv(3x3, 16)", "highway(filters = 16)"),
        related={"rule": "the shortcut in force is none"},
        hints=("write `shortcut = identity` in the call, or use a block without a gate",),
    ),
    Entry(
        "R0317",
        "the shortcut `{name}` mixes cases with other steps",
        "not a case",
        "A shortcut is either a chain, used everywhere, or cases: `same shape -> ...` and `shape changes -> ...`.",
        "shortcut odd { same shape -> identity; shape changes -> projection; relu }\n\n"
        + _network("conv(3x3, 16) -> basic(filters = 16, shortcut = odd)"),
        "shortcut odd { same shape -> identity; shape changes -> projection }\n\n"
        + _network("conv(3x3, 16) -> basic(filters = 16, shortcut = odd)"),
    ),
    Entry(
        "R0318",
        "`{step}` cannot be dilated: it {reason}",
        "the map that comes in here is dilated, or would be",
        "With a rule such as `output stride 8` strides become dilations once the map has that stride, and what comes "
        "behind them works on places that far apart. A step that enlarges the map, takes all its places or rounds its "
        "size up has no such form.",
        _network("rules { output stride 2 }", "2 x { conv(3x3, 16, stride = 2) -> relu }", "flatten -> linear(10)"),
        _network(
            "rules { output stride 2 }", "2 x { conv(3x3, 16, stride = 2) -> relu }", "global_avg_pool -> linear(10)"
        ),
        hints=("leave out the rule for the output stride, or raise it; a head may begin with `global_avg_pool`",),
    ),
    Entry(
        "R0319",
        "the output stride cannot be reached: this step strides by {stride}, and only {share} is left",
        "strides past the limit",
        "The strides of a network multiply. An output stride is reached where their product is exactly that number, or "
        "it is larger than all of them.",
        _network("rules { output stride 6 }", "3 x { conv(3x3, 16, stride = 2) -> relu }"),
        _network("rules { output stride 4 }", "3 x { conv(3x3, 16, stride = 2) -> relu }"),
        hints=("write an output stride at which the network arrives, such as 8 or 16",),
    ),
    Entry(
        "R0320",
        "the sides have maps of different dilation: {left} and {right}",
        "without the rule one would be {first}, the other {other}",
        "With a rule such as `output stride 8` strides become dilations. Sides that stride differently then have maps "
        "of one size that stand for maps of different sizes: what lies side by side in them does not belong together.",
        _network(
            "rules { output stride 2 }",
            "conv(3x3, 16, stride = 2) -> relu",
            "add { branch { conv(3x3, 16, stride = 2) } branch { identity } }",
        ),
        _network(
            "rules { output stride 2 }",
            "conv(3x3, 16, stride = 2) -> relu",
            "add { branch { conv(3x3, 16, stride = 2) } branch { subsample(2) } }",
        ),
        related={
            "first": "dilation {left}",
            "other": "dilation {right}",
        },
        hints=("let both sides stride alike, as they have to without the rule",),
    ),
)
