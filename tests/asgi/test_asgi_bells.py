"""Bells: one wake for all streams of a loop, and for all events that come close behind each other."""

from __future__ import annotations

import asyncio

import pytest
from mina_adapters.streams import bells
from mina_adapters.streams.bells import Bell


def test_what_comes_close_behind_goes_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first wake is at once; what rings before the pace is over is one more wake, once it is, and not lost."""

    async def rung(pace: float, times: int, wakes: int) -> int:
        monkeypatch.setattr(bells, "PACE", pace)
        bell = Bell(asyncio.get_running_loop(), "key")
        for _ in range(times):
            await asyncio.to_thread(bell.ring)
            await asyncio.sleep(0)
        while bell.wakes < wakes:
            await asyncio.sleep(0.001)
        return bell.wakes

    async def both() -> list[int]:
        async with asyncio.timeout(20):
            return [await rung(60.0, 5, 1), await rung(0.01, 2, 2)]

    assert asyncio.run(both()) == [1, 2]
