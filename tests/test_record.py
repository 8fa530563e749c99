from __future__ import annotations

from typing import Any, ClassVar

import pytest

from balance.record import Record


class Point(Record):
    kinds: ClassVar[int] = 2

    x: int
    y: int = 0


class Named(Point):
    name: str = "origin"

    def validate(self) -> None:
        if not self.name:
            raise ValueError("no name")


class Other(Record):
    x: int
    y: int = 0


def test_fields_come_by_position_or_name_in_declared_order_with_defaults() -> None:
    assert Named(1, 2, "a") == Named(x=1, y=2, name="a")
    assert Named(1).y == 0
    assert Named._fields == ("x", "y", "name")


def test_equality_needs_the_same_class_and_the_same_fields() -> None:
    assert Point(1) == Point(1, 0)
    assert hash(Point(1)) == hash(Point(1, 0))
    assert Point(1) != Point(2)
    assert Point(1) != Other(1)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "missing ['x']"),
        ((1, 2, 3), {}, "takes 2 arguments, got 3"),
        ((1,), {"x": 2}, "'x' given twice"),
        ((1,), {"z": 2}, "unknown ['z']"),
        ((), {"X": 2}, "missing ['x'], unknown ['X']"),
    ],
)
def test_wrong_arguments_are_refused(args: tuple[Any, ...], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as refusal:
        Point(*args, **kwargs)
    assert message in str(refusal.value)


def test_a_record_never_changes() -> None:
    point: Any = Point(1)
    with pytest.raises(AttributeError, match="immutable"):
        point.x = 2
    with pytest.raises(AttributeError, match="immutable"):
        del point.x
    assert point.replace(x=3) == Point(3)
    assert point == Point(1)


def test_replace_validates_again() -> None:
    with pytest.raises(ValueError, match="no name"):
        Named(1).replace(name="")


def test_repr_names_class_and_fields() -> None:
    assert repr(Point(1)) == "Point(x=1, y=0)"
