"""How a value is made: fields that never change after it was built, equal when its fields are.

A frozen dataclass checks that at run time, with a call for every field it is given: for the values
that every order makes, more than fifty, it took longer than to read the order. Here the type
checker refuses the assignment instead, in every file, before anything runs. `Order` says the
same by its `Final` fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

Made = TypeVar("Made")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def value_type(*, kw_only: bool = True) -> Callable[[type[Made]], type[Made]]:
    """Make a class a value; for those that every order makes. All others are plain frozen dataclasses."""

    def made(cls: type[Made]) -> type[Made]:
        return dataclass(slots=True, kw_only=kw_only, unsafe_hash=True)(cls)

    return made
