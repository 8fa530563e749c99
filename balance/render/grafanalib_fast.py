"""grafanalib.core without attrs.

grafanalib 0.7.1 defines 88 attrs classes in one module. Importing attrs and generating their methods takes as much processor time as a whole
script with Grafana's own SDK that builds as many panels, and `balance-gen dashboards` may take twice as much (`tools/bench`: 2.8 times with
attrs). grafanalib uses a small, fixed part of attrs (`s`, `ib`, `Factory`, `evolve` and five validators), so it gets that part from here, without
code generation, while it is imported, and only then: attrs is back before anybody else can see it. A test compares what both ways render.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

Validator = Callable[[Any, "_Field", Any], None]
_NOTHING: Any = object()


class Factory:
    """A default made anew for each instance."""

    def __init__(self, factory: Callable[..., Any], takes_self: bool = False) -> None:
        self.make, self.takes_self = factory, takes_self


class _Field:
    """`attr.ib`: one attribute of a class."""

    def __init__(
        self, default: Any = _NOTHING, validator: Any = None, init: bool = True, converter: Any = None, factory: Any = None, **_: Any
    ) -> None:  # fmt: skip
        self.name = ""
        self.default = Factory(factory) if factory is not None else default
        self.validators: Iterable[Validator] = validator if isinstance(validator, (list, tuple)) else [validator] if validator else []
        self.init, self.converter = init, converter

    @property
    def key(self) -> str:
        """What the constructor calls it."""
        return self.name.lstrip("_")

    def converted(self, value: Any) -> Any:
        return self.converter(value) if self.converter else value


class _Plan:
    """How to make an instance: most fields have the same default in all of them."""

    def __init__(self, fields: Iterable[_Field]) -> None:
        self.given = {field.key: field for field in fields if field.init}
        self.made = [field for field in fields if isinstance(field.default, Factory)]
        self.needed = [field.key for field in fields if field.default is _NOTHING]
        plain = [field for field in fields if field.default is not _NOTHING and not isinstance(field.default, Factory)]
        self.same = {field.name: field.converted(field.default) for field in plain}


@cache
def _plan(cls: Any) -> _Plan:
    return _Plan(cls.__attrs_attrs__.values())


def _initialise(self: Any, *args: Any, **kwargs: Any) -> None:
    cls: Any = type(self)
    plan = _plan(cls)
    given = {**dict(zip(plan.given, args, strict=False)), **kwargs} if args else kwargs
    if unknown := given.keys() - plan.given.keys():
        raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
    for key in plan.needed:
        if key not in given:
            raise TypeError(f"{type(self).__name__} needs {key!r}")
    state = self.__dict__
    state.update(plan.same)
    for key, value in given.items():
        field = plan.given[key]
        state[field.name] = field.converted(value)
    for field in plan.made:
        if field.key not in given:
            factory = field.default
            state[field.name] = field.converted(factory.make(self) if factory.takes_self else factory.make())
    for key in given:  # the defaults are right
        field = plan.given[key]
        for validator in field.validators:
            validator(self, field, state[field.name])
    if hasattr(self, "__attrs_post_init__"):
        self.__attrs_post_init__()


def _attrs(cls: Any = None, init: bool = True, **_: Any) -> Any:
    """`attr.s`: collect the fields; later ones replace those of the same name in base classes."""
    if cls is None:
        return lambda decorated: _attrs(decorated, init)
    fields: dict[str, _Field] = {}
    for base in reversed(cls.__mro__[1:]):
        fields.update(base.__dict__.get("__attrs_attrs__", {}))
    for name, value in list(cls.__dict__.items()):
        if isinstance(value, _Field):
            value.name = name
            fields.pop(name, None)
            fields[name] = value
            delattr(cls, name)
    cls.__attrs_attrs__ = fields
    if init:
        cls.__init__ = _initialise
    return cls


def _evolve(instance: Any, **changes: Any) -> Any:
    fields: dict[str, _Field] = instance.__attrs_attrs__
    kept = {name.lstrip("_"): getattr(instance, name) for name, field in fields.items() if field.init}
    return type(instance)(**{**kept, **changes})


def _check(holds: Callable[[Any], bool], expected: str) -> Validator:
    def validator(_: Any, field: _Field, value: Any) -> None:
        if not holds(value):
            raise ValueError(f"{field.name} must be {expected}, not {value!r}")

    return validator


def _deep(member: Validator, container: Validator | None, members: Callable[[Any], Iterable[Any]]) -> Validator:
    def validator(instance: Any, field: _Field, value: Any) -> None:
        if container:
            container(instance, field, value)
        for item in members(value):
            member(instance, field, item)

    return validator


def _optional(inner: Validator) -> Validator:
    def validator(instance: Any, field: _Field, value: Any) -> None:
        if value is not None:
            inner(instance, field, value)

    return validator


def _stand_in() -> dict[str, ModuleType]:
    attr, validators = ModuleType("attr"), ModuleType("attr.validators")
    validators.__dict__.update(
        in_=lambda options: _check(lambda value: value in options, f"one of {options}"),
        instance_of=lambda kind: _check(lambda value: isinstance(value, kind), f"{kind}"),
        optional=_optional,
        deep_iterable=lambda member_validator, iterable_validator=None: _deep(member_validator, iterable_validator, iter),
        deep_mapping=lambda key_validator, value_validator, mapping_validator=None: _deep(key_validator, mapping_validator, iter),
    )
    attr.__dict__.update(s=_attrs, ib=_Field, Factory=Factory, evolve=_evolve, validators=validators)
    return {"attr": attr, "attr.validators": validators}


def load() -> ModuleType:
    """`grafanalib.core`: the module that is already imported, else one imported with the stand-in for attrs."""
    if "grafanalib.core" not in sys.modules:
        stand_in = _stand_in()
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "attr"}
        sys.modules.update(stand_in)
        try:
            import_module("grafanalib.core")
        finally:
            for name in stand_in:
                del sys.modules[name]
            sys.modules.update(hidden)
    return sys.modules["grafanalib.core"]
