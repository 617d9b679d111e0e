"""Models open in a thread, close when nobody needs them, and never end a worker."""

import asyncio
import threading
from pathlib import Path

import pytest

from model.engine import OnnxEngine, open_engine
from model.spec import Engine
from stream_app.engines import Engines
from tests.tiny_model import tiny_spec, write_tiny_model


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("other"), tiny_spec(), 7)


def test_a_known_model_opens_off_the_event_loop_and_is_let_go(
    tiny_engine: OnnxEngine, other: Path
) -> None:
    threads = []

    def opened(folder: Path) -> Engine:
        threads.append(threading.current_thread())
        return open_engine(folder)

    async def scenario() -> None:
        version = open_engine(other).version
        engines = Engines(tiny_engine, lambda: {version: other}, opened)
        assert list(engines) == [tiny_engine.version]
        assert not await engines.open(version)
        await engines.look()
        assert engines.known == {tiny_engine.version, version}
        # Two partitions ask at once; it is opened once.
        assert await asyncio.gather(engines.open(version), engines.open(version)) == [True, True]
        assert engines[version].version == version
        assert len(threads) == 1
        assert threads[0] is not threading.main_thread()
        engines.keep([])
        assert list(engines) == [tiny_engine.version]
        assert version in engines.known

    asyncio.run(scenario())


def test_what_cannot_be_served_is_not_known_until_somebody_looks_again(
    tiny_engine: OnnxEngine, other: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        folders = {"empty-1": tmp_path, "wrong-2": other}
        engines = Engines(tiny_engine, lambda: folders, open_engine)
        await engines.look()
        for version in folders:
            assert version in engines.known
            assert not await engines.open(version)
            assert version not in engines.known
        assert not await engines.open("unheard-of")
        await engines.look()
        assert engines.known == {tiny_engine.version, *folders}
        assert len(caplog.records) == 2
        assert "instead of wrong-2" in caplog.text

    asyncio.run(scenario())


def test_a_folder_of_models_that_is_gone_changes_nothing(
    tiny_engine: OnnxEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def gone() -> dict[str, Path]:
        raise OSError("no such folder")

    async def scenario() -> None:
        engines = Engines(tiny_engine, gone, open_engine)
        await engines.look()
        assert engines.known == {tiny_engine.version}
        assert "no such folder" in caplog.text

    asyncio.run(scenario())
