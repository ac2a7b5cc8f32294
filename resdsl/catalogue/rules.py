"""Words for mistakes about networks: rules, stages, parts, variants, input."""

from __future__ import annotations

from resdsl.catalogue.entry import Entry

_RULES = "rules { same map -> same filters; halve map -> double filters; shortcut -> B }"


def _network(*lines: str) -> str:
    """A small network with these lines."""
    return "\n".join(["network tiny {", "  input 3 x 32 x 32", *(f"  {line}" for line in lines), "}", ""])


def _staged(*lines: str) -> str:
    """A network with the papers' rules and a stem of 16 filters."""
    return _network(_RULES, "stem { conv(3x3, 16) -> bn -> relu }", *lines)


ENTRIES = (
    Entry(
        "R0401",
        "stage `{stage}` contradicts the rule: {stated} filters where the rule asks for {ruled}",
        "the stage states {stated}",
        "A rule gives each stage its filters from those of the stage before. A stage may state the same "
        "number; another "
        "one must say that it overrides the rule.",
        _staged("stage one             { 2 x basic }", "stage two, halve map, filters 48 { 2 x basic }"),
        _staged("stage one             { 2 x basic }", "stage two, halve map, override filters 48 { 2 x basic }"),
        related={"rule": "the rule asks for {ruled}{reason}", "before": "{before} filters here"},
        hints=("write `override filters {stated}`, or `filters {ruled}`, or leave it out",),
    ),
    Entry(
        "R0402",
        "stage `{stage}` should {wanted}, but {instead}",
        "{found}",
        "A stage says what it does to the map: `halve map`, `same map`, or nothing, which means the same map "
        "wherever a "
        "rule for `same map` is given. What its blocks do must agree.",
        _staged("stage one { 2 x basic(stride = 2) }"),
        _staged("stage one, halve map { 2 x basic }"),
        related={"rule": "the rule that applies to a stage without `halve map`"},
    ),
    Entry(
        "R0403",
        "this block has {stated} filters where the stage has {ruled}",
        "`{callee}` is told {stated}",
        "The filters of a stage are those of its blocks.",
        _staged("stage one { 2 x basic(filters = 24) }"),
        _staged("stage one, override filters 24 { 2 x basic }"),
        related={"rule": "this gives the stage {ruled} filters"},
        hints=("leave `filters` out, or write `override filters {stated}` behind the stage's name",),
    ),
    Entry(
        "R0404",
        "the network has two parts named `{name}`",
        "the second one",
        "The names of stages, and the words stem and head, are names of parts: each stands once in a network.",
        _staged("stage one { basic }", "stage one { basic }"),
        _staged("stage one { basic }", "stage two { basic }"),
        related={"first": "the first one"},
    ),
    Entry(
        "R0405",
        "the input has {count} sizes",
        "1 or 3 are wanted",
        "The input of a network is a map, `3 x 224 x 224` (channels, height, width), or a vector, `784`. The batch is "
        "not part of it.",
        "network tiny {\n  input 224 x 224\n  conv(3x3, 16)\n}\n",
        "network tiny {\n  input 3 x 224 x 224\n  conv(3x3, 16)\n}\n",
        hints=("write `input 3 x 224 x 224` for a map, or `input 784` for a vector",),
    ),
    Entry(
        "R0406",
        "`preactivation` can only stand at the beginning of a residual",
        "",
        "A preactivation is shared by the branch and by a shortcut that changes the shape (He et al. 2016), so it is "
        "the first step of `residual { ... }`.",
        _network("conv(3x3, 16)", "residual { conv(3x3, 16) -> preactivation { bn -> relu } }"),
        _network("conv(3x3, 16)", "residual { preactivation { bn -> relu } -> conv(3x3, 16) }"),
        hints=("elsewhere write its steps without `preactivation { }`",),
    ),
    Entry(
        "R0407",
        "{what} cannot stand here",
        "only {where}",
        "Stages, stem, head, input, rules and expectations belong to a network, cases to a shortcut, "
        "auxiliary heads to "
        "the trunk of a network.",
        "block odd {\n  input 3 x 32 x 32\n  relu\n}\n\n" + _network("conv(3x3, 16) -> odd"),
        "block even {\n  relu\n}\n\n" + _network("conv(3x3, 16) -> even"),
    ),
    Entry(
        "R0408",
        "{what} is said twice",
        "the second time",
        "Each rule, and the input, is stated once in a network. A variant may state them anew.",
        _network("rules { shortcut -> A; shortcut -> B }", "conv(3x3, 16)"),
        _network("rules { shortcut -> B }", "conv(3x3, 16)"),
        related={"first": "the first time"},
    ),
    Entry(
        "R0409",
        "the network `{name}` has no layers",
        "",
        "A network has at least one step behind its input.",
        "network tiny {\n  input 3 x 32 x 32\n}\n",
        _network("conv(3x3, 16)"),
        hints=("write its steps, or a stem, stages and a head",),
    ),
    Entry(
        "R0410",
        "`{base}` has no part `{name}` to replace",
        "",
        "A variant's parts take the place of the parts of the same name.",
        _staged("stage one { basic }") + "\nnetwork wide = tiny {\n  stage onne { 2 x basic }\n}\n",
        _staged("stage one { basic }") + "\nnetwork wide = tiny {\n  stage one { 2 x basic }\n}\n",
        related={"base": "`{base}` has {known}"},
        hints=("did you mean `{guess}`?",),
    ),
    Entry(
        "R0411",
        "stage `{stage}` says twice {what}",
        "{again}",
        "Behind a stage's name each of the map, the filters and the shortcut is stated once.",
        _staged("stage one, filters 16, filters 16 { basic }"),
        _staged("stage one, filters 16 { basic }"),
        related={"first": "the first time"},
    ),
    Entry(
        "R0412",
        "a variant cannot have steps of its own",
        "",
        "`network b = a { ... }` replaces parts, the input or rules of `{base}` and can have its own "
        "expectations. Steps "
        "outside a part have no place in it.".replace("`{base}`", "its base"),
        _staged("stage one { basic }") + "\nnetwork more = tiny {\n  relu\n}\n",
        _staged("stage one { basic }") + "\nnetwork more = tiny {\n  stage one { basic -> relu }\n}\n",
        hints=("put the steps into a part of `{base}`, which has {known}",),
    ),
    Entry(
        "R0413",
        "the network `{name}` has no input",
        "",
        "The input's shape stands at the beginning of a network: channels, height and width.",
        "network tiny {\n  conv(3x3, 16)\n}\n",
        _network("conv(3x3, 16)"),
        hints=("write `input 3 x 224 x 224`, or `input 3 x H x W` for a free map size",),
    ),
    Entry(
        "R0414",
        "the number of channels cannot be free",
        "`{name}` stands for a size that is not known",
        "Weights depend on the channels, so these are numbers. Height and width may be free: `input 3 x H x W`.",
        "network tiny {\n  input C x H x W\n  conv(3x3, 16)\n}\n",
        "network tiny {\n  input 3 x H x W\n  conv(3x3, 16)\n}\n",
        hints=("write the number of channels, or make it a parameter of the network",),
    ),
    Entry(
        "R0417",
        "the free size `{name}` must stand alone",
        "a number, or the name of a free size alone, is wanted",
        "A free size is the height or the width of the input itself, whatever it is: nothing is computed with it in "
        "`input`. Sizes that the network cannot take are found by the steps that do not fit.",
        "network tiny {\n  input 3 x 32*H x W\n  conv(3x3, 16)\n}\n",
        "network tiny {\n  input 3 x H x W\n  conv(3x3, 16)\n}\n",
        hints=("write `{name}` alone",),
    ),
    Entry(
        "R0415",
        "the file has no network",
        "",
        "A command that needs a network finds only blocks, shortcuts or recipes in the file. Name a file "
        "that defines a "
        "network, or add one.",
        "",
        "",
    ),
    Entry(
        "R0416",
        "there is no network `{name}` in this file",
        "",
        "The network asked for on the command line, or by `resdsl.load`, is neither defined by the file nor "
        "by one it uses.",
        "",
        "",
        hints=("did you mean `{guess}`?", "known are {known}"),
    ),
)
