"""Faults that a review found, each with the smallest spec that showed it."""

from __future__ import annotations

import time

import pytest

from resdsl.compiler import CheckResult, check_source, compile_network
from resdsl.diagnostics import CompileError
from resdsl.ir.lower import lower_network
from resdsl.ir.summary import meaning_hash, summarize
from resdsl.semantics.model import Network
from resdsl.source import SourceFile

RULES = "rules { same map -> same filters; halve map -> double filters; shortcut -> B }"


def check(*lines: str, before: str = "", takes: str = "3 x 32 x 32") -> CheckResult:
    body = "\n".join(lines)
    return check_source(SourceFile("t.res", f"{before}\nnetwork n {{\ninput {takes}\n{body}\n}}\n"))


def sound(*lines: str, before: str = "", takes: str = "3 x 32 x 32") -> Network:
    result = check(*lines, before=before, takes=takes)
    assert not result.diagnostics, result.diagnostics
    return result.networks[0]


def codes(*lines: str, before: str = "") -> list[str]:
    return [diagnostic.code for diagnostic in check(*lines, before=before).diagnostics]


def strides(network: Network) -> list[str]:
    """Names of the ops on the trunk that halve the map."""
    halving = []
    for node in lower_network(network).nodes:
        before = node.input_shapes[0]
        if len(before) == len(node.shape) == 3 and before[1] != node.shape[1] and node.role == "trunk":
            halving.append(node.name)
    return halving


@pytest.mark.parametrize(
    ("body", "last"),
    [
        ("basic -> basic -> basic", "s.basic3.conv1"),
        ("2 x basic -> 2 x basic", "s.3.conv1"),
        ("if true { 3 x basic }", "s.2.conv1"),
        ("2 x { 2 x basic }", "s.1.1.conv1"),
        ("3 x basic; relu", "s.2.conv1"),
        ("3 x basic; auxiliary a { global_avg_pool }", "s.2.conv1"),
        ("4 x basic", "s.3.conv1"),
    ],
)
def test_halve_map_at_end_strides_in_the_last_block_only(body: str, last: str) -> None:
    network = sound(RULES, "stem { conv(3x3, 8) }", f"stage s, halve map at end {{ {body} }}")
    assert strides(network) == [last]


def test_depth_leaves_shortcuts_out_where_they_are_the_deeper_way() -> None:
    assert sound("residual(shortcut = C) { bn -> relu }").geometry.depth == 0


@pytest.mark.parametrize("inner", ["rules { shortcut -> B }", "expect { depth 7 }", "input 3 x 8 x 8"])
@pytest.mark.parametrize("condition", ["true", "false"])
def test_what_holds_for_the_network_is_not_silently_ignored_behind_a_condition(inner: str, condition: str) -> None:
    assert "R0407" in codes("conv(3x3, 4)", f"if {condition} {{ {inner} }}")


@pytest.mark.parametrize(
    "lines",
    [
        ("stem { conv(3x3, 4) as s }", "stage s { relu }"),
        ("conv(3x3, 4) as s", "stage s { conv(3x3, 4) }"),
        ("conv(3x3, 4)", "stage conv1 { conv(3x3, 4) }"),
        ("basic(filters = 3)", "stage basic1 { conv(3x3, 4) }"),
        ("conv(3x3, 3) as gate", "gated by { conv(3x3, 3) -> sigmoid } { conv(3x3, 3) }"),
        ("conv(3x3, 3) as shortcut", "residual(shortcut = C) { conv(3x3, 5) }"),
        ("conv(3x3, 3) as branch1", "concat { branch { conv(3x3, 3) } branch {} }"),
        ("conv(3x3, 4)", "auxiliary s { conv(1x1, 2) }", "stage s { conv(3x3, 4) }"),
        ("conv(3x3, 4)", "auxiliary a {}", "auxiliary a {}", "relu"),
    ],
)
def test_no_module_stands_where_another_has_its_submodules(lines: tuple[str, ...]) -> None:
    assert codes(*lines) == ["R0213"]


def test_the_name_of_a_stage_is_the_stage_and_not_a_step_in_it() -> None:
    network = sound(
        "stage s { conv(3x3, 4) as s -> conv(3x3, 5) }", "relu -> add(s)", "expect { output of s is 5 x 32x32 }"
    )
    assert network.places["s"] == 1


@pytest.mark.parametrize("line", ["conv(3x3, 4) as input", "stage input { conv(3x3, 4) }"])
def test_input_is_no_name_of_a_place(line: str) -> None:
    assert codes(line) == ["R0221"]


def test_a_label_in_a_repetition_says_that_each_round_gives_it() -> None:
    (diagnostic,) = check("2 x { conv(3x3, 4) as early -> relu -> add(early) }").diagnostics
    assert not diagnostic.secondary
    assert "each round of the repetition" in diagnostic.hints[0]


def test_labels_of_a_block_that_is_a_shortcut_are_its_own() -> None:
    block = "block proj { conv(1x1, filters, stride = stride) as p -> relu -> add(p) }"
    sound("2 x { residual(shortcut = proj) { conv(3x3, 8) } }", before=block)


