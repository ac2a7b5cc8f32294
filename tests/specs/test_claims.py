"""`require` and `published`: what a spec asks of its arguments, and what it tells of a paper."""

from __future__ import annotations

from resdsl.compiler import CheckResult, check_source, compile_network
from resdsl.source import SourceFile

BASE = """
network base(size = 64, k = 8) {
  require size >= 32, "larger"
  input 3 x size x size
  require width > 16
  conv(3x3, k) -> relu

  published { paper "somebody 2015"; top1_error 5% }
}
"""


def checked(text: str) -> CheckResult:
    return check_source(SourceFile("claims.res", text))


def codes(text: str) -> list[str]:
    return [diagnostic.code for diagnostic in checked(text).diagnostics]


def test_a_requirement_sees_parameters_and_the_place() -> None:
    assert not codes(BASE.replace("width > 16", "height == size and channels == 3"))
    assert codes(BASE.replace("width > 16", "height == sise")) == ["R0201"]
    assert codes(BASE.replace("width > 16", "channels == 4")) == ["R0505"]


def test_a_requirement_holds_in_variants_and_for_arguments() -> None:
    base = BASE.replace("  require width > 16\n", "")
    assert codes(base + "network small = base(size = 31)") == ["R0505"]
    assert codes(base + "network more = base { require k > 8 }") == ["R0505"]
    assert not codes(base + "network more = base(k = 9) { require k > 8 and size == 64 }")
    result = checked(base + "network small = base(size = 31)").diagnostics[0]
    assert "larger" in result.hints


def test_a_requirement_of_a_block_is_checked_at_every_call() -> None:
    text = "block b(k) { require k % 2 == 0; conv(3x3, k) }\nnetwork n { input 3 x 8 x 8; b(2) -> b(3) -> b(5) }"
    (found,) = checked(text).diagnostics
    assert found.code == "R0505"
    assert found.primary.text == "k is 3"


def test_a_requirement_is_a_condition() -> None:
    assert codes("block b(k) { require k + 1; conv(3x3, k) }\nnetwork n { input 3 x 8 x 8; b(2) }") == ["R0205"]
    assert codes("block unused(k) { require m > 1 }\nnetwork n { input 3 x 8 x 8; relu }") == ["R0201"]


def test_published_is_of_the_network_itself() -> None:
    source = SourceFile("claims.res", BASE.replace("  require width > 16\n", "") + "network other = base(k = 9)")
    own = compile_network(source, "base").summary()["published"]
    assert own == {"paper": "somebody 2015", "top1_error": 0.05}
    assert compile_network(source, "other").summary()["published"] is None
    assert compile_network(source, "base", arguments="k = 9").summary()["published"] is None


def test_published_is_checked() -> None:
    def fault(facts: str) -> list[str]:
        return codes(f"network n {{ input 3 x 8 x 8; relu; published {{ {facts} }} }}")

    assert not fault('paper "p"; data "d"; top1_error 0.1; top5_error 1%; note "n"')
    assert fault("top1_error 5%") == ["R0507"]
    assert fault('paper "p"; top1_error 23') == ["R0205"]
    assert fault("paper 3") == ["R0205"]
    assert fault('paper "p"; paper "q"') == ["R0408"]
    assert fault('paper "p"; top_1_error 5%') == ["R0506"]
    assert fault('paper "p" }; published { paper "q"') == ["R0408"]
    assert codes('block b { published { paper "p" } }\nnetwork n { input 3 x 8 x 8; b }') == ["R0407"]
