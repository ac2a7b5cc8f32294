"""Who may import whom: a module imports from lower layers only, and each dependency has one owner."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the bottom up. Modules and packages named on one line stand beside each other and do not meet.
LAYERS = (
    ("source", "records", "collector", "files"),
    ("diagnostics", "suggest", "sizes", "recipe_types"),
    ("render", "catalogue", "recipe_augment", "recipe_data"),
    ("recipe_schema",),
    ("recipe_checks",),
    ("recipe",),
    ("ops", "syntax"),
    ("semantics",),
    ("ir",),
    ("emit", "train"),
    ("net", "trains"),
    ("compiler",),
    ("weights", "transfer", "runs"),
    ("vision",),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
DATA_PACKAGES = {"grammars", "specs"}

# Each dependency is known to one place, given by the start of the module's name.
OWNERS = {
    "lark": ("resdsl.syntax.parse", "resdsl.syntax.lexer", "resdsl.syntax.tables"),
    "networkx": ("resdsl.ir.graph",),
    "numpy": ("resdsl.emit.torch_", "resdsl.train.", "resdsl.weights."),
    "torch": ("resdsl.emit.torch_", "resdsl.train.", "resdsl.weights.", "resdsl.transfer.", "resdsl.vision"),
    "triton": ("resdsl.train.kernels.",),
    "h5py": ("resdsl.weights.keras_file",),
    "safetensors": ("resdsl.weights.plain_files", "resdsl.weights.save"),
    "torchvision": ("resdsl.train.", "resdsl.vision", "resdsl.weights.peers"),
    "timm": ("resdsl.weights.peers",),
    "keras": ("resdsl.weights.peers",),
    "sklearn": ("resdsl.train.",),
    "PIL": ("resdsl.train.",),
    "matplotlib": ("resdsl.train.",),
    "tensorboard": ("resdsl.train.",),
    "graphviz": ("resdsl.emit.",),
    "pygraphviz": ("resdsl.emit.",),
    "rich": ("resdsl.cli.",),
    "argparse": ("resdsl.cli.",),
    "jinja2": (),
    "sympy": (),
}


def source_files() -> dict[str, Path]:
    """Every module of the product by its name; cli/ is reached through its link."""
    modules = {}
    for path in sorted((ROOT / "resdsl").rglob("*.py")) + sorted((ROOT / "resdsl" / "cli").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts)] = path
    return modules


MODULES = source_files()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def part_of(module: str) -> str:
    """The layer's name for a module: resdsl.ir.graph -> ir; resdsl and resdsl.__init__ -> __init__."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def imports_of(module: str, *, at_run_time: bool = False) -> Iterator[tuple[str, int]]:
    """Absolute names of what a module imports, with the line; `from a import b` gives a.b where that is a module."""
    package = module.rpartition(".")[0]
    for node in _walk(TREES[module], skip_type_checking=at_run_time):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                is_module = full in MODULES or f"{full}.__init__" in MODULES or base == "resdsl"
                yield (full if is_module else base), node.lineno


def _walk(node: ast.AST, *, skip_type_checking: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and skip_type_checking and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _walk(child, skip_type_checking=skip_type_checking)


def test_every_module_has_a_layer() -> None:
    unplaced = {name for name in MODULES if part_of(name) not in RANK.keys() | DATA_PACKAGES}
    assert not unplaced


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    own = part_of(module)
    rank = RANK.get(own, 0)
    wrong = []
    for target, line in imports_of(module):
        if not target.startswith("resdsl"):
            continue
        other = part_of(target)
        # `from resdsl import load` names the package itself, which only the command line may do.
        other = other if other in RANK.keys() | DATA_PACKAGES else "__init__"
        if other != own and RANK.get(other, -1) >= rank:
            wrong.append(f"{MODULES[module].relative_to(ROOT)}:{line} imports {target}")
    assert not wrong


RECIPE_PARTS = {"recipe_augment", "recipe_checks", "recipe_data", "recipe_schema", "recipe_types"}


def test_train_knows_nothing_of_the_compiler() -> None:
    allowed = {"train", "source", "diagnostics", "files", "suggest", "recipe", *RECIPE_PARTS}
    wrong = [
        f"{module}:{line} imports {target}"
        for module in MODULES
        if part_of(module) == "train"
        for target, line in imports_of(module)
        if target.startswith("resdsl") and part_of(target) not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("dependency", OWNERS)
def test_a_dependency_has_one_owner(dependency: str) -> None:
    """Imports for annotations only (under TYPE_CHECKING) are free: they load nothing."""
    wrong = [
        f"{module}:{line} imports {target}"
        for module in MODULES
        if not module.startswith(OWNERS[dependency])
        for target, line in imports_of(module, at_run_time=True)
        if target.split(".")[0] == dependency
    ]
    assert not wrong


def test_only_the_command_line_prints_and_reads_the_environment() -> None:
    wrong = [
        f"{module}:{node.lineno} {ast.unparse(node)[:60]}"
        for module, tree in TREES.items()
        if part_of(module) != "cli"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "input"})
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv", "sys.argv"})
    ]
    assert not wrong


def test_no_text_or_file_is_executed() -> None:
    forbidden = {"eval", "exec", "compile", "pickle.load", "pickle.loads", "marshal.load", "marshal.loads"}
    wrong = [
        f"{module}:{node.lineno} {ast.unparse(node)[:60]}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func) in forbidden or (ast.unparse(node.func) == "torch.load" and not _is_safe_load(node))
        )
    ]
    assert not wrong


def _is_safe_load(call: ast.Call) -> bool:
    return any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in call.keywords)


def test_files_stay_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in MODULES.values()}
    assert not {name: length for name, length in lengths.items() if length > 400}
