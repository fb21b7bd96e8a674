"""A published model's own settings, the weights of its terms and the like, given by name."""

import math
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, NamedTuple, TypeVar

from training.errors import ConfigError

S = TypeVar("S")


class _Bounds(NamedTuple):
    """What a number is within: above the first, at least the second, below the third, at most the fourth."""

    above: float = -math.inf
    least: float = 0.0
    below: float = math.inf
    most: float = math.inf

    def hold(self, value: float) -> bool:
        return self.above < value < self.below and self.least <= value <= self.most

    def __str__(self) -> str:
        from_where = f"above {self.above:g}" if self.above >= self.least else f"of at least {self.least:g}"
        if self.below < math.inf:
            return f"{from_where} and below {self.below:g}"
        return from_where + (f" and at most {self.most:g}" if self.most < math.inf else "")


def bounded(default: float, **bounds: float) -> Any:
    """A field whose values are not all from 0 on.

    Args:
        default: of the field.
        bounds: ``above`` which, at ``least``, ``below`` which and at ``most`` values are.
    """
    return field(default=default, metadata={"bounds": _Bounds(**bounds)})


def chosen_settings(kind: type[S], given: Mapping[str, float]) -> S:
    """The settings of a model: what is ``given``, else its own defaults.

    Args:
        kind: a dataclass of numbers, each with a default.
        given: some of them; numbers for whole ones must be whole.

    Raises:
        ConfigError: there is no such setting, or a value cannot be meant.
    """
    options = {option.name: option for option in fields(kind)}  # type: ignore[arg-type]
    defaults: dict[str, Any] = {name: option.default for name, option in options.items()}
    for name, value in given.items():
        if name not in defaults:
            raise ConfigError(
                f"setting {name}", f"one of {', '.join(defaults)}" if defaults else "none of that name", name
            )
        whole = isinstance(defaults[name], int)
        bounds = options[name].metadata.get("bounds", _Bounds())
        if not bounds.hold(value) or (whole and value != int(value)):
            raise ConfigError(f"setting {name}", f"a {'whole' if whole else 'finite'} number {bounds}", value)
    return kind(**{name: type(defaults[name])(value) for name, value in given.items()})
