import asyncio
import signal
from pathlib import Path

from tests.chaos.schedule import Act
from tests.chaos.workers import Done, Worker, spoil


def test_spoilt_files_are_still_there_and_none_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    contents = {f"inner/{number}": bytes(range(200)) for number in range(4)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    spoil(tmp_path)
    spoilt = {name: (tmp_path / name).read_bytes() for name in contents}
    assert all(spoilt[name] != contents[name] for name in contents)
    assert {len(content) for content in spoilt.values()} == {100, 200}


def test_acts_that_find_nothing_to_act_on_are_not_counted(tmp_path: Path) -> None:
    """Kills are counted as they are done, not as they are planned."""

    async def scenario() -> list[Done]:
        done: list[Done] = []
        worker = Worker("worker-1", {"PATH": "/usr/bin:/bin"}, tmp_path, done)
        tending = asyncio.create_task(worker.tend())
        for deed in ("kill", "pause", "wipe", "start", "wipe", "pause", "resume", "kill", "kill"):
            worker.acts.put_nowait(Act(0, deed, worker.name))  # type: ignore[arg-type]
        await worker.acts.join()
        tending.cancel()
        assert worker.pid is None
        assert worker.faults == []
        return done

    assert [done.act.deed for done in asyncio.run(scenario())] == [
        "wipe",
        "start",
        "pause",
        "resume",
        "kill",
    ]


def test_a_worker_that_ends_by_itself_is_started_again_and_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = Worker("worker-1", {"PATH": "/usr/bin:/bin"}, tmp_path, [])
        worker.start()
        first = worker.pid
        tending = asyncio.create_task(worker.tend())
        worker.signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while worker.pid in (None, first):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        tending.cancel()
        worker.end()
        assert len(worker.faults) == 1
        assert "worker-1 ended by itself with exit code -15" in worker.faults[0]

    asyncio.run(scenario())
