"""Do documents have exactly the fields of the types that they are declared to be?"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check(value: object, kind: Any, where: str = "$") -> None:
    """Fails where the value is not of the type, down to the last field."""
    if typing.is_typeddict(kind):
        assert isinstance(value, Mapping), f"{where}: {value!r}"
        missing = kind.__required_keys__ - value.keys()
        unknown = value.keys() - kind.__annotations__.keys()
        assert not missing, f"{where}: {kind.__name__} lacks {sorted(missing)}"
        assert not unknown, f"{where}: {kind.__name__} does not know {sorted(unknown)}"
        hints = get_type_hints(kind)
        for key, each in value.items():
            check(each, hints[key], f"{where}.{key}")
        return None
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        failures = []
        for one in args:
            try:
                return check(value, one, where)
            except AssertionError as failure:
                failures.append(str(failure))
        raise AssertionError("; ".join(failures))
    if origin is Literal:
        assert value in args, f"{where}: {value!r} is none of {args}"
    elif origin is list:
        assert isinstance(value, list), f"{where}: {value!r}"
        for index, each in enumerate(value):
            check(each, args[0], f"{where}[{index}]")
    elif origin is dict:
        assert isinstance(value, dict), f"{where}: {value!r}"
        for key, each in value.items():
            check(each, args[1], f"{where}.{key}")
    else:
        assert isinstance(value, kind), f"{where}: {value!r} is no {kind}"
        assert kind is bool or not isinstance(value, bool), f"{where}: {value!r} is no {kind}"
    return None
