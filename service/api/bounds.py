"""How much of a request is looked at.

Every wrong entry of a list and every unknown name of an object makes an error of its own, and a body of a few megabytes
holds millions of them: what is longer than anybody sends is refused as a whole, before its entries are looked at.
"""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

MAX_ENTRIES = 10_000  # of a list; the settings may ask for fewer
MAX_NAMES = 100  # of attributes, or of modalities
_MOST_UNKNOWN = 16  # names of an object that are told one by one


class RequestPart(BaseModel):
    """A part of a request; fields nobody knows are refused."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_unknown(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > len(cls.model_fields) + _MOST_UNKNOWN:
            known = len(value.keys() & cls.model_fields.keys())
            message = "expected no fields but {names}, found {more} others"
            facts = {"names": ", ".join(cls.model_fields), "more": len(value) - known}
            raise PydanticCustomError("extra_forbidden", message, facts)
        return value


def _few_names(value: object) -> object:
    if isinstance(value, dict) and len(value) > MAX_NAMES:
        raise PydanticCustomError(
            "too_long", "expected at most {most} names, found {found}", {"most": MAX_NAMES, "found": len(value)}
        )
    return value


FEW_NAMES = BeforeValidator(_few_names)
"""For objects of any names: pydantic finds its own ``max_length`` exceeded only after all entries."""
