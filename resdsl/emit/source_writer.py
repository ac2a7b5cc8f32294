"""An emitted class as text: its `__init__` with loops kept as loops, and its `forward`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from resdsl.emit.source_calls import kind_of
from resdsl.emit.source_classes import Classes, SourceClass, leaves
from resdsl.emit.source_forward import Forward
from resdsl.emit.source_items import Container
from resdsl.emit.source_layout import STEP, Bracket, Layout, call, lines, prefixed
from resdsl.emit.source_series import Element, Series, element_runs
from resdsl.emit.torch_names import module_name


@dataclass(slots=True)
class ClassWriter:
    """Writes one class; `helpers` collects what the file must carry or import."""

    classes: Classes
    source: SourceClass
    helpers: set[str]
    comments: Mapping[int, str] = field(default_factory=dict)
    _series: Series = field(init=False)

    def __post_init__(self) -> None:
        self._series = Series(frozenset(parameter.name for parameter in self.source.parameters))

    def init_lines(self, indent: str) -> list[str]:
        """The statements that make the submodules."""
        result: list[str] = []
        for name, text in self._attributes().items():
            result.append(f"{indent}self.{name} = {text}")
        children = self.source.steps.root.children
        names, made = list(children), list(children.values())
        for start, end in _stretches(names):
            before: list[str] = []
            if names[start].isdigit():
                elements = [self._element(child, before, indent) for child in made[start:end]]
                result.extend(self._numbered_lines(int(names[start]), elements, before, indent))
                continue
            is_auxiliary = self._is_auxiliary(made[start])
            where = indent + STEP if is_auxiliary else indent
            layout = prefixed(f"self.{names[start]} = ", self._element(made[start], before, where).layout)
            result.extend([f"{indent}if auxiliary:"] if is_auxiliary else [])
            result.extend(before + lines(layout, where))
        return result

    def forward_lines(self, indent: str) -> list[str]:
        """The statements of forward."""
        attributes = {text: name for name, text in self._attributes().items()}
        leaf_of = {}
        for index, item in enumerate(self.source.steps.items):
            if not item.is_module:
                texts = self.source.texts[index]
                leaf_of[index] = leaves([f"self.{attributes[text]}" if text in attributes else text for text in texts])
        return [indent + line for line in Forward(self.source.steps, leaf_of, self.comments).lines()]

    def signature_lines(self, indent: str) -> list[str]:
        """The head of `__init__`: channels by position, all else by name."""
        is_named = False
        words: list[Layout] = ["self"]
        for parameter in self.source.parameters:
            if parameter.kind != "channels" and not is_named:
                words.append("*")
                is_named = True
            default = "" if parameter.default is None else f" = {parameter.default}"
            words.append(f"{parameter.name}: {parameter.annotation}{default}")
        return lines(call("def __init__", words), indent, " -> None:")

    # --- numbers that forward needs ---

    def _attributes(self) -> dict[str, str]:
        """Names of attributes for the numbers that differ between uses and are used in forward."""
        known = {parameter.name for parameter in self.source.parameters}
        names = dict.fromkeys(self.source.steps.root.children, "")
        found: dict[str, str] = {}
        for index, item in enumerate(self.source.steps.items):
            if item.is_module:
                continue
            for (kind, _), text in zip(self.classes.numbers(item), self.source.texts[index], strict=True):
                if text in found.values() or not any(word in known for word in text.strip("()").split()):
                    continue
                base = name = module_name(text if text in known else kind_of(kind))
                while name in names or name in found:
                    base, name = f"{base}_", f"{base}_"
                found[name] = text
        return found

    # --- submodules ---

    def _is_auxiliary(self, child: Container | int) -> bool:
        index = child.leaves[0] if isinstance(child, Container) else child
        return self.source.steps.items[index].is_auxiliary

    def _element(self, child: Container | int, before: list[str], indent: str) -> Element:
        if isinstance(child, Container):
            return Element(self._container(child, before, indent))
        item = self.source.steps.items[child]
        texts = self.classes.arguments(item, leaves(self.source.texts[child]))
        if item.template is None:
            assert item.call is not None
            self.helpers.update({item.call.target} if "." not in item.call.target else ())
            return Element(call(item.call.target, texts))
        source = self.classes.use_of(item.template).source
        channels = iter(parameter.name for parameter in source.parameters if parameter.kind == "channels")
        names = tuple(text.partition("=")[0] if "=" in text else next(channels) for text in texts)
        return Element(call(source.name, texts), source.name, tuple(texts), names)

    def _container(self, container: Container, before: list[str], indent: str) -> Layout:
        names = list(container.children)
        elements = [self._element(child, before, indent) for child in container.children.values()]
        if container.is_numbered:
            items: list[Layout] = []
            for run in element_runs(elements):
                loop = self._series.loop(run, before, indent) if len(run) > 1 else ""
                together = Bracket("*(", (self._series.element(run), loop), comma=False)
                items.append(together if len(run) > 1 else run[0].layout)
            return call("nn.Sequential", items)
        if any(name.isdigit() for name in names):
            self.helpers.add("OrderedDict")
            items = self._mixed_items(names, elements, before, indent)
            return call("nn.Sequential", [call("OrderedDict", [Bracket("{", tuple(items), "}")])])
        items = [prefixed(f"{name}=", made.layout) for name, made in zip(names, elements, strict=True)]
        if container.is_chain:
            self.helpers.add("OrderedDict")
            return call("nn.Sequential", [call("OrderedDict", items)])
        self.helpers.add("Scope")
        return call("Scope", items)

    def _mixed_items(self, names: list[str], elements: list[Element], before: list[str], indent: str) -> list[Layout]:
        """Items of a dictionary in which numbers and words are names."""
        items: list[Layout] = []
        for start, end in _stretches(names):
            position = start
            for run in element_runs(elements[start:end]):
                if len(run) > 1:
                    loop = self._series.loop(run, before, indent, int(names[position]))
                    parts = (prefixed("str(index): ", self._series.element(run)), loop)
                    items.append(Bracket("**{", parts, "}", comma=False))
                else:
                    items.append(prefixed(f'"{names[position]}": ', run[0].layout))
                position += len(run)
        return items

    def _numbered_lines(self, start: int, elements: list[Element], before: list[str], indent: str) -> list[str]:
        """Submodules of the class itself that have numbers for names."""
        result: list[str] = []
        number = start
        for run in element_runs(elements):
            if len(run) == 1:
                result.extend(lines(call("self.add_module", [f'"{number}"', run[0].layout]), indent))
            else:
                result.extend(lines(self._series.loop(run, before, indent, number), indent, ":"))
                result.extend(lines(call("self.add_module", ["str(index)", self._series.element(run)]), indent + STEP))
            number += len(run)
        return before + result


def _stretches(names: list[str]) -> list[tuple[int, int]]:
    """Numbers that count up, from where to where; each word is one for itself."""
    stretches: list[tuple[int, int]] = []
    for position, name in enumerate(names):
        before = names[position - 1] if position else ""
        if name.isdigit() and before.isdigit() and int(name) == int(before) + 1:
            stretches[-1] = (stretches[-1][0], position + 1)
        else:
            stretches.append((position, position + 1))
    return stretches
