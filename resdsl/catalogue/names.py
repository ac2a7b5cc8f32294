"""Words for mistakes with names, arguments and values."""

from __future__ import annotations

from resdsl.catalogue.entry import Entry

_GUESS = ("did you mean `{guess}`?",)


def _network(*lines: str, heading: str = "network tiny") -> str:
    """A small network with these lines."""
    return "\n".join([f"{heading} {{", "  input 3 x 32 x 32", *(f"  {line}" for line in lines), "}", ""])


ENTRIES = (
    Entry(
        "R0201",
        "there is no value named `{name}`",
        "nothing of this name can be seen here",
        "A name in an expression is a parameter, `filters`, `stride`, `channels`, `height` or `width` of the place in "
        "the network, or a block or shortcut; in the text of a repetition also its `index` and `count`. Definitions "
        "see their own parameters, not those of the network that calls them, nor `index` and `count` of the "
        "repetition that does: these are handed over as arguments, `n x unit(index)`.",
        _network("conv(3x3, widht) -> relu", heading="network tiny(width = 16)"),
        _network("conv(3x3, width) -> relu", heading="network tiny(width = 16)"),
        hints=_GUESS,
    ),
    Entry(
        "R0202",
        "there is no step or block `{name}`",
        "",
        "A step is one of the language's own (conv, bn, relu, ...), a block that this file, a used file or "
        "the library "
        "defines, or a class of torch.nn written as `nn.GELU`.",
        _network("conv(3x3, 16) -> rellu"),
        _network("conv(3x3, 16) -> relu"),
        hints=_GUESS,
    ),
    Entry(
        "R0203",
        "`{callee}` has no argument `{name}`",
        "it takes {names}",
        "Arguments are given by place or by name, and the names are those of the definition. Blocks also "
        "take `filters`, "
        "`stride` and `shortcut`, by name only, in place of what the stage hands to them.",
        _network("conv(3x3, 16, strides = 2)"),
        _network("conv(3x3, 16, stride = 2)"),
        hints=_GUESS,
    ),
    Entry(
        "R0204",
        "`{name}` takes {wanted}",
        "",
        "`min`, `max`, `sum` and `len` take numbers or one list; `round`, `floor` and `ceil` take one number.",
        _network("conv(3x3, round(16, 2))"),
        _network("conv(3x3, round(16.2))"),
    ),
    Entry(
        "R0205",
        "expected {wanted}, found {found}",
        "",
        "The value is of another kind than its place asks for.",
        _network("conv(3x3, true)"),
        _network("conv(3x3, 16)"),
    ),
    Entry(
        "R0206",
        "`{callee}` needs `{name}`",
        "`{name}` is missing: {wanted}",
        "An argument without a default must be given.",
        _network("max_pool(3x3)"),
        _network("max_pool(3x3, stride = 2)"),
        related={"parameter": "`{name}` has no default"},
    ),
    Entry(
        "R0207",
        "the value of {what} is not allowed",
        "expected {wanted}, found {found}",
        "Each number of the language has the range in which it means something: a stride is at least 1, a share of "
        "dropped values lies between 0 and 1.",
        _network("conv(3x3, 16, stride = 0)"),
        _network("conv(3x3, 16, stride = 1)"),
        hints=_GUESS,
    ),
    Entry(
        "R0208",
        "the expression {what}",
        "",
        "Values are numbers up to 2^62. Whole numbers stay whole under `+ - * // %`; `/` gives a decimal.",
        _network("conv(3x3, 64 // n)", heading="network tiny(n = 0)"),
        _network("conv(3x3, 64 // n)", heading="network tiny(n = 4)"),
    ),
    Entry(
        "R0209",
        "too many arguments for `{callee}`",
        "it takes {names}",
        "Arguments without a name go to the parameters in their order, and there are no more of those.",
        _network("conv(3x3, 16) -> relu(1)"),
        _network("conv(3x3, 16) -> relu"),
    ),
    Entry(
        "R0210",
        "the map size is free here: `{size}` is not a number",
        "expected {wanted}",
        "With an input such as `3 x H x W` the compiler works with the sizes as symbols. They can be added to, "
        "multiplied and divided (`//`) by known numbers and used as sizes, but nothing can be counted or "
        "decided by them.",
        "network tiny {\n  input 3 x H x W\n  conv(3x3, height)\n}\n",
        "network tiny {\n  input 3 x 32 x 32\n  conv(3x3, height)\n}\n",
        hints=("state the size in `input`, or use a number here",),
    ),
    Entry(
        "R0211",
        "the list has no item {index}",
        "it has {items}",
        "Items of a list are counted from 0.",
        _network("conv(3x3, widths[2])", heading="network tiny(widths = [16, 32])"),
        _network("conv(3x3, widths[1])", heading="network tiny(widths = [16, 32])"),
    ),
    Entry(
        "R0212",
        "`{name}` of `{callee}` is given twice",
        "the second time",
        "An argument has one value, given by place or by name.",
        _network("conv(3x3, 16, filters = 32)"),
        _network("conv(3x3, 32)"),
        related={"first": "the first time"},
    ),
    Entry(
        "R0213",
        "the name `{name}` is taken",
        "this would be a second `{name}`",
        "Names of places, branches and auxiliary heads become names of modules in PyTorch: each can be given once in "
        "its block or part of the network.",
        _network("conv(3x3, 16) as first -> relu", "conv(3x3, 16) as first -> relu"),
        _network("conv(3x3, 16) as first -> relu", "conv(3x3, 16) as second -> relu"),
        related={"first": "this has the name already"},
        hints=("each round of {repeated} would give it: write a block, whose calls have their own names each",),
    ),
    Entry(
        "R0214",
        "there is no place named `{name}`",
        "",
        "A place is named with `as` behind a step; a stage is a place too, and `input` is the beginning of "
        "the network "
        "or block. Only places that come earlier, in the same network or block, can be joined.",
        _network("conv(3x3, 16) as early -> relu", "conv(3x3, 16) -> add(erly)"),
        _network("conv(3x3, 16) as early -> relu", "conv(3x3, 16) -> add(early)"),
        hints=("did you mean `{guess}`?", "known here are {places}; `as` behind a step names another place"),
    ),
    Entry(
        "R0215",
        "`{name}` has no value here",
        "nothing sets it",
        "`filters` is what the stage has: stated behind its name, or given by a rule. Outside a stage a block is told "
        "with `basic(filters = 64)`. `channels`, `height`, `width` and `stride` are those of a step's "
        "place: they have no value in the arguments of a network, in their defaults, or in a recipe.",
        _network("basic"),
        _network("basic(filters = 16, shortcut = B)"),
        hints=("write `filters 64` behind the stage's name, a rule for its filters, or `({stated} = 64)` in the call",),
    ),
    Entry(
        "R0216",
        "a vector has no `{name}`",
        "the value here is {shape}",
        "`height` and `width` are those of the feature map at this place; behind a global pool or `flatten` "
        "there is none.",
        _network("global_avg_pool -> linear(height)"),
        _network("global_avg_pool -> linear(channels)"),
    ),
    Entry(
        "R0217",
        "`{name}` is a shortcut, not a step",
        "",
        "A shortcut says what goes around the branch of a residual. It is chosen by a rule, a stage, a "
        "block's call or "
        "`residual(shortcut = ...)`; blocks and steps stand in chains.",
        _network("conv(3x3, 16) -> B"),
        _network("conv(3x3, 16) -> projection(filters = 16)"),
        hints=("write `residual(shortcut = {name}) {{ ... }}`, or `shortcut -> {name}` in the rules",),
    ),
    Entry(
        "R0218",
        "definitions call each other without end",
        "{how}",
        "A block that calls itself, directly or through others, has no end. Repeat with `3 x block`; recursion with a "
        "parameter that counts down must end within the limit.",
        "block endless { relu -> endless }\n\n" + _network("conv(3x3, 16) -> endless"),
        "block once { relu }\n\n" + _network("conv(3x3, 16) -> once"),
    ),
    Entry(
        "R0219",
        "`{name}` is not a step of the language",
        "",
        "`default` in the rules sets arguments of the language's own steps, for the whole network: "
        "`default bn(eps = 1e-3)`. Blocks have defaults in their definition.",
        _network("rules { default basic(filters = 16) }", "conv(3x3, 16) -> bn"),
        _network("rules { default bn(eps = 1e-3) }", "conv(3x3, 16) -> bn"),
        hints=_GUESS,
    ),
    Entry(
        "R0220",
        "there is no network `{name}`",
        "",
        "`network b = a(...)` makes a variant of a network that this file or a used file defines.",
        _network("conv(3x3, 16)") + "\nnetwork other = tine\n",
        _network("conv(3x3, 16)") + "\nnetwork other = tiny\n",
        hints=(*_GUESS, "the networks here: {known}"),
    ),
    Entry(
        "R0221",
        "`{name}` is a name of the language and cannot be defined",
        "",
        "Steps, functions and the names of a place (filters, stride, channels, height, width, index, count, "
        "none) have "
        "their meaning everywhere.",
        "block relu { bn }\n",
        "block my_relu { bn -> relu }\n",
        hints=("choose another name, such as `my_{name}`",),
    ),
    Entry(
        "R0222",
        "`{name}` is defined twice",
        "the second definition",
        "Each name stands for one thing in a file.",
        "block mine { relu }\nblock mine { bn }\n",
        "block mine { relu }\nblock mine2 { bn }\n",
        related={"first": "the first definition"},
    ),
    Entry(
        "R0223",
        "a default needs the name of its argument",
        "which argument of `{name}` is this?",
        "`default` in the rules sets arguments by name.",
        _network("rules { default bn(1e-3) }", "conv(3x3, 16) -> bn"),
        _network("rules { default bn(eps = 1e-3) }", "conv(3x3, 16) -> bn"),
        hints=("write `default {name}({example} = ...)`",),
    ),
)
