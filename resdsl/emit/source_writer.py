"""An emitted class as text: its `__init__` with loops kept as loops, and its `forward`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from resdsl.emit.source_calls import kind_of
from resdsl.emit.source_classes import Classes, SourceClass, leaves
from resdsl.emit.source_forward import Forward
from resdsl.emit.source_items import Container
from resdsl.emit.source_layout import STEP, WIDTH, Bracket, Layout, call, flat, lines, packed, prefixed
from resdsl.emit.torch_names import module_name

_SHORTEST_SERIES = 3
_LONGEST_INLINE = 60


@dataclass(frozen=True, slots=True)
class _Element:
    """A submodule to be made: its text, and for a block its class with its arguments as keywords or not."""

    layout: Layout
    head: str = ""
    arguments: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(slots=True)
class ClassWriter:
    """Writes one class; `helpers` collects what the file must carry or import."""

    classes: Classes
    source: SourceClass
    helpers: set[str]
    comments: Mapping[int, str] = field(default_factory=dict)
    _series: dict[str, int] = field(default_factory=dict)

    def init_lines(self, indent: str) -> list[str]:
        """The statements that make the submodules."""
        result: list[str] = []
        for name, text in self._attributes().items():
            result.append(f"{indent}self.{name} = {text}")
        children = list(self.source.steps.root.children.items())
        position = 0
        while position < len(children):
            name, child = children[position]
            if name.isdigit():
                end = position
                while end < len(children) and children[end][0] == str(int(name) + end - position):
                    end += 1
                elements = [self._element(child) for _, child in children[position:end]]
                result.extend(self._numbered_lines(int(name), elements, indent))
                position = end
                continue
            before: list[str] = []
            where = indent + STEP if self._is_auxiliary(child) else indent
            layout = prefixed(f"self.{name} = ", self._layout(child, before, where))
            if self._is_auxiliary(child):
                result.append(f"{indent}if auxiliary:")
            result.extend(before + lines(layout, where))
            position += 1
        return result

    def forward_lines(self, indent: str) -> list[str]:
        """The statements of forward."""
        attributes = {text: name for name, text in self._attributes().items()}
        leaf_of = {}
        for index, item in enumerate(self.source.steps.items):
            if not item.is_module:
                texts = [f"self.{attributes[text]}" if text in attributes else text for text in self.source.texts[index]]
                leaf_of[index] = leaves(texts)
        return [indent + line for line in Forward(self.source.steps, leaf_of, self.comments).lines()]

    def signature(self) -> str:
        """The parameters of `__init__`: channels by position, all else by name."""
        words, is_named = ["self"], False
        for parameter in self.source.parameters:
            if parameter.kind != "channels" and not is_named:
                words.append("*")
                is_named = True
            default = "" if parameter.default is None else f" = {parameter.default}"
            words.append(f"{parameter.name}: {parameter.annotation}{default}")
        return ", ".join(words)

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

    def _element(self, child: Container | int) -> _Element:
        if isinstance(child, Container):
            before: list[str] = []
            layout = self._layout(child, before, STEP * 2)
            return _Element(layout)
        item = self.source.steps.items[child]
        texts = self.classes.arguments(item, leaves(self.source.texts[child]))
        if item.template is None:
            assert item.call is not None
            self.helpers.update({item.call.target} if "." not in item.call.target else ())
            return _Element(call(item.call.target, texts))
        source = self.classes.use_of(item.template).source
        channels = iter(parameter.name for parameter in source.parameters if parameter.kind == "channels")
        names = tuple(text.partition("=")[0] if "=" in text else next(channels) for text in texts)
        return _Element(call(source.name, texts), source.name, tuple(texts), names)

    def _layout(self, child: Container | int, before: list[str], indent: str) -> Layout:
        if not isinstance(child, Container):
            return self._element(child).layout
        elements = [self._element(grandchild) for grandchild in child.children.values()]
        if child.is_numbered:
            items: list[Layout] = []
            for run in _runs(elements):
                if len(run) == 1:
                    items.append(run[0].layout)
                else:
                    items.append(Bracket("*(", (_loop_element(run), self._loop(run, 0, before, indent)), ")", comma=False))
            return call("nn.Sequential", items)
        if child.is_chain or any(name.isdigit() for name in child.children):
            self.helpers.add("OrderedDict")
            return call("nn.Sequential", [self._named("OrderedDict", list(child.children), elements, before, indent)])
        self.helpers.add("Scope")
        return self._named("Scope", list(child.children), elements, before, indent)

    def _named(
        self, head: str, names: list[str], elements: list[_Element], before: list[str], indent: str
    ) -> Layout:
        if not any(name.isdigit() for name in names):
            return call(
                head, [prefixed(f"{name}=", made.layout) for name, made in zip(names, elements, strict=True)]
            )
        items: list[Layout] = []
        for run in _runs(elements):
            first = names[len_before] if (len_before := _count(items, names)) < len(names) else ""
            items.append(prefixed(f'"{first}": ', run[0].layout))
        return Bracket(f"{head}({{", tuple(items), "})")

    def _numbered_lines(self, start: int, elements: list[_Element], indent: str) -> list[str]:
        """Submodules of the class itself that have numbers for names."""
        result: list[str] = []
        number = start
        for run in _runs(elements):
            if len(run) == 1:
                result.extend(lines(call("self.add_module", [f'"{number}"', run[0].layout]), indent))
            else:
                before: list[str] = []
                loop = flat(self._loop(run, number, before, indent))
                index, made = "str(index)", _loop_element(run)
                result.extend(before)
                result.append(f"{indent}{loop}:")
                result.extend(lines(call("self.add_module", [index, made]), indent + STEP))
            number += len(run)
        return result


def _runs(elements: Sequence[_Element]) -> list[list[_Element]]:
    """Equal neighbours together, and neighbours of one class whose arguments make a series."""
    equal = [list(group) for _, group in groupby(elements, key=lambda made: flat(made.layout))]
    runs: list[list[_Element]] = []
    for is_series, group in groupby(equal, key=lambda run: (run[0].head, run[0].names) if len(run) == 1 else None):
        together = list(group)
        if is_series and is_series[0] and len(together) >= _SHORTEST_SERIES:
            runs.append([run[0] for run in together])
        else:
            runs.extend(together)
    return runs
