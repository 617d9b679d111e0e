"""A folder of model versions: one sub-folder each, and a manifest that knows their descent.

``DIR/NAME-FINGERPRINT/`` is an exported model as training left it; ``DIR/registry.json`` holds what
the folders cannot: when each was added, what it descends from, and which answered when. The
manifest is written last and in one step, so a folder without an entry is an interrupted addition.
"""

import shutil
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from model.checkpoint import Manifest, load, write_atomically
from model.engine import open_engine

REGISTRY_FILE = "registry.json"
FORMAT = 1


class RegistryError(ValueError):
    """A registry that cannot be read, or a version that it does not have."""

    exit_code: ClassVar[int] = 2


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version: where it comes from and how good it was."""

    version: str  # name and fingerprint
    added_at: str
    parent: str | None = None  # version that it was trained from, or is meant to replace
    created_at: str = ""
    data_hash: str = ""  # of the clicks that it was trained on
    metrics: dict[str, Any] = {}


class Promotion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version began to answer."""

    version: str
    at: str
    action: str  # "promote" or "roll_back"


class Book(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``registry.json``"""

    format: int = FORMAT
    models: tuple[Entry, ...] = ()  # in the order of their addition
    promotions: tuple[Promotion, ...] = ()  # oldest first, never rewritten
    stack: tuple[str, ...] = ()  # what a roll-back returns to; the last one is live


class Registry:
    """The versions below ``root``. Every change is on disk before its method returns."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def book(self) -> Book:
        """The manifest; an empty one where there is none yet."""
        path = self.root / REGISTRY_FILE
        try:
            book = msgspec.json.decode(path.read_bytes(), type=Book)
        except FileNotFoundError:
            return Book()
        except OSError as error:
            raise RegistryError(f"{path} cannot be read ({error.strerror})") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RegistryError(
                f"{path} is no registry of models ({error}); restore it from a copy, or move it "
                "away and add the models again"
            ) from None
        if book.format != FORMAT:
            raise RegistryError(
                f"{path} has format {book.format}, this version reads {FORMAT}; use the version of "
                "ClickAhead that wrote it"
            )
        return book

    def versions(self) -> tuple[str, ...]:
        """All versions, in the order of their addition."""
        return tuple(entry.version for entry in self.book().models)

    def entry(self, version: str) -> Entry:
        for entry in self.book().models:
            if entry.version == version:
                return entry
        raise RegistryError(self._unknown(version))

    def descent(self, version: str) -> tuple[str, ...]:
        """The version's parent, the parent's, and so on: nearest first."""
        parents = {entry.version: entry.parent for entry in self.book().models}
        line: list[str] = []
        parent = self.entry(version).parent
        while parent is not None and parent not in line:
            line.append(parent)
            parent = parents.get(parent)
        return tuple(line)

    def path_of(self, version: str) -> Path:
        """The folder of a version, for ``model.engine.open_engine``."""
        return self.root / self.entry(version).version

    def manifest_of(self, version: str) -> Manifest:
        """What training wrote of a version; CheckpointError where its folder is damaged."""
        return load(self.path_of(version)).manifest

    def live(self) -> str | None:
        """The version that was promoted last and not rolled back; None before the first one."""
        stack = self.book().stack
        return stack[-1] if stack else None

    def add(self, model_dir: Path, at: str, parent: str | None = None) -> str:
        """Copy an exported model in and return its version; a version that is there already stays
        as it is.

        Raises EngineError for a model that could not be served, RegistryError for a parent that is
        not there, OSError where the folder cannot be written.
        """
        version, manifest = open_engine(model_dir).version, load(model_dir).manifest
        book = self.book()
        known = {entry.version for entry in book.models}
        if parent is not None and parent not in known:
            raise RegistryError(self._unknown(parent))
        if version in known:
            return version
        self._copy(model_dir, version)
        entry = Entry(
            version=version,
            added_at=at,
            parent=parent,
            created_at=manifest.created_at,
            data_hash=manifest.data_hash,
            metrics=manifest.metrics,
        )
        self._write(msgspec.structs.replace(book, models=(*book.models, entry)))
        return version

    def promote(self, version: str, at: str) -> str | None:
        """Note that a version answers from now on; the one before it. Opens the model first: what
        cannot be served is not promoted (EngineError)."""
        open_engine(self.path_of(version))
        book = self.book()
        before = book.stack[-1] if book.stack else None
        if before != version:
            self._promoted(book, (*book.stack, version), at, "promote")
        return before

    def roll_back(self, at: str) -> str:
        """Return to the version before the live one, and name it."""
        book = self.book()
        if len(book.stack) < 2:
            raise RegistryError(
                f"{self.root} has no version before the live one; promote a version by its name"
            )
        open_engine(self.path_of(book.stack[-2]))
        self._promoted(book, book.stack[:-1], at, "roll_back")
        return book.stack[-2]

    def _promoted(self, book: Book, stack: tuple[str, ...], at: str, action: str) -> None:
        promotion = Promotion(version=stack[-1], at=at, action=action)
        promotions = (*book.promotions, promotion)
        self._write(msgspec.structs.replace(book, stack=stack, promotions=promotions))

    def _copy(self, model_dir: Path, version: str) -> None:
        """Have the whole folder or nothing under its name, also after a crash in between."""
        unfinished = self.root / f".{version}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copytree(model_dir, unfinished)
            open_engine(unfinished)
            folder = self.root / version
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _write(self, book: Book) -> None:
        text = msgspec.json.format(msgspec.json.encode(book), indent=2)
        write_atomically(self.root / REGISTRY_FILE, text + b"\n")

    def _unknown(self, version: str) -> str:
        known = ", ".join(self.versions()) or "none"
        return f"{self.root} has no model {version}; it has: {known}"
