"""Tasks that go on whatever happens in them."""

import anyio
import pytest

from service.steady import Steady

pytestmark = pytest.mark.anyio


async def test_a_task_that_fails_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    """With what it was given, as often as it fails; others do not notice, and once it ends it has ended."""
    begun: list[str] = []
    through = anyio.Event()

    async def frail(name: str) -> None:
        begun.append(name)
        if len(begun) < 3:
            raise RuntimeError("can't start new thread")
        through.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            Steady(tasks, pause_s=0.01).start_soon(frail, "a")
            await through.wait()

    assert begun == ["a", "a", "a"]
    assert [record.message for record in caplog.records] == ["background_task_failed"] * 2
    assert "frail" in caplog.records[0].task  # type: ignore[attr-defined]


async def test_tasks_end_with_their_group() -> None:
    """Also those that are about to be started again."""

    async def hopeless() -> None:
        raise ValueError("never")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            steady = Steady(tasks, pause_s=60)
            steady.start_soon(hopeless)
            steady.start_soon(anyio.sleep, 60)
            await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
