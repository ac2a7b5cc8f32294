"""Writes the parts of the pages that are data: steps, recipe settings, diagnostics, options, modules, the zoo.

    python docs/generate.py            # after a change of steps, settings, diagnostics, options, modules or specs
    python docs/generate.py --check    # exit code 1 where a page is not current

Each part stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType

from resdsl.catalogue import all_codes
from resdsl.cli.main import main as run_resdsl
from resdsl.compiler import check_file
from resdsl.ops import STEPS
from resdsl.ops.core import REQUIRED, value_text
from resdsl.ops.core import Arg as StepArg
from resdsl.recipe_schema import SCHEMA
from resdsl.recipe_types import Arg as RecipeArg
from resdsl.recipe_types import Setting, SettingValue
from resdsl.recipe_types import value_text as recipe_value_text
from resdsl.semantics.expectations import measures
from resdsl.semantics.model import Network

DOCS = Path(__file__).parent
SPECS = DOCS.parent / "specs"
PART = re.compile(r"(<!-- generated: (?P<name>[a-z /]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# The headings of the table of steps, by the families of the op table.
FAMILIES = {
    "conv": "Convolutions",
    "linear": "Linear layers",
    "pool": "Pools",
    "norm": "Normalisations",
    "activation": "Activations and scaling",
    "dropout": "Dropout",
    "reshape": "Layout of the map",
    "identity": "Nothing",
}

# The tables of the zoo: the files of specs/ by heading.
ZOO = {
    "ImageNet, He et al. 2015": "resnet18 resnet34 resnet50 resnet101 resnet152 resnet_options",
    "CIFAR, He et al. 2015": "cifar_resnets resnet110_cifar",
    "Pre-activation, He et al. 2016": "preact_resnets cifar_preact_resnets resnet110_shortcuts resnet110_activations",
    "Keras Applications": "keras_resnets",
    "Before": "alexnet vgg googlenet highway mlp_shortcut",
    "After": "resnext wide_resnet se_resnet50 resnet50_d stochastic_depth110 densenet121 pyramidnet",
    "An example that trains in half a minute": "resnet20_digits",
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` only compare them."""
    is_check = arguments == ["--check"]
    stale = [path for path in pages() if refresh(path, write=not is_check)]
    for path in stale:
        sys.stdout.write(f"{path.name} {'is not current' if is_check else 'written'}\n")
    return 1 if is_check and stale else 0


def pages() -> list[Path]:
    """The pages with generated parts."""
    return [*sorted(DOCS.glob("*.md")), SPECS / "README.md"]


def refresh(path: Path, *, write: bool) -> bool:
    """Whether the generated parts of a page differ from what the program says now."""
    text = path.read_text(encoding="utf-8")
    fresh = PART.sub(lambda match: f"{match[1]}\n{part(match['name']).strip()}\n\n{match[3]}", text)
    if write and fresh != text:
        path.write_text(fresh, encoding="utf-8")
    return fresh != text


def part(name: str) -> str:
    """The text of a generated part."""
    kind, _, detail = name.partition(" ")
    makers: dict[str, Callable[[], str]] = {
        "steps": steps,
        "recipe": recipe,
        "diagnostics": diagnostics,
        "options": lambda: options(detail),
        "modules": lambda: modules(detail),
        "zoo": zoo,
    }
    return makers[kind]()


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(map(escaped, line)) + " |" for line in lines) + "\n"


def escaped(cell: str) -> str:
    """A cell whose text Markdown does not read as markup."""
    cell = cell.replace("|", "\\|")
    return cell if "`" in cell else cell.replace("<", "\\<").replace("*", "\\*")


# --- steps ---------------------------------------------------------------------------------------------------------


def steps() -> str:
    """The steps, one table a family."""
    texts = []
    for family, heading in FAMILIES.items():
        specs = [spec for spec in STEPS.values() if spec.family == family]
        rows = ((f"`{spec.name}`", ", ".join(map(step_argument, spec.args)), spec.doc) for spec in specs)
        texts.append(f"### {heading}\n\n" + table(("step", "arguments", "what it does"), rows))
    assert {spec.family for spec in STEPS.values()} == FAMILIES.keys()
    return "\n".join(texts)


def step_argument(arg: StepArg) -> str:
    """`stride = 1`, `kernel` where it must be given, `[padding]` where its default depends on other things."""
    if arg.default is REQUIRED:
        return f"`{arg.name}`"
    if arg.default is None:
        return f"`[{arg.name}]`"
    others = [choice for choice in arg.choices if choice != arg.default]
    return f"`{arg.name} = {short(arg.default)}`" + "".join(f" or `{choice}`" for choice in others)


def short(value: object) -> str:
    """A value as the language writes it, a square size as one number."""
    match value:
        case (int(first), int(second)) if first == second:
            return str(first)
    return value_text(value)


# --- recipes -------------------------------------------------------------------------------------------------------


def recipe() -> str:
    """The settings of a recipe: an overview, then the forms of those that take one."""
    rows = ((f"`{s.word}`", f"`{s.example}`", setting_default(s), s.doc) for s in SCHEMA.values())
    texts = [table(("setting", "example", "where it is left out", "meaning"), rows)]
    head = ("form", "argument", "values", "meaning")
    texts += [f"### `{setting.word}`\n\n{table(head, forms(setting))}" for setting in SCHEMA.values() if setting.forms]
    return "\n".join(texts)


def forms(setting: Setting) -> Iterator[tuple[str, str, str, str]]:
    """A row for each form of a setting, then one for each of its arguments."""
    for form in setting.forms:
        yield f"`{form.name}`", "", "", form.doc
        for arg in form.args:
            yield "", recipe_argument(arg), values(arg), arg.doc


