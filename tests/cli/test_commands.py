"""The commands from end to end: exit codes, what they print and write, and what nasty input does to them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch

from resdsl.cli.main import main

ROOT = Path(__file__).parents[2]
RESNET34 = str(ROOT / "specs" / "resnet34.res")
GOOD = """network tiny(width = 8) {
  input 3 x 16 x 16
  conv(3x3, width) -> bn -> relu
  global_avg_pool -> linear(4)
}

network wide = tiny(width = 16)
"""
FAULTY = """network tiny {
  input 3 x 16 x 16
  conv(3x3, widht) -> bn -> relo
  linear(4)
}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.res").write_text(GOOD)
    (tmp_path / "faulty.res").write_text(FAULTY)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["--color", "never", *arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return code, captured.out, captured.err


# --- which network, and what is changed in it ------------------------------------------------------------------------


def test_changes_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("--input", "1x48x48", "--stem", "cifar_stem", "--head", "avg", "--output-stride", "4")
    code, out, _ = run(capsys, "summary", RESNET34, "--json", *changes)
    summary = json.loads(out)
    assert code == 0
    assert (summary["network"], summary["input"], summary["output"]) == ("resnet34", [1, 48, 48], [512])
    assert (summary["stride"], summary["stages"][-2]["output"]) == (4, [512, 12, 12])


def test_changes_are_compiled_and_drawn_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = run(capsys, "compile", RESNET34, "--head", "none", "--output-stride", "16", "--draw", "--out", "out")
    assert code == 0
    assert json.loads((here / "out" / "summary.json").read_text())["output"] == [512, 14, 14]
    drawn = (here / "out" / "resnet34.gv").read_text()
    assert "dilation 2" in drawn
    assert "plain34" not in drawn


@pytest.mark.parametrize(
    ("option", "text", "shown"),
    [
        ("--head", "linear(10", "--head:1:9"),
        ("--head", "relu } stage x { relu", "--head:1:6"),
        ("--stem", "conv(3x3, 64) -> bnn", "--stem:1:18"),
        ("--input", "3 x 32", "--input:1:1"),
        ("--output-stride", "0", "--output-stride:1:1"),
    ],
)
def test_mistakes_in_changes(capsys: pytest.CaptureFixture[str], option: str, text: str, shown: str) -> None:
    code, out, err = run(capsys, "summary", RESNET34, option, text)
    assert (code, out) == (1, "")
    assert f"--> {shown}\n" in err


def test_changes_of_what_is_not_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "summary", "tiny.res", "--head", "avg")
    assert code == 1
    assert "`tiny` has no part `head` to replace" in err
    assert "`tiny` has no parts" in err
    assert run(capsys, "summary", "tiny.res", "--output-stride", "eight")[0] == 2


# --- check ---------------------------------------------------------------------------------------------------------


