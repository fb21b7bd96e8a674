"""A published model's own settings, the weights of its terms and the like, given by name."""

import math
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

from training.errors import ConfigError

S = TypeVar("S")


def bounded(default: float, *, above: float = -math.inf, least: float = 0.0, below: float = math.inf) -> Any:
    """A field whose values are not all from 0 on.

    Args:
        default: of the field.
        above: where given, values are greater.
        least: values are at least that.
        below: where given, values are less.
    """
    return field(default=default, metadata={"above": above, "least": least, "below": below})


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
        bounds = {"above": -math.inf, "least": 0.0, "below": math.inf, **options[name].metadata}
        within = bounds["least"] <= value < bounds["below"] and value > bounds["above"]
        if not within or (whole and value != int(value)):
            raise ConfigError(f"setting {name}", _expected(bounds, whole=whole), value)
    return kind(**{name: type(defaults[name])(value) for name, value in given.items()})


def _expected(bounds: Mapping[str, float], *, whole: bool) -> str:
    above, least, below = bounds["above"], bounds["least"], bounds["below"]
    from_where = f"above {above:g}" if above >= least else f"of at least {least:g}"
    to_where = f" and below {below:g}" if below < math.inf else ""
    return f"a {'whole' if whole else 'finite'} number {from_where}{to_where}"
