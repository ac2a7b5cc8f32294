"""Words for claims that do not hold."""

from __future__ import annotations

from resdsl.catalogue.entry import Entry


def _expecting(claim: str, size: str = "3 x 32 x 32") -> str:
    return (
        f"network tiny {{\n  input {size}\n  conv(3x3, 16) as early -> bn -> relu -> global_avg_pool -> linear(10)\n"
        f"  expect {{ {claim} }}\n}}\n"
    )


def _publishing(facts: str) -> str:
    return (
        "network tiny {\n  input 3 x 32 x 32\n  conv(3x3, 16) -> relu -> global_avg_pool -> linear(10)\n"
        f"  published {{ {facts} }}\n}}\n"
    )


ENTRIES = (
    Entry(
        "R0501",
        "{subject}: {claimed} expected, {found} found",
        "{name} has {found}{difference}",
        "A spec states what it knows of its network, mostly from a paper, and every compilation checks it. Either the "
        "network or the claim is wrong; a rounded number takes a tolerance.",
        _expecting("parameters 700"),
        _expecting("parameters 634"),
        related={"network": "of this network"},
        hints=(
            "if the network is right, write `{word} {exact}`",
            "for a rounded number write `{word} {written} within {within}`",
        ),
    ),
    Entry(
        "R0502",
        "nothing is measured under the name `{name}`",
        "known are {known}",
        "Expectations are about depth, parameters, macs (multiply-adds), activations, buffers, "
        "receptive_field, stride, "
        "and `output of PLACE is SHAPE`.",
        _expecting("flops 100M"),
        _expecting("depth 2"),
        hints=("did you mean `{guess}`?",),
    ),
    Entry(
        "R0503",
        "with a free map size {subject} has no single value",
        "it is {found}",
        "Multiply-adds and activations grow with the map. State the size in `input`, or claim what does not depend on "
        "it, such as parameters and depth.",
        _expecting("macs 1M", "3 x H x W"),
        _expecting("depth 2", "3 x H x W"),
    ),
    Entry(
        "R0504",
        "{where} is {found}, not {claimed}",
        "{claimed} expected",
        "The shape is channels x height x width without the batch; a vector has one size.",
        _expecting("output of early is 16 x 16 x 16"),
        _expecting("output of early is 16 x 32 x 32"),
        related={"network": "of this network"},
    ),
    Entry(
        "R0505",
        "`{condition}` is required",
        "{values}",
        "A network or block states what it requires of its arguments or of its place, where anything else would be "
        "another network than the one it describes.",
        'network small(size = 64) {\n  require size >= 32, "the maps of the last stage would vanish"\n'
        "  input 3 x size x size\n  conv(3x3, 16) -> relu\n}\n\nnetwork smaller = small(size = 16)\n",
        'network small(size = 64) {\n  require size >= 32, "the maps of the last stage would vanish"\n'
        "  input 3 x size x size\n  conv(3x3, 16) -> relu\n}\n\nnetwork smaller = small(size = 48)\n",
        hints=("{reason}",),
    ),
    Entry(
        "R0506",
        "`published` has no word `{word}`",
        "",
        "What can be said of a publication: its paper, the data set, top1_error and top5_error as shares, and a note.",
        _publishing('paper "He et al. 2015"; error 6.43%'),
        _publishing('paper "He et al. 2015"; top1_error 6.43%'),
        hints=("did you mean `{guess}`?", "known are {known}"),
    ),
    Entry(
        "R0507",
        "`published` does not name its paper",
        "",
        "A number without its source cannot be checked.",
        _publishing("top1_error 6.43%"),
        _publishing('paper "He et al. 2015, Table 6"; top1_error 6.43%'),
        hints=('write for example `paper "He et al. 2015, Table 6"`',),
    ),
)
