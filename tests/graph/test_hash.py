"""The hash is of the meaning: text may change as it likes, and no change of meaning goes unseen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resdsl.compiler import compile_network
from resdsl.diagnostics import CompileError
from resdsl.net import Net
from resdsl.ops import STEPS, value_text
from resdsl.ops.core import REQUIRED, Arg
from resdsl.source import SourceFile
from resdsl.syntax.format import format_source

NET = """network n(k = 2, option = A) {
  input 3 x 16 x 16
  rules { same map -> same filters; halve map -> double filters; shortcut -> option }
  stem { conv(3x3, 8) -> bn -> relu }
  stage conv2            { k x basic }
  stage conv3, halve map { k x basic }
  head { global_avg_pool -> linear(5) }
}
"""


def compiled(text: str, arguments: str = "") -> Net:
    return compile_network(SourceFile("n.res", text), arguments=arguments)


SAME = {
    "comments": "# words\n" + NET.replace("{\n", "{  # more words\n"),
    "blank lines": NET.replace("\n", "\n\n"),
    "one line": NET.replace("{\n", "{").replace("\n}", "}").replace("\n", "; "),
    "the name": NET.replace("network n(", "network another("),
    "a parameter's name": NET.replace("k = 2", "rounds = 2").replace("k x", "rounds x"),
    "layout": format_source(SourceFile("n.res", NET.replace("  ", " "))),
    "defaults spelt out": NET.replace(
        "conv(3x3, 8)", "conv(kernel = 3, filters = 8, stride = 1x1, padding = 1, groups = 1)"
    )
    .replace("bn ->", "bn(eps = 1e-5, momentum = 10%) ->")
    .replace("linear(5)", "linear(features = 5, bias = true)"),
    "a value computed": NET.replace("conv(3x3, 8)", "conv(3x3, 2 * 4)"),
    "a block of the same steps": NET.replace("k x basic", "k x own")
    + "\nblock own { residual { conv(3x3, filters, stride = stride) -> bn -> relu\nconv(3x3, filters) -> bn }\nrelu }",
    "a claim": NET.replace("head {", "expect { depth 10 }\n  head {"),
    "a variant that changes nothing": NET.replace("network n(", "network base(") + "\nnetwork n = base(k = 2)",
}
DIFFERENT = {
    "blocks": NET.replace("k = 2", "k = 3"),
    "the option": NET.replace("option = A", "option = B"),
    "zeros on both sides": NET.replace("option = A", "option = A(at = both)"),
    "the input": NET.replace("16 x 16", "16 x 17"),
    "a free input": NET.replace("16 x 16", "H x W"),
    "a stage's name": NET.replace("conv3", "conv4"),
    "an activation": NET.replace("-> relu", "-> silu"),
    "a default of the network": NET.replace("rules {", "rules { default bn(eps = 1e-3);"),
    "the growth": NET.replace("double filters", "filters + 4"),
    "an auxiliary head": NET.replace("head {", "auxiliary a { global_avg_pool -> linear(5) }\n  head {"),
    "the classes": NET.replace("linear(5)", "linear(6)"),
    "the order": NET.replace("bn -> relu", "relu -> bn"),
}


@pytest.mark.parametrize("change", SAME)
def test_text_does_not_count(change: str) -> None:
    assert compiled(SAME[change]).hash == compiled(NET).hash


@pytest.mark.parametrize("change", DIFFERENT)
def test_meaning_counts(change: str) -> None:
    assert compiled(DIFFERENT[change]).hash != compiled(NET).hash


def test_an_argument_given_as_its_default() -> None:
    assert compiled(NET, "k = 2, option = A").hash == compiled(NET).hash


# --- each argument of each step ------------------------------------------------------------------------------------

VECTOR_STEPS = ("linear",)
# What else must be said for an argument to have room: a pool's dilation, for one, wants a padding that fits its kernel.
BESIDE = {"transposed_conv": {"stride": "3"}, "max_pool": {"padding": "1"}}
REQUIRED_VALUES = {"kernel": "3x3", "filters": "8", "stride": "2", "features": "8", "size": "4", "to": "40",
                   "before": "1", "factor": "2", "groups": "2", "by": "0.5"}  # fmt: skip
CANDIDATES = {
    "int": ("2", "4", "8", "48", "64"),
    "size": ("0", "1", "2", "3x1", "2x4"),
    "padding": ("0", "2", "1x0"),
    "number": ("0.25", "0.75", "3"),
    "bool": ("true", "false"),
    "bias": ("true", "false", "-1"),
}


def net_with(step: str, arguments: dict[str, str]) -> Net | None:
    """A network of one step after a few that suit it; None where the step refuses its arguments."""
    given_ = ", ".join(f"{name} = {value}" for name, value in arguments.items())
    before = "global_avg_pool -> " if step in VECTOR_STEPS else ""
    try:
        return compiled(f"network n {{\n  input 32 x 16 x 16\n  {before}{step}({given_})\n}}\n")
    except CompileError:
        return None


def required(step: str) -> dict[str, str]:
    return {arg.name: REQUIRED_VALUES[arg.name] for arg in STEPS[step].args if arg.default is REQUIRED}


ARGUMENTS = [(step, arg) for step, spec in STEPS.items() if step != "identity" for arg in spec.args]


@pytest.mark.parametrize(("step", "arg"), ARGUMENTS, ids=lambda value: value if isinstance(value, str) else value.name)
def test_every_argument_counts(step: str, arg: Arg) -> None:
    base = required(step) | BESIDE.get(step, {})
    hashes = set()
    for candidate in arg.choices or CANDIDATES[arg.kind]:
        net = net_with(step, base | {arg.name: candidate})
        if net is not None:
            hashes.add((net.hash, value_text(net.flat.nodes[-1].op.args[arg.name])))
    assert len({found for found, _ in hashes}) == len({value for _, value in hashes}) >= 2


@pytest.mark.parametrize("step", [step for step in STEPS if step != "identity"])
def test_defaults_spelt_out_change_nothing(step: str) -> None:
    net = net_with(step, required(step))
    assert net is not None
    args = net.flat.nodes[-1].op.args
    spelt = {name: value_text(value) for name, value in args.items()}
    again = net_with(step, spelt)
    assert again is not None, spelt
    assert again.hash == net.hash


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_one_changed_argument_somewhere(data: Any) -> None:
    """Two different values at one place of a network give two hashes; equal ones give one."""
    places = {
        "conv(3x3, 8": ("8", "10", "12"),
        "k = 2": ("1", "2", "3"),
        "linear(5": ("5", "7"),
        "input 3": ("3", "1", "2"),
        "x 16 x 16": ("16", "20", "32"),
    }
    place = data.draw(st.sampled_from(sorted(places)))
    first, second = (data.draw(st.sampled_from(places[place])) for _ in range(2))
    head, _, _ = place.rpartition(" ") if "(" not in place else place.rpartition("(" if "linear" in place else " ")
    texts = [NET.replace(place, f"{place[: len(head)]}{place[len(head)]}{value}") for value in (first, second)]
    assert (compiled(texts[0]).hash == compiled(texts[1]).hash) == (first == second)
