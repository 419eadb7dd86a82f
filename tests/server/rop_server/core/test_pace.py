"""Bulk work takes turns with everything else on the loop."""

from __future__ import annotations

import asyncio
import itertools

from rop_server.core.pace import Pacer


async def test_so_many_per_turn_in_order_of_arrival() -> None:
    pacer = Pacer(3)
    went: list[int] = []
    turns: list[int] = []

    async def work(number: int) -> None:
        await pacer.turn()
        went.append(number)

    def between() -> None:
        turns.append(len(went))
        if len(went) < 10:
            asyncio.get_running_loop().call_soon(between)

    tasks = [asyncio.create_task(work(number)) for number in range(10)]
    asyncio.get_running_loop().call_soon(between)
    await asyncio.gather(*tasks)
    assert went == list(range(10))
    assert max(later - earlier for earlier, later in itertools.pairwise(turns)) <= 3


async def test_who_gave_up_takes_no_place() -> None:
    pacer = Pacer(1)
    tasks = [asyncio.create_task(pacer.turn()) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks[:4]:
        task.cancel()
    await asyncio.wait_for(tasks[4], 5)
    assert [task.cancelled() for task in tasks] == [True, True, True, True, False]
    await asyncio.wait_for(pacer.turn(), 5)