def test_input_is_the_beginning_of_the_block_that_is_a_part_or_a_shortcut() -> None:
    block = "block mine { conv(3x3, channels) -> add(input) }"
    network = sound("stem { conv(3x3, 3) -> relu }", "head { mine }", before=block)
    assert network.nodes[-1].inputs == (2, 1)
    same = "shortcut own { conv(3x3, filters) -> relu as r -> conv(3x3, filters) -> add(r) -> add(input) }"
    sound("conv(3x3, 6)", "2 x { residual(shortcut = own) { relu } }", before=same)


def test_same_map_holds_for_vectors() -> None:
    block = "block b { residual { linear(filters) -> relu } }"
    sound("rules { same map -> same filters }", "stage s { 3 x b }", before=block, takes="64")


def test_a_block_may_call_another_with_filters_of_its_own() -> None:
    block = "block mix { basic(filters = 4, shortcut = C) -> conv(1x1, filters) }"
    sound(RULES, "stem { conv(3x3, 8) }", "stage s { mix }", before=block)
    assert codes(RULES, "stem { conv(3x3, 8) }", "stage s { basic(filters = 4, shortcut = C) }") == ["R0403"]


def test_arguments_of_a_block_given_as_a_value_stay_when_it_gets_more() -> None:
    network = sound(
        "stage s, filters 8, shortcut B { two(body = wide(expansion = 2)) }",
        before="block two(body) { one(b = body(groups = 2)) }\nblock one(b) { b }\n"
        "block wide(expansion = 4, groups = 1) { conv(3x3, filters * expansion) -> group_norm(groups) }",
    )
    assert network.shape[0] == 16


@pytest.mark.parametrize("pair", ["[p, p]", "relu(p, p)"])
def test_values_that_double_with_every_block_are_refused_at_once(pair: str) -> None:
    blocks = "".join(f"block b{i}(p) {{ b{i + 1}(p = {pair}) }}\n" for i in range(60))
    start = time.perf_counter()
    assert codes("b0(p = 1)", before=f"{blocks}block b60(p) {{ relu }}") == ["R0208"]
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("end", ["residual { conv(3x3, 4) }", "stage s, filters 4 { basic }"])
def test_a_map_of_one_value_can_be_strided_a_thousand_times(end: str) -> None:
    sound("3000 x conv(3x3, 4, stride = 2)", end)


@pytest.mark.parametrize("text", ["n = 1) ; network b = c(", "n = 1) { relu } #"])
def test_arguments_of_the_command_line_hold_no_other_definitions(text: str) -> None:
    source = SourceFile("t.res", "network m(n = 1) {\n input 3 x 8 x 8\n conv(3x3, n)\n}\n")
    with pytest.raises(CompileError) as caught:
        compile_network(source, arguments=text)
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["R0101"]


def test_settings_of_the_command_line_hold_no_other_definitions() -> None:
    text = "network m {\n input 3 x 8 x 8\n conv(3x3, 4)\n}\ntrain { data digits; batch 8; iterations 10 }\n"
    with pytest.raises(CompileError) as caught:
        compile_network(SourceFile("t.res", text), settings=["batch 4 }\ntrain { batch 5"])
    assert "R0101" in [diagnostic.code for diagnostic in caught.value.diagnostics]


def test_the_hash_is_that_of_the_meaning() -> None:
    one = sound("conv(3x3, 4) -> relu")
    two = sound("conv(3x3, 4)   # a comment", "relu")
    assert meaning_hash(lower_network(one)) == meaning_hash(lower_network(two))


def test_steps_between_parts_are_counted_once_each() -> None:
    network = sound("conv(1x1, 4)", "stage a { relu }", "conv(1x1, 5)", "stage b { relu }", "conv(1x1, 6)")
    stages = summarize(lower_network(network))["stages"]
    assert [stage["parameters"] for stage in stages] == [16, 0, 25, 0, 36]


@pytest.mark.parametrize(
    ("lines", "before", "expected"),
    [
        (("60000 x conv(3x3, 4, stride = 2)",), "", ["R0207"]),
        (("9000 x conv(3x3, 4, padding = 0)",), "", []),
        (
            ("b0",),
            "".join(f"block b{i} {{ b{i + 1} -> b{i + 1} }}\n" for i in range(70)) + "block b70 { identity }",
            ["R0004"],
        ),
    ],
)
def test_nothing_takes_long(lines: tuple[str, ...], before: str, expected: list[str]) -> None:
    start = time.perf_counter()
    result = check("relu", *lines, before=before, takes="3 x H x W")
    assert [diagnostic.code for diagnostic in result.diagnostics] == expected
    for network in result.networks:
        summarize(lower_network(network))
    assert time.perf_counter() - start < 8


def test_thousands_of_unknown_places_are_reported_soon() -> None:
    start = time.perf_counter()
    assert codes(*[f"relu as a{i} -> add(b{i})" for i in range(3000)])[:2] == ["R0214", "R0214"]
    assert time.perf_counter() - start < 15
