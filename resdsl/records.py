"""Frozen records that cost nothing to define.

The front end defines some sixty node classes and is started for every `resdsl check`; `dataclasses` compiles several
functions for each class, which was a third of the start-up time. A `Record` shares its methods with all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, dataclass_transform

_set = object.__setattr__


class _RecordType(type):
    """Makes slots, defaults and the order of fields from a class' annotations."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        fields = tuple(namespace.get("__annotations__", ()))
        defaults = {field: namespace.pop(field) for field in fields if field in namespace}
        namespace.update(__slots__=fields, __match_args__=fields, _fields=fields, _defaults=defaults)
        return super().__new__(mcs, name, bases, namespace)


@dataclass_transform(eq_default=False, frozen_default=True)
class Record(metaclass=_RecordType):
    """Base of frozen records: fields by annotation, compared by identity."""

    if TYPE_CHECKING:
        _fields: tuple[str, ...]
        _defaults: dict[str, Any]

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self._fields
        for field, value in zip(fields, values, strict=False):
            _set(self, field, value)
        if len(values) != len(fields) or named:
            self._fill(len(values), named)

    def _fill(self, given: int, named: dict[str, Any]) -> None:
        fields, defaults = self._fields, self._defaults
        wrong = [name for name in named if name not in fields[given:]]
        missing = [name for name in fields[given:] if name not in named and name not in defaults]
        if given > len(fields) or wrong or missing:
            raise TypeError(f"{type(self).__name__}: too many, unknown or missing fields: {wrong or missing or given}")
        for name in fields[given:]:
            _set(self, name, named[name] if name in named else defaults[name])

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name}")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({shown})"

    def replaced(self, **changes: Any) -> Any:
        """A copy with some fields changed."""
        return type(self)(*(changes.get(name, getattr(self, name)) for name in self._fields))
