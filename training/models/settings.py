"""A published model's own settings, the weights of its terms and the like, given by name."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from training.errors import ConfigError

S = TypeVar("S")


def chosen_settings(kind: type[S], given: Mapping[str, float]) -> S:
    """The settings of a model: what is ``given``, else its own defaults.

    Args:
        kind: a dataclass of numbers, each with a default.
        given: some of them; numbers for whole ones must be whole.

    Raises:
        ConfigError: there is no such setting, or a value cannot be meant.
    """
    defaults: dict[str, Any] = {option.name: option.default for option in fields(kind)}  # type: ignore[arg-type]
    for name, value in given.items():
        if name not in defaults:
            raise ConfigError(
                f"setting {name}", f"one of {', '.join(defaults)}" if defaults else "none of that name", name
            )
        whole = isinstance(defaults[name], int)
        if not 0 <= value < math.inf or (whole and value != int(value)):
            raise ConfigError(f"setting {name}", f"a {'whole' if whole else 'finite'} number of at least 0", value)
    return kind(**{name: type(defaults[name])(value) for name, value in given.items()})
