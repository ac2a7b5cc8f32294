"""Networks for another task: the language, Python and the texts given there make one and the same variant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import resdsl
from resdsl.compiler import compile_network
from resdsl.emit.torch_proof import prove_on_meta
from resdsl.source import SourceFile

SPECS = Path(__file__).parents[2] / "specs"
VARIANT = """use "resnet34.res"

network resnet34_small = resnet34(classes = 7) {
  input 1 x 32 x 32
  rules { output stride 4 }
  stem { cifar_stem }
  head { global_max_pool -> linear(classes) }
}
"""
STAGE_ONLY = """network lone {
  input 3 x 8 x 8
  stage one, filters 3 { conv(3x3, filters) -> relu }
}
"""


@pytest.fixture(scope="module")
def net() -> resdsl.Net:
    return resdsl.load(SPECS / "resnet34.res")


def codes(make: Callable[[], object]) -> list[tuple[str, str]]:
    """What is reported, each code with its place."""
    with pytest.raises(resdsl.CompileError) as caught:
        make()
    return [(found.code, found.primary.span.place()) for found in caught.value.diagnostics]


def test_python_and_the_language_say_the_same(net: resdsl.Net) -> None:
    stated = compile_network(SourceFile("small.res", VARIANT))
    head = "global_max_pool -> linear(classes)"
    made = net.retarget(input=(1, 32, 32), stem="cifar_stem", head=head, output_stride=4, classes=7)
    assert made.hash == stated.hash
    assert made.name == "resnet34"
    assert made.summary()["stride"] == 4


def test_changes_add_up_and_later_ones_count(net: resdsl.Net) -> None:
    first = net.retarget(head="avg", output_stride=16, option="A")
    second = first.retarget(head="none", input="3 x H x H")
    assert second.hash == net.retarget(input="3 x H x H", head="none", output_stride=16, option="A").hash
    assert first.retarget(option="B", output_stride=32, head="avg").hash == net.retarget(head="avg").hash
    assert net.retarget().hash == net.hash


@pytest.mark.parametrize(("head", "shape"), [("none", (512, 7, 7)), ("avg", (512,)), ("max", (512,))])
def test_heads(net: resdsl.Net, head: str, shape: tuple[int, ...]) -> None:
    made = net.retarget(head=head)
    assert made.output_shape == shape
    assert made.to_torch().eval()(torch.zeros(1, 3, 224, 224)).shape == (1, *shape)
    assert "def forward" in made.to_source()
    assert "digraph" in made.to_dot()


@pytest.mark.parametrize(("stem", "depth"), [("imagenet_stem", 34), ("cifar_stem", 34), ("deep_stem(width = 64)", 36)])
def test_stems(net: resdsl.Net, stem: str, depth: int) -> None:
    made = net.retarget(stem=stem)
    assert made.depth == depth
    assert made.stages[0]["output"][0] == 64
    assert (made.hash == net.hash) == (stem == "imagenet_stem")


def test_names_of_weights_stay(net: resdsl.Net) -> None:
    dense = net.retarget(output_stride=8)
    assert dense.to_torch().state_dict().keys() == net.to_torch().state_dict().keys()
    assert dense.parameters == net.parameters
    assert dense.macs > net.macs
    prove_on_meta(dense.retarget(input="3 x H x W").flat)


def test_average_pools_and_subsampling_are_emitted() -> None:
    for spec, network in (("resnet50_d.res", "resnet50_d"), ("resnet34.res", "resnet34")):
        made = resdsl.load(SPECS / spec, network, option="A" if network == "resnet34" else "average_down")
        dense = made.retarget(output_stride=8, input=(3, 65, 64))
        namespace: dict[str, object] = {"__name__": "emitted"}
        exec(compile(dense.to_source(), "emitted.py", "exec"), namespace)
        classes = [found for name, found in namespace.items() if name.lower() == network.replace("_", "")]
        assert isinstance(classes[0], type)
        emitted, module = classes[0]().eval(), dense.to_torch().eval()
        emitted.load_state_dict(module.state_dict())
        x = torch.randn(1, 3, 65, 64)
        with torch.no_grad():
            assert torch.equal(emitted(x), module(x))


@pytest.mark.parametrize(
    ("changes", "code", "place"),
    [
        ({"head": "drpout(0.2) -> relu"}, "R0202", "head=:1:1"),
        ({"head": "relu } stage x { relu"}, "R0101", "head=:1:6"),
        ({"head": "relu\n}\nnetwork b { relu"}, "R0101", "head=:2:1"),
        ({"head": "linear(10"}, "R0103", "head=:1:9"),
        ({"stem": "residual { relu"}, "R0103", "stem=:1:15"),
        ({"stem": "stage x { relu }"}, "R0407", "stem=:1:1"),
        ({"input": "3 x 32 x 32; relu"}, "R0101", "input=:1:14"),
        ({"input": "3 x 32"}, "R0405", "input=:1:1"),
        ({"input": ""}, "R0103", "input=:1:1"),
        ({"output_stride": 0}, "R0207", "output_stride=:1:1"),
        ({"classses": 3}, "R0203", "arguments:1:15"),
    ],
)
def test_mistakes_point_at_what_was_given(
    net: resdsl.Net, changes: dict[str, str | int], code: str, place: str
) -> None:
    assert codes(lambda: net.retarget(**changes)) == [(code, place)]  # type: ignore[arg-type]


def test_a_comment_does_not_swallow_what_is_behind(net: resdsl.Net) -> None:
    assert net.retarget(head="relu # } {").output_shape == (512, 7, 7)


def test_parts_that_are_not_there() -> None:
    lone = compile_network(SourceFile("lone.res", STAGE_ONLY))
    with pytest.raises(resdsl.CompileError) as caught:
        lone.retarget(stem="cifar_stem", head="avg")
    assert [found.code for found in caught.value.diagnostics] == ["R0410", "R0410"]
    assert all(found.secondary[0].text == "`lone` has `one`" for found in caught.value.diagnostics)


def test_other_types_are_refused(net: resdsl.Net) -> None:
    for changes in ({"output_stride": "8"}, {"output_stride": True}, {"head": 3}):
        with pytest.raises(TypeError):
            net.retarget(**changes)


def test_claims_of_the_base_do_not_hold_for_changed_parts() -> None:
    spec = resdsl.load(SPECS / "families" / "resnet_cifar.res")
    assert spec.retarget(input=(3, 64, 64), output_stride=2).summary()["stride"] == 2


def test_classes_of_torch_behind_the_limit() -> None:
    text = "network n {{ input 3 x 16 x 16; rules {{ output stride 1 }}\n conv(3x3, 4, stride = 2) -> {} }}"
    made = compile_network(SourceFile("n.res", text.format("nn.GELU -> nn.InstanceNorm2d(4)")))
    assert made.output_shape == (4, 16, 16)
    for layer in ("nn.MaxPool2d(3, 1, 1)", "nn.Conv2d(4, 4, 3)"):
        assert codes(lambda: compile_network(SourceFile("n.res", text.format(layer))))[0][0] == "R0318"  # noqa: B023


def test_a_limit_of_none_changes_nothing() -> None:
    text = STAGE_ONLY.replace("{\n  input", "{\n  rules { output stride at }\n  input").replace(
        "lone", "lone(at = none)"
    )
    plain, limited = (compile_network(SourceFile("lone.res", found)) for found in (STAGE_ONLY, text))
    assert plain.hash == limited.hash
    assert compile_network(SourceFile("lone.res", text), arguments="at = 4").hash == plain.hash
    assert codes(lambda: compile_network(SourceFile("lone.res", text), arguments="at = 1.5"))[0][0] == "R0205"


def test_words_of_the_rule_stay_names() -> None:
    text = "network n(output = 8, stride = 2) { input 3 x 8 x 8\n rules { output stride stride }\n conv(3x3, output) }"
    assert compile_network(SourceFile("n.res", text)).output_shape == (8, 8, 8)