def test_check_of_a_sound_spec(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check", "tiny.res") == (0, "ok: 2 networks\n", "")
    assert run(capsys, "check", "-q", "tiny.res") == (0, "", "")


def test_check_reports_all_faults(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check", "faulty.res", "tiny.res")
    assert code == 1
    shown = out + err
    assert "error[R0201]" in shown
    assert "error[R0202]" in shown
    assert "did you mean `relu`?" in shown


def test_check_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", "--format", "json", "faulty.res")
    assert code == 1
    found = json.loads(out)["diagnostics"]
    assert [fault["code"] for fault in found] == ["R0201", "R0202"]
    assert {"code", "severity", "message", "related", "hints"} <= found[0].keys()
    assert json.loads(run(capsys, "check", "--format", "json", "tiny.res")[1]) == {"diagnostics": []}


def test_check_of_folders(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "nets" / "deep").mkdir(parents=True)
    (here / "nets" / "a.res").write_text(GOOD)
    (here / "nets" / "deep" / "b.res").write_text(GOOD)
    (here / "nets" / "no_spec.txt").write_text("not a spec")
    assert run(capsys, "check", "nets") == (0, "ok: 4 networks in 2 files\n", "")
    (here / "nets" / "deep" / "c.res").write_text(FAULTY)
    code, out, err = run(capsys, "check", "nets")
    assert code == 1
    assert "nets/deep/c.res:3:13" in out + err


@pytest.mark.parametrize("command", ["check", "summary", "compile", "train"])
@pytest.mark.parametrize("name", ["missing.res", "folder.res", "bytes.res", "empty.res"])
def test_what_cannot_be_read(here: Path, command: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "folder.res").mkdir()
    (here / "bytes.res").write_bytes(b"network \xff\xfe {}")
    (here / "empty.res").write_text("")
    code, out, err = run(capsys, command, name)
    if command == "check" and name in ("folder.res", "empty.res"):
        assert code == 0
    else:
        assert code == 1
        assert "error" in err + out
        assert name in err + out
    assert not (here / "build").exists()
    assert not (here / "runs").exists()


# --- summary -------------------------------------------------------------------------------------------------------


def test_summary_shows_table_1_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "summary", RESNET34)
    assert code == 0
    for words in ("conv2", "56 x 56", "21,797,672", "3,663,761,408", "[3x3 conv, 64; 3x3 conv, 64] x 3"):
        assert words in out.replace("×", "x"), words


def test_summary_of_one_network_with_arguments(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def parameters(*arguments: str) -> int:
        code, out, _ = run(capsys, "summary", "tiny.res", "--json", *arguments)
        assert code == 0
        count: int = json.loads(out)["parameters"]
        return count

    def expected(width: int) -> int:
        return 27 * width + 2 * width + 4 * width + 4

    assert parameters() == expected(8)
    assert parameters("--network", "wide") == expected(16)
    assert parameters("--set", "width=32") == expected(32)
    assert parameters("--network", "tiny", "--set", "width = 5") == expected(5)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--set", "witdh=3"], "R0203", "did you mean `width`?"),
        (["--set", "width=filters"], "R0215", "has no value"),
        (["--set", "width=nobody"], "R0201", "nobody"),
        (["--set", "width=(3"], "R01", ""),
        (["--set", "width=1) } network x { ("], "R01", ""),
        (["--set", "width=0"], "R0207", ""),
        (["--set", "width=10**9"], "R01", ""),
        (["--network", "tinny"], "R0416", "did you mean `tiny`?"),
    ],
)
def test_wrong_arguments(
    here: Path, arguments: list[str], code: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code, out, err = run(capsys, "summary", "tiny.res", *arguments)
    assert exit_code == 1
    assert f"error[{code}" in out + err
    assert words in out + err


@pytest.mark.parametrize("text", ["width", "=3", "width=", "3=width", ""])
def test_set_takes_name_and_value(here: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    exit_code, out, err = run(capsys, "summary", "tiny.res", "--set", text)
    assert exit_code == 2
    assert "write NAME=VALUE" in out + err


def test_numbers_survive_a_narrow_terminal(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    exit_code, out, _ = run(capsys, "--color", "always", "summary", str(ROOT / "specs" / "resnet34.res"))
    assert exit_code == 0
    assert "…" not in out
    assert "3,663,761,408" in out


# --- compile -------------------------------------------------------------------------------------------------------


def test_compile_writes_a_model_that_stands_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "compile", "tiny.res")
    assert code == 0
    folder = here / "build" / "tiny"
    assert {path.name for path in folder.iterdir()} == {"model.py", "summary.json"}
    assert "build/tiny/model.py" in out
    assert json.loads((folder / "summary.json").read_text())["network"] == "tiny"
    compile((folder / "model.py").read_text(), "model.py", "exec")


def test_compile_elsewhere_and_otherwise(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "compile", "tiny.res", "--network", "wide", "--out", "some/where")[0] == 0
    assert json.loads((here / "some" / "where" / "summary.json").read_text())["network"] == "wide"
    assert run(capsys, "compile", "tiny.res", "--set", "width=3")[0] == 0
    assert json.loads((here / "build" / "tiny" / "summary.json").read_text())["parameters"] == 27 * 3 + 6 + 16


def test_a_failing_compile_destroys_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "compile", "tiny.res")[0] == 0
    folder = here / "build" / "tiny"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (here / "tiny.res").write_text(FAULTY)
    code, out, err = run(capsys, "compile", "tiny.res")
    assert code == 1
    assert "error[R0201]" in out + err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_compile_into_what_is_no_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "taken").write_text("mine")
    code, _, err = run(capsys, "compile", "tiny.res", "--out", "taken")
    assert code == 1
    assert err.startswith("error: taken")
    assert (here / "taken").read_text() == "mine"


@pytest.mark.parametrize("level", ["stage", "block", "layer"])
def test_compile_draws(here: Path, level: str, dot: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "compile", "tiny.res", "--draw", "--level", level)[0] == 0
    folder = here / "build" / "tiny"
    assert (folder / "tiny.svg").read_text().lstrip().startswith("<?xml")
    assert "tiny.gv" in os.listdir(folder)


# --- explain and train ---------------------------------------------------------------------------------------------


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "r0301")
    assert code == 0
    assert out.startswith("R0301: ")
    assert "Wrong:" in out
    assert "Right:" in out
    code, _, err = run(capsys, "explain", "R9999")
    assert code == 1
    assert "there is no diagnostic R9999" in err
    code, out, _ = run(capsys, "explain")
    assert code == 0
    assert "R0301" in out


