"""Every spec that comes with resdsl is sound, and has the numbers of the papers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import resdsl
from resdsl.cli.main import main
from resdsl.net import Net

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"
FILES = sorted(SPECS.rglob("*.res"))
CIFAR = SPECS / "families" / "resnet_cifar.res"
IMAGENET = SPECS / "families" / "resnet.res"
V15 = {"stride_on_3x3": True}


def name_of(path: Path) -> str:
    return path.relative_to(SPECS).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_it_checks(path: Path) -> None:
    """Without a diagnostic: with it all that the spec claims of itself holds."""
    assert resdsl.check_file(str(path)).diagnostics == ()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_it_is_laid_out(path: Path) -> None:
    assert main(["fmt", "--check", str(path)]) == 0


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_its_networks_are_proved(path: Path) -> None:
    from resdsl.emit.torch_proof import prove_on_meta
    from resdsl.ir.graph import verify_graph
    from resdsl.ir.lower import lower_network

    for network in resdsl.check_file(str(path)).networks:
        graph = lower_network(network)
        verify_graph(graph)
        prove_on_meta(graph)


@pytest.mark.parametrize("path", [path for path in FILES if "train" in path.read_text()], ids=name_of)
def test_its_recipe_is_found(path: Path) -> None:
    assert resdsl.load(path).recipe is not None


# --- the numbers of He et al. 2015, section 4.2 and Table 6 ---------------------------------------------------------

CIFAR_DEPTHS = {20: 3, 32: 5, 44: 7, 56: 9, 110: 18, 1202: 200}
CIFAR_PARAMETERS = {  # option A, B, C
    20: (269_722, 272_474, 283_962),
    32: (464_154, 466_906, 489_594),
    44: (658_586, 661_338, 695_226),
    56: (853_018, 855_770, 900_858),
    110: (1_727_962, 1_730_714, 1_826_202),
    1202: (19_421_274, 19_424_026, 20_538_714),
}
CIFAR_BUFFERS = {20: 1_376, 32: 2_272, 44: 3_168, 56: 4_064, 110: 8_096, 1202: 89_632}


def cifar(n: int, option: str) -> Net:
    return resdsl.load(CIFAR, n=n, option=option)


@pytest.mark.parametrize(("depth", "n"), CIFAR_DEPTHS.items())
def test_cifar_families(depth: int, n: int) -> None:
    a, b, c = (cifar(n, option) for option in "ABC")
    assert a.depth == b.depth == c.depth == depth
    assert (a.parameters, b.parameters, c.parameters) == CIFAR_PARAMETERS[depth]
    assert a.macs == 14_155_776 * n - 1_916_288
    assert b.macs == a.macs + 262_144
    assert a.summary()["activations"] == 57_344 * n + 16_384 + 10
    assert a.summary()["buffers"] == CIFAR_BUFFERS[depth]


def test_plain_nets_cost_what_option_a_costs() -> None:
    plain, padded = cifar(9, "none"), cifar(9, "A")
    assert (plain.parameters, plain.macs) == (padded.parameters, padded.macs) == (853_018, 125_485_696)


def test_cifar_100_head() -> None:
    assert resdsl.load(CIFAR, n=3, classes=100).parameters == 269_722 + 5_850


# --- the numbers of He et al. 2015, Table 1 -------------------------------------------------------------------------

BLOCKS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
IMAGENET_PARAMETERS = {  # option A, B, C
    18: (11_515_688, 11_689_512, 12_043_816),
    34: (21_623_848, 21_797_672, 22_716_840),
    50: (22_780_456, 25_557_032, 40_128_552),
    101: (41_772_584, 44_549_160, 76_981_288),
    152: (57_416_232, 60_192_808, 107_335_720),
}
IMAGENET_MACS = {
    (18, "A"): 1_794_805_760, (18, "B"): 1_814_073_344, (18, "C"): 1_878_298_624,
    (34, "A"): 3_644_493_824, (34, "B"): 3_663_761_408, (34, "C"): 3_830_747_136,
    (50, "A"): 3_498_311_680, (50, "B"): 3_857_973_248, (50, "C"): 6_324_224_000,
    (101, "B"): 7_570_194_432, (152, "B"): 11_282_415_616,
}  # fmt: skip
V15_MACS = {
    (50, "A"): 3_729_522_688, (50, "B"): 4_089_184_256, (50, "C"): 6_555_435_008,
    (101, "B"): 7_801_405_440, (152, "B"): 11_513_626_624,
}  # fmt: skip
IMAGENET_BUFFERS = {18: 9_600, 34: 17_024, 50: 53_120, 101: 105_344, 152: 151_424}


def imagenet(depth: int, option: str, block: str = "") -> Net:
    """A net of the family; blocks with arguments are values of the language, so this goes through its text."""
    from resdsl.compiler import compile_network, open_source

    block = block or ("basic" if depth < 50 else "bottleneck")
    arguments = f"block = {block}, blocks = {BLOCKS[depth]}, option = {option}"
    return compile_network(open_source(str(IMAGENET)), arguments=arguments)


@pytest.mark.parametrize("depth", BLOCKS)
def test_imagenet_parameters(depth: int) -> None:
    nets = [imagenet(depth, option) for option in "ABC"]
    assert [net.depth for net in nets] == [depth] * 3
    assert tuple(net.parameters for net in nets) == IMAGENET_PARAMETERS[depth]
    assert nets[1].summary()["buffers"] == IMAGENET_BUFFERS[depth]


@pytest.mark.parametrize(("depth", "option"), IMAGENET_MACS)
def test_imagenet_multiply_adds(depth: int, option: str) -> None:
    assert imagenet(depth, option).macs == IMAGENET_MACS[depth, option]


@pytest.mark.parametrize(("depth", "option"), V15_MACS)
def test_imagenet_multiply_adds_of_v15(depth: int, option: str) -> None:
    net = imagenet(depth, option, "bottleneck(stride_on_3x3 = true)")
    assert net.macs == V15_MACS[depth, option]
    assert net.parameters == IMAGENET_PARAMETERS[depth]["ABC".index(option)]


@pytest.mark.parametrize("depth", [18, 34])
def test_plain_imagenet_nets(depth: int) -> None:
    net = imagenet(depth, "none")
    assert (net.parameters, net.macs) == (IMAGENET_PARAMETERS[depth][0], IMAGENET_MACS[depth, "A"])


def test_resnext_50_32x4d() -> None:
    text = "bottleneck(stride_on_3x3 = true, groups = 32, width = 2 * filters)"
    with pytest.raises(resdsl.CompileError, match="R0215"):
        imagenet(50, "B", text)  # `filters` has no value where the network is called: in a block it has
    from resdsl.compiler import compile_network
    from resdsl.source import SourceFile

    wrapped = f"block resnext {{ {text} }}\nnetwork resnext50 = resnet(block = resnext, blocks = [3, 4, 6, 3])\n"
    net = compile_network(SourceFile("resnext.res", f'use "families/resnet.res"\n{wrapped}'), roots=[str(SPECS)])
    assert (net.parameters, net.macs) == (25_028_904, 4_230_479_872)


@pytest.mark.parametrize(
    ("side", "receptive_field", "sizes"), [(224, 899, [56, 28, 14, 7]), (225, 899, [57, 29, 15, 8])]
)
def test_table_1_of_the_paper(side: int, receptive_field: int, sizes: list[int]) -> None:
    from resdsl.compiler import compile_network
    from resdsl.source import SourceFile

    text = f'use "families/resnet.res"\nnetwork n = resnet(blocks = [3, 4, 6, 3]) {{ input 3 x {side} x {side} }}\n'
    net = compile_network(SourceFile("n.res", text), roots=[str(SPECS)])
    assert [stage["output"][1] for stage in net.stages[1:5]] == sizes
    assert [stage["blocks"] for stage in net.stages] == [0, 3, 4, 6, 3, 0]
    summary = net.summary()
    assert (summary["stride"], summary["receptive_field"]) == (32, receptive_field)
    assert summary["minimum_input"] == [3, 1, 1]
    with torch.device("meta"):
        assert net.to_torch()(torch.empty(2, 3, side, side)).shape == (2, 1000)
