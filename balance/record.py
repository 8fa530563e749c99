"""Small immutable records: the declarations of a catalog, the nodes of an expression.

A stand-in for ``dataclasses.dataclass(frozen=True)`` that type checkers understand in the same way (PEP 681). It exists for
one reason: `balance-gen` has a start-up budget of six bare interpreter starts, and importing `dataclasses` (with `inspect`
behind it) plus some forty generated classes costs four of them. Nothing on the request path of the load balancer uses it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, dataclass_transform


@dataclass_transform(frozen_default=True)
class Record:
    """Base of immutable value classes (single inheritance): annotated fields, in order, become the constructor's arguments.

    A subclass may define ``validate``, called at the end of construction; it raises when the fields contradict each other.
    Two records are equal if they are of the same class and all fields are equal; they hash accordingly. What follows from the fields may be
    kept with `functools.cached_property`.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}
    _names: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        fields, defaults = list(cls._fields), dict(cls._defaults)
        for name, annotation in cls.__annotations__.items():
            if "ClassVar" in str(annotation):
                continue
            if name not in fields:
                fields.append(name)
            if name in cls.__dict__:
                defaults[name] = cls.__dict__[name]
        cls._fields, cls._defaults, cls._names = tuple(fields), defaults, frozenset(fields)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) > len(self._fields):
            raise TypeError(f"{type(self).__name__} takes {len(self._fields)} arguments, got {len(args)}")
        values = {**self._defaults, **kwargs}
        for name, value in zip(self._fields, args, strict=False):
            if name in kwargs:
                raise TypeError(f"{type(self).__name__}: {name!r} given twice")
            values[name] = value
        if values.keys() != self._names:
            missing = [name for name in self._fields if name not in values]
            unknown = [name for name in values if name not in self._fields]
            raise TypeError(f"{type(self).__name__}: missing {missing}, unknown {unknown}")
        self.__dict__.update(values)
        self.validate()

    def validate(self) -> None:
        """Refuse contradictory fields; the default accepts everything."""

    def replace(self, **changes: Any) -> Self:
        """The same record with some fields changed, validated again."""
        return type(self)(**{**{name: self.__dict__[name] for name in self._fields}, **changes})

    def _key(self) -> tuple[Any, ...]:
        return tuple(self.__dict__[name] for name in self._fields)

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is type(self) and self._key() == other._key())

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({shown})"
