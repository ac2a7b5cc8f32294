"""Whatever the text: networks or diagnostics, soon, and never another exception."""

from __future__ import annotations

import re
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resdsl.compiler import check_source
from resdsl.render import render_all
from resdsl.source import SourceFile

ROOT = Path(__file__).parents[2]
SPECS = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "specs").rglob("*.res"))]
CASES = [path.read_text(encoding="utf-8", errors="replace") for path in sorted((ROOT / "tests/cases").rglob("*.res"))]
# Classes of torch.nn would load torch, which says nothing about texts.
TEXTS = [text for text in (*SPECS, *CASES) if "nn." not in text and len(text) < 10_000]
TOKENS = sorted({token for text in TEXTS for token in re.findall(r"\w+|->|\S", text)} - {"nn"})
PIECES = re.compile(r"\w+|->|[^\w\s]|\s+")
LONGEST = 5.0  # seconds

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


def check(text: str) -> None:
    start = time.perf_counter()
    result = check_source(SourceFile("fuzz.res", text))
    shown = render_all(result.diagnostics)
    assert time.perf_counter() - start < LONGEST
    assert bool(shown) == bool(result.diagnostics)


@st.composite
def mutated_specs(draw: st.DrawFn) -> str:
    """A spec with a few tokens deleted, doubled, swapped or replaced, and numbers changed."""
    pieces = PIECES.findall(draw(st.sampled_from(TEXTS)))
    for _ in range(draw(st.integers(1, 4))):
        if len(pieces) < 3:
            break
        at = draw(st.integers(0, len(pieces) - 2))
        match draw(st.sampled_from(["delete", "double", "swap", "replace", "number"])):
            case "delete":
                del pieces[at]
            case "double":
                pieces.insert(at, pieces[at])
            case "swap":
                pieces[at], pieces[at + 1] = pieces[at + 1], pieces[at]
            case "replace":
                pieces[at] = draw(st.sampled_from(TOKENS))
            case "number":
                places = [i for i, piece in enumerate(pieces) if piece.isdecimal()]
                if places:
                    number = draw(st.sampled_from(["0", "1", "-3", "7", "65", "0.5", "9999999", "4G", "1e300", "80%"]))
                    pieces[draw(st.sampled_from(places))] = number
    return "".join(pieces)


@QUICK
@given(mutated_specs())
def test_mutated_specs(text: str) -> None:
    check(text)


@QUICK
@given(st.lists(st.sampled_from(TOKENS), max_size=60).map(" ".join))
def test_random_tokens(text: str) -> None:
    check(text)


@QUICK
@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda data: data.decode("utf-8", "replace"))))
def test_random_text(text: str) -> None:
    check(text)
    check(f"network n {{\n  input 3 x 32 x 32\n  {text}\n}}\n")
