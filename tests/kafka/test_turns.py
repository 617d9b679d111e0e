"""Between two turns the loop goes on."""

import asyncio

from stream_app.kafka.turns import HOPS, Turns


def test_whoever_waits_for_an_answer_gets_on_between_two_turns() -> None:
    order: list[str] = []

    async def lane(turns: Turns, name: str) -> None:
        await turns.next()
        order.append(name)

    async def answer() -> None:
        for step in range(HOPS):
            order.append(f"answer {step}")
            await asyncio.sleep(0)

    async def scenario() -> None:
        turns = Turns()
        await asyncio.gather(lane(turns, "first"), lane(turns, "second"), answer(), answer())

    asyncio.run(scenario())
    answered = [place for place, what in enumerate(order) if what.startswith("answer")]
    assert order.index("first") < order.index("second")
    assert max(answered) < order.index("second")


def test_a_turn_that_is_given_up_is_passed_on() -> None:
    async def scenario() -> None:
        turns = Turns()
        quitter = asyncio.create_task(turns.next())
        await asyncio.sleep(0)
        patient = asyncio.create_task(turns.next())
        quitter.cancel()
        await asyncio.wait_for(patient, 1)

    asyncio.run(scenario())