def test_train_from_spec_to_checkpoint(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    spec = GOOD.replace("3 x 16 x 16", "1 x 8 x 8").replace("linear(4)", "linear(10)")
    recipe = "\ntrain tiny {\n  data digits(size = 8)\n  batch 64\n  optimizer sgd(lr = 0.1)\n  epochs 5\n}\n"
    (here / "tiny.res").write_text(spec + recipe)
    code, out, err = run(capsys, "train", "tiny.res", "--iterations", "3", "--out", "run", "--device", "cpu")
    assert code == 0, err
    assert "after 3 iterations" in out
    checkpoints = sorted(path for path in (here / "run").iterdir() if path.suffix == ".pt")
    assert [path.name for path in checkpoints] == ["checkpoint-previous.pt", "checkpoint.pt"]
    for checkpoint in checkpoints:
        torch.load(checkpoint, weights_only=True)


def test_train_without_a_recipe(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "train", "tiny.res")
    assert code == 1
    assert "has no recipe" in err


# --- nasty input ---------------------------------------------------------------------------------------------------


def network(*lines: str, size: str = "3 x 32 x 32") -> str:
    return "\n".join(["network n {", f"input {size}", *lines, "}"]) + "\n"


DEEP = 1_000_000
STAGE = "stage s, filters 8, shortcut B {{ {} }}"
NASTY = {
    "a billion blocks": network(STAGE.format("1000000000 x basic")),
    "a billion different blocks": network("1000000000 x { conv(1x1, 3 + index) }"),
    "a billion rounds of nothing": network("(10 * 100M) x { if false { relu } }"),
    "blocks that double sixty times": "".join(
        f"block b{number} {{ b{number + 1} -> b{number + 1} }}\n" for number in range(60)
    )
    + "block b60 { relu }\n"
    + network("b0"),
    "different blocks that double": "".join(
        f"block b{number}(k) {{ b{number + 1}(2 * k) -> b{number + 1}(2 * k + 1) }}\n" for number in range(60)
    )
    + "block b60(k) { scale(k) }\n"
    + network("b0(1)"),
    "a block that calls itself": "block b { conv(3x3, 3) -> b }\n" + network("b"),
    "two blocks that call one another": "block a { b }\nblock b(k = 1) { a -> b(k + 1) }\n" + network("a"),
    "a network that is its own variant": "network n = m\nnetwork m = n\n",
    "deep (": network(f"conv(3x3, {'(' * DEEP}8{')' * DEEP})"),
    "deep ( without an end": "network n { conv" + "(" * DEEP,
    "deep {": network("residual { " * DEEP + "relu" + " }" * DEEP),
    "deep if": network("if true { " * 100_000 + "relu" + " }" * 100_000),
    "deep else if": network("if false { relu } else " * 100_000 + "if true { relu }"),
    "deep not": network(f"if {'not ' * DEEP}true {{ relu }}"),
    "deep -": network(f"conv(3x3, {'-' * DEEP}8)"),
    "deep [": network(f"conv(3x3, {'[' * DEEP}8{']' * DEEP})"),
    "a long sum": network(f"conv(3x3, {'1 + ' * 200_000}1)"),
    "a long chain": network(" -> ".join(["conv(3x3, 2147483647)"] * 50)),
    "a huge number": network(f"conv(3x3, {'9' * 100_000})"),
    "a huge exponent": network("conv(3x3, 1e999999999)"),
    "numbers that grow": network(f"conv(3x3, {' * '.join(['4000000000'] * 400)})"),
    "an enormous kernel": network("conv(1000000000x1000000000, 8)"),
    "a map that grows": network("100 x { upsample(1000) }", size="3 x S x S"),
    "an enormous window": network("max_pool(1000000000, stride = 1, padding = 0)", size="3 x S x S"),
    "an enormous input": network("conv(3x3, 8)", size="3 x 1000000000000 x 1000000000000"),
    "an enormous class of torch": network("nn.Conv2d(3, 1000000000, 3)"),
    "NUL": "network n {\0 input 3 x 8 x 8 }\0",
    "five megabytes of a comment without a network": "#" * 5_000_000,
    "five megabytes of steps": network("relu -> " * 620_000 + "relu"),
    "names of Python": network("__class__ -> __init__(3) -> eval -> import"),
    "words of the language as names": "network network { input input\nstage stage { if } }\n",
    "a string that never ends": 'use "' + "a" * 1_000_000,
    "a path out of the roots": 'use "../../../../etc/passwd"\n' + network("relu"),
    "a device": 'use "/dev/zero"\n' + network("relu"),
    "every sign": "".join(map(chr, range(1, 1_000))) * 20,
    "half a surrogate": "network n { \N{PILE OF POO} }",
}  # fmt: skip
SECONDS = 5.0


@pytest.mark.parametrize("kind", NASTY)
def test_nasty_input(here: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "nasty.res").write_text(NASTY[kind], encoding="utf-8")
    begin = time.process_time()
    code, out, err = run(capsys, "check", "nasty.res")
    assert time.process_time() - begin < SECONDS
    if kind == "five megabytes of a comment without a network":
        assert code in (0, 1)
        return
    assert code == 1, err
    assert "error[R" in out + err
    assert len(out + err) < 100_000
