"""What the write and read use cases need of other processes and other versions, where there are any."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from service.domain import Record


async def _nothing(_: object = None) -> None:
    """There is nobody else."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Who else writes the journal, and who else must know of what is written here.

    Attributes:
        catch_up: applies what other processes have written.
        spread: applies records to the other live versions; never raises.
    """

    catch_up: Callable[[], Awaitable[None]] = _nothing
    spread: Callable[[Sequence[Record]], Awaitable[None]] = _nothing
