"""Which threads have a kernel, as rows."""

from __future__ import annotations

from core.journal.kernels import KernelRows, SharedKernelRows
from tests.contract.engines import Embedded


async def test_a_thread_had_a_kernel_until_it_is_forgotten(stores: Embedded) -> None:
    places = KernelRows(stores.database)
    assert not await places.record_start("a")
    await places.record_end("a")
    assert await places.record_start("a")
    heir = await stores.kill()
    places = KernelRows(heir.database)
    assert await places.record_start("a")
    await places.forget("a")
    assert not await places.record_start("a")


async def test_without_a_database_nothing_is_remembered() -> None:
    places = KernelRows(None)
    assert [await places.record_start("a") for _ in range(2)] == [False, False]
    await places.forget("a")


async def test_a_database_that_fails_keeps_nothing_from_running(sqlite: Embedded) -> None:
    places = KernelRows(sqlite.database)
    await sqlite.database.close()
    assert not await places.record_start("a")
    assert await places.is_here("a")
    await places.forget("a")


async def test_a_failed_look_up_ends_no_kernel(sqlite: Embedded) -> None:
    async def tell(kind: str, thread: str) -> None:
        return None

    places = SharedKernelRows(sqlite.database, "p1", tell)
    await places.record_start("a")
    assert (await places.is_here("a"), await places.is_here("b")) == (True, False)
    await sqlite.database.close()
    assert await places.is_here("b")
