"""Small functions that run in a thread, many in one go."""

import asyncio
import threading

from perago.http.batches import Batches
from servers.machine import slowness


def test_what_waits_meanwhile_runs_in_one_go_and_in_order():
    ran, threads, gate = [], set(), threading.Event()

    def work(number):
        if number == 0:
            assert gate.wait(30 * slowness())
        ran.append(number)
        threads.add(threading.get_ident())

    async def all_of_them():
        batches = Batches()
        first = asyncio.create_task(batches.run(lambda: work(0)))
        await asyncio.sleep(0)
        others = [asyncio.create_task(batches.run(lambda number=number: work(number))) for number in range(1, 50)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, *others)
        await batches.end()

    asyncio.run(all_of_them())
    assert ran == list(range(50))
    assert threading.get_ident() not in threads


def test_an_error_is_raised_where_its_function_is_waited_for():
    async def one_of_them():
        batches = Batches()
        outcomes = await asyncio.gather(
            *(batches.run(function) for function in (list, lambda: 1 / 0, list)), return_exceptions=True
        )
        await batches.run(list)
        return outcomes

    before, error, after = asyncio.run(one_of_them())
    assert (before, after) == (None, None)
    assert isinstance(error, ZeroDivisionError)


def test_the_end_waits_for_what_has_begun_and_drops_the_rest():
    began, gate, ran = threading.Event(), threading.Event(), []

    def first():
        began.set()
        assert gate.wait(30 * slowness())
        ran.append("first")

    async def ended():
        batches = Batches()
        tasks = [asyncio.create_task(batches.run(first))]
        await asyncio.to_thread(began.wait, 30)
        tasks.append(asyncio.create_task(batches.run(lambda: ran.append("second"))))
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        asyncio.get_running_loop().call_later(0.05, gate.set)
        await batches.end()
        return outcomes

    outcomes = asyncio.run(ended())
    assert ran == ["first"]
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)


def test_nothing_to_end():
    async def ended_at_once():
        batches, ran = Batches(), []
        await batches.end()
        await batches.run(lambda: ran.append("after"))
        return ran

    assert asyncio.run(ended_at_once()) == ["after"]


def test_it_can_be_used_again_after_it_was_idle():
    async def again():
        batches, ran = Batches(), []
        for number in range(3):
            await batches.run(lambda number=number: ran.append(number))
        return ran

    assert asyncio.run(again()) == list(range(3))
