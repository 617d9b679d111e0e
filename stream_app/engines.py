"""The models that a worker has open, by version, and those that it could open.

Opening one takes a second of reading and compiling, so it happens in a thread: micro-batches go on
under the model before, and the change itself costs nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from model.spec import Engine

log = logging.getLogger(__name__)

Find = Callable[[], Mapping[str, Path]]
"""Folders by version, as they are now. Reads files."""

Open = Callable[[Path], Engine]
"""Raises ValueError for a folder that cannot be served, OSError for one that cannot be read."""


class Engines(Mapping[str, Engine]):
    """Open engines by version; the worker's own one is always among them."""

    def __init__(self, own: Engine, find: Find, open_: Open) -> None:
        self.own = own.version
        self._open_engines: dict[str, Engine] = {own.version: own}
        self._folders: Mapping[str, Path] = {}
        self._find, self._open = find, open_
        self._broken: set[str] = set()
        self._opening = asyncio.Lock()

    def __getitem__(self, version: str) -> Engine:
        return self._open_engines[version]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open_engines)

    def __len__(self) -> int:
        return len(self._open_engines)

    @property
    def known(self) -> frozenset[str]:
        """Versions that are open or can be opened, as far as anybody knows."""
        return frozenset({*self._open_engines, *self._folders}) - self._broken

    async def look(self) -> None:
        """Learn of folders that came or went; one that could not be served may have been mended."""
        try:
            self._folders = await asyncio.to_thread(self._find)
        except (ValueError, OSError) as error:
            log.error("The folder of models cannot be read: %s", error)
        self._broken.clear()

    async def open(self, version: str) -> bool:
        """Whether the version is open now. Why not, is logged."""
        async with self._opening:
            if version in self._open_engines:
                return True
            folder = self._folders.get(version)
            if folder is None:
                return False
            try:
                engine = await asyncio.to_thread(self._open, folder)
            except (ValueError, OSError) as error:
                log.error("Model %s cannot be served: %s", version, error)
                self._broken.add(version)
                return False
            if engine.version != version:
                log.error("%s holds model %s instead of %s.", folder, engine.version, version)
                self._broken.add(version)
                return False
            self._open_engines[version] = engine
            return True

    def keep(self, versions: Collection[str]) -> None:
        """Let go of all that nobody needs."""
        for version in self._open_engines.keys() - {*versions, self.own}:
            log.info("Model %s is not needed any more.", version)
            del self._open_engines[version]
