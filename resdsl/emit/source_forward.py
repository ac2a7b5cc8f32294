"""The `forward` of an emitted class."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from resdsl.emit.source_calls import Leaf, arguments
from resdsl.emit.source_items import Container, Item, Steps
from resdsl.emit.source_layout import STEP, WIDTH
from resdsl.semantics.model import REGION_INPUT

_TRUNK = ("x", "y", "z")
_OF_LAYERS = {"scale_channels", "dilated_max_pool", "dilated_avg_pool"}
_OF_FILES = {"self", "torch", "nn", "F", "index", "block", *_OF_LAYERS}
_NO_VARIABLE = frozenset(dir(builtins)) | {*_TRUNK} | _OF_FILES
# What is written around the call before it: `self.relu1(self.bn1(self.conv1(x)))`.
_NESTED = frozenset({"norm", "activation", "dropout", "reshape"})
_LONGEST_NEST = 90
_SHORTEST_LOOP = 3


@dataclass(frozen=True, slots=True)
class Unit:
    """One call of `forward`: of an item, or of a container that runs the items from first to last."""

    first: int
    last: int
    callee: str
    home: Container | None = None
    position: int = 0
    name: str = ""


@dataclass(slots=True)
class _Pending:
    """An expression that is not yet bound to a name."""

    result: int
    text: str
    sources: tuple[int, ...]
    scope: str
    kind: str


def access_paths(root: Container, base: str = "self") -> dict[str, str]:
    """How each submodule is reached: `self.conv3[0]`, `self.shortcut.conv1`."""
    paths: dict[str, str] = {"": base}
    waiting = [root]
    while waiting:
        container = waiting.pop()
        here = paths[container.path]
        is_sequence = bool(container.path) and any(name.isdigit() for name in container.children)
        for position, (name, child) in enumerate(container.children.items()):
            path = f"{container.path}.{name}" if container.path else name
            if is_sequence:
                paths[path] = f"{here}[{position}]"
            else:
                paths[path] = f'getattr({here}, "{name}")' if name.isdigit() else f"{here}.{name}"
            if isinstance(child, Container):
                waiting.append(child)
    return paths


class Forward:
    """Writes the statements of one class; `leaf_of` gives the texts of the numbers in an item's call."""

    def __init__(self, steps: Steps, leaf_of: Mapping[int, Leaf], comments: Mapping[int, str]) -> None:
        self._items = steps.items
        self._steps = steps
        self._leaf_of = leaf_of
        self._comments = comments
        self._paths = access_paths(steps.root)
        self._last_use = {source: index for index, item in enumerate(steps.items) for source in item.inputs}
        self._last_use.update(dict.fromkeys(steps.outputs, len(steps.items)))
        self._names: dict[int, str] = {REGION_INPUT: "x"}
        self._held: dict[str, int] = {"x": REGION_INPUT}
        self._pending: _Pending | None = None
        self._lines: list[tuple[bool, str]] = []
        self._is_auxiliary = False

    def lines(self) -> list[str]:
        """The statements, the return among them, without indentation."""
        for run in self._runs(self._units()):
            item = self._items[run[0].first]
            if item.is_auxiliary != self._is_auxiliary:
                self._flush()
                self._is_auxiliary = item.is_auxiliary
            if len(run) > 1:
                self._add_loop(run)
            elif run[0].callee:
                self._add_module(run[0], item)
            else:
                self._add_call(run[0].first, item)
        return self._finished()

    # --- units ---

    def _units(self) -> list[Unit]:
        """Containers that can be called as a whole, and single items."""
        chains: dict[int, tuple[Container, Container, int, str]] = {}
        homes: dict[int, tuple[Container, int, str]] = {}
        waiting = [self._steps.root]
        while waiting:
            container = waiting.pop()
            for position, (name, child) in enumerate(container.children.items()):
                if not isinstance(child, Container):
                    homes[child] = (container, position, name)
                elif child.is_chain:
                    chains[child.leaves[0]] = (child, container, position, name)
                else:
                    waiting.append(child)
        units, index = [], 0
        while index < len(self._items):
            item = self._items[index]
            if index in chains:
                chain, home, position, name = chains[index]
                units.append(Unit(index, chain.leaves[-1], self._paths[chain.path], home, position, name))
            elif item.is_module:
                units.append(Unit(index, index, self._paths[item.path], *homes[index]))
            else:
                units.append(Unit(index, index, ""))
            index = units[-1].last + 1
        return units

    def _runs(self, units: Sequence[Unit]) -> list[list[Unit]]:
        """Units one after the other in one numbered container become one loop."""
        runs: list[list[Unit]] = []
        for unit in units:
            if runs and self._continues(runs[-1][-1], unit):
                runs[-1].append(unit)
            else:
                runs.append([unit])
        return [part for run in runs for part in ([run] if len(run) >= _SHORTEST_LOOP else [[unit] for unit in run])]

    def _continues(self, before: Unit, unit: Unit) -> bool:
        if unit.home is None or before.home is not unit.home or not (before.name + unit.name).isdigit():
            return False
        is_beside = unit.position == before.position + 1 if unit.home.path else int(unit.name) == int(before.name) + 1
        return is_beside and self._items[unit.first].inputs == (before.last,) and self._steps.uses[before.last] == 1

    # --- statements ---

    def _add_loop(self, run: list[Unit]) -> None:
        self._flush()
        home = run[0].home
        assert home is not None
        start, end = (run[0].position, run[-1].position + 1) if home.path else (int(run[0].name), int(run[-1].name) + 1)
        source = self._items[run[0].first].inputs[0]
        before, result = self._names[source], run[-1].last
        name = self._choose(result, (source,), self._items[result].scope)
        if name != before:
            self._write(f"{name} = {before}")
        if home.path:
            whole = start == 0 and end == len(home.children)
            part = "" if whole else f"[{start or ''}:{end if end < len(home.children) else ''}]"
            self._write(f"for block in {self._paths[home.path]}{part}:")
            self._write(f"{STEP}{name} = block({name})")
        else:
            self._write(f"for index in range({f'{start}, ' if start else ''}{end}):")
            self._write(f"{STEP}{name} = getattr(self, str(index))({name})")
        self._bind(result, name)

    def _add_module(self, unit: Unit, item: Item) -> None:
        family = item.family if unit.first == unit.last else "container"
        self._wrap(unit.last, item, family, lambda source: f"{unit.callee}({source})")

    def _add_call(self, index: int, item: Item) -> None:
        call = item.call
        assert call is not None
        leaf = self._leaf_of[index]
        if call.kind == "operator":
            self._add_operator(index, item)
        elif len(item.inputs) == 1 and call.kind == "function":
            rest = "".join(f", {text}" for text in arguments(call, leaf))
            self._wrap(index, item, item.family, lambda source: f"{call.target}({source}{rest})")
        else:
            self._flush()
            names = [self._names[source] for source in item.inputs]
            given = arguments(call, leaf)
            if call.kind == "method":
                text = f"{names[0]}.{call.target}({', '.join(given)})"
            elif call.kind == "join":
                together = f"({', '.join(names)})"
                text = f"{call.target}({', '.join([together, *given])})"
            else:
                text = f"{call.target}({', '.join([*names, *given])})"
            self._pending = _Pending(index, text, item.inputs, item.scope, call.kind)

    def _wrap(self, result: int, item: Item, family: str, write: Callable[[str], str]) -> None:
        (source,) = item.inputs
        pending = self._pending
        if pending is not None and pending.result == source and self._is_nested(pending, family):
            text = write(pending.text)
            if len(text) <= _LONGEST_NEST:
                self._pending = _Pending(result, text, pending.sources, item.scope, "")
                return
        self._flush()
        self._pending = _Pending(result, write(self._names[source]), (source,), item.scope, "")

    def _is_nested(self, pending: _Pending, family: str) -> bool:
        if self._steps.uses[pending.result] != 1:
            return False
        return family in _NESTED or (pending.kind == "method" and family in {"linear", "container"})

    def _add_operator(self, index: int, item: Item) -> None:
        call = item.call
        assert call is not None
        *front, last = item.inputs
        pending = self._pending
        inner: tuple[int, ...] = ()
        if pending is not None and last not in front and self._is_operand(pending, last):
            operand, inner = pending.text, pending.sources
            self._pending = None
        else:
            self._flush()
            operand = self._names[last]
        names = [self._names[source] for source in front]
        if item.is_overwriting:
            for name in [*names[1:], operand]:
                self._write(f"{names[0]} {call.target}= {name}")
            self._bind(index, names[0])
        else:
            text = f" {call.target} ".join([*names, operand])
            self._pending = _Pending(index, text, (*item.inputs, *inner), item.scope, call.kind)

    def _is_operand(self, pending: _Pending, operand: int) -> bool:
        is_alone = pending.result == operand and self._steps.uses[operand] == 1
        return is_alone and pending.kind != "operator" and len(pending.text) <= _LONGEST_NEST

    # --- names ---

    def _flush(self) -> None:
        pending = self._pending
        if pending is None:
            return
        self._pending = None
        name = self._choose(pending.result, pending.sources, pending.scope)
        self._write(f"{name} = {pending.text}")
        self._bind(pending.result, name)

    def _choose(self, result: int, sources: tuple[int, ...], scope: str) -> str:
        """A name that no value needed later holds: the scope's, or one of x, y, z for the trunk."""
        if scope:
            word = f"{scope}_" if scope in _NO_VARIABLE or keyword.iskeyword(scope) else scope
            wanted: tuple[str, ...] = (word,)
        else:
            dying = [self._names.get(source, "") for source in sources if self._last_use[source] <= result]
            wanted = (*(name for name in dying if name in _TRUNK), *_TRUNK)
        for name in wanted:
            if self._is_free(name, result):
                return name
        number = 2
        while not self._is_free(f"{wanted[-1]}{number}", result):
            number += 1
        return f"{wanted[-1]}{number}"

    def _is_free(self, name: str, at: int) -> bool:
        return name not in self._held or self._last_use.get(self._held[name], -1) <= at

    def _bind(self, result: int, name: str) -> None:
        self._names[result] = name
        self._held[name] = result
        comment = self._comments.get(result)
        is_auxiliary, text = self._lines[-1]
        if comment and len(text) + len(comment) + 16 <= WIDTH:
            self._lines[-1] = (is_auxiliary, f"{text}  # {comment}")

    def _write(self, text: str) -> None:
        self._lines.append((self._is_auxiliary, text))

    def _finished(self) -> list[str]:
        main, *heads = self._steps.outputs
        pending = self._pending
        if pending is not None and not heads and pending.result == main:
            self._write(f"return {pending.text}")
        else:
            self._flush()
            self._is_auxiliary = False
            names = [self._names[index] for index in (main, *heads)]
            together = f"({', '.join(names)}) if self.auxiliary else {names[0]}"
            self._write(f"return {together if heads else names[0]}")
        texts: list[str] = []
        was_auxiliary = False
        for is_auxiliary, text in self._lines:
            if is_auxiliary and not was_auxiliary:
                texts.append("if self.auxiliary:")
            texts.append(STEP * is_auxiliary + text)
            was_auxiliary = is_auxiliary
        return texts
