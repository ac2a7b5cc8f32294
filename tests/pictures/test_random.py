"""Random networks, with heads, long shortcuts and branches in odd places, are drawn at every level."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from resdsl.compiler import compile_network
from resdsl.diagnostics import CompileError
from resdsl.emit.dot import LEVELS, emit_dot
from resdsl.source import SourceFile
from tests.pictures.conftest import read_dot
from tests.properties.random_specs import known_specs

RANDOM = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A random spec with auxiliary heads before its parts; one may be the last thing of a network without a head."""
    lines: list[str] = []
    ends_with_head = draw(st.booleans())
    for line in draw(known_specs()).text.splitlines():
        is_head = line.startswith("head ")
        if is_head or (line.startswith("stage ") and draw(st.booleans())):
            lines.append(f"auxiliary extra{len(lines)}(weight = 0.5) {{ global_avg_pool -> linear(3) }}")
        if not is_head or ends_with_head:
            lines.append(line)
    return "\n".join(lines) + "\n"


@given(texts())
@RANDOM
def test_random_networks_are_drawn(text: str) -> None:
    try:
        net = compile_network(SourceFile("random.res", text))
    except CompileError:
        assume(False)
    for level in LEVELS:
        picture = read_dot(emit_dot([net.flat], level, most_equal=2))
        assert all(tail in picture.nodes and head in picture.nodes for tail, head, _ in picture.edges), text