def recipe_argument(arg: RecipeArg) -> str:
    """`momentum = 0.9`, `lr` where it must be given, `[iterations]` where it may be left out."""
    if arg.required:
        return f"`{arg.name}`"
    return f"`[{arg.name}]`" if arg.default is None else f"`{arg.name} = {recipe_value_text(arg.default)}`"


def values(arg: RecipeArg) -> str:
    """Kind and range of an argument."""
    if arg.choices:
        return ", ".join(f"`{choice}`" for choice in arg.choices)
    kinds = {"int": "whole number", "float": "number", "bool": "`true`, `false`", "ints": "list of whole numbers"}
    bounds = (("at least", arg.least), ("above", arg.above), ("below", arg.below), ("at most", arg.most))
    return ", ".join([kinds[arg.kind], *(f"{words} {bound:g}" for words, bound in bounds if bound is not None)])


def setting_default(setting: Setting) -> str:
    """What holds where a recipe does not say the setting."""
    if setting.required:
        return "must be there"
    default: SettingValue = setting.default if setting.value is None else setting.value.default
    match default:
        case None | ():
            return "nothing"
        case int() | float() | str():
            return f"`{recipe_value_text(default)}`"
    return f"`{default.to_text()}`" if hasattr(default, "to_text") else "nothing"


# --- diagnostics, options -----------------------------------------------------------------------------------------


def diagnostics() -> str:
    """What `resdsl explain` prints, for every code."""
    return "\n".join(f"### {explanation(code)}" for code in all_codes())


def explanation(code: str) -> str:
    """The output of `resdsl explain CODE`."""
    output = io.StringIO()
    with redirect_stdout(output):
        run_resdsl(["--color", "never", "explain", code])
    return output.getvalue()


class Options(argparse.ArgumentParser):
    """A parser that tells what was declared."""

    def rows(self) -> Iterator[tuple[str, str]]:
        """Each option with its help."""
        for action in self._actions:
            value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else "")
            value = f"[{value}]" if action.nargs == "?" and action.option_strings else value
            name = ", ".join(action.option_strings) or str(action.metavar or action.dest).upper()
            name += f" {value}" if action.option_strings and action.nargs != 0 else ""
            name += " ..." if action.nargs == "+" else ""
            yield f"`{name}`", action.help or ""


def options(command: str) -> str:
    """The options of a command, from its parser."""
    parser = Options(add_help=False)
    import_module(f"resdsl.cli.{command}").configure(parser)
    return table(("option", "meaning"), parser.rows())


# --- modules -------------------------------------------------------------------------------------------------------


def modules(package: str) -> str:
    """The modules of a package of resdsl, each with the first sentence of its docstring."""
    rows = []
    for path in sorted((DOCS.parent / "resdsl" / package).glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert docstring, f"{path} has no docstring"
        rows.append((f"`{path.name}`", " ".join(docstring.partition("\n\n")[0].split())))
    return table(("module", "task"), rows)


# --- the zoo -------------------------------------------------------------------------------------------------------


def zoo() -> str:
    """Every network of specs/ with what it states, what was published, and what the tests compare it with."""
    peers: dict[tuple[str, str], list[str]] = {}
    compared = zoo_comparisons()
    for spec, network, peer in compared.COMPARED:
        peers.setdefault((spec, network), []).append(peer)
    assert {path.stem for path in SPECS.glob("*.res")} == {name for names in ZOO.values() for name in names.split()}
    papers: dict[str, str] = {}
    texts = []
    for heading, names in ZOO.items():
        rows = []
        for spec in (f"{name}.res" for name in names.split()):
            otherwise = ["a formula for the counts"] if spec in compared.BY_FORMULA else []
            for network, paper in zoo_networks(SPECS / spec, papers):
                found = ", ".join(peers.pop((spec, network.name), otherwise))
                rows.append((f"[{network.name}]({spec})", paper, *zoo_numbers(network), found))
        head = ("net", "paper", "depth", "parameters", "multiply-adds", "published error", "compared with")
        texts.append(f"## {heading}\n\n{table(head, rows)}")
    assert not peers, f"compared, but not in specs/: {sorted(peers)}"
    return "\n".join(texts)


def zoo_networks(path: Path, papers: dict[str, str]) -> Iterator[tuple[Network, str]]:
    """The networks of a file, each with its paper: a variant that nobody published by itself has that of its base."""
    result = check_file(str(path))
    assert not result.diagnostics, f"{path.name} has mistakes"
    bases = dict(re.findall(r"^network (\w+) = (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    for network in result.networks:
        base = papers.get(bases.get(network.name, ""), "")
        papers[network.name] = base if network.published is None else network.published.paper
        yield network, papers[network.name]


def zoo_numbers(network: Network) -> tuple[str, ...]:
    """Depth, parameters, multiply-adds for the net's own input, and errors in percent as published."""
    measured, published = measures(network), network.published
    numbers = [f"{measured[word]:,}" for word in ("depth", "parameters", "macs")]
    errors = (
        [
            f"{100 * error:.4g} % top-{best}"
            for best, error in ((1, published.top1_error), (5, published.top5_error))
            if error is not None
        ]
        if published
        else []
    )
    if not published or not errors:
        return *numbers, ""
    remarks = "; ".join(text for text in (published.data, published.note) if text)
    return *numbers, ", ".join(errors) + (f" ({remarks})" if remarks else "")


def zoo_comparisons() -> ModuleType:
    """What the tests compare the nets with."""
    spec = importlib.util.spec_from_file_location("zoo_compared", DOCS.parent / "tests" / "zoo" / "compared.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
