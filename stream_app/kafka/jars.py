"""Apache Kafka's jars: pinned by SHA-256, downloaded once, checked on every use.

``jars.lock`` beside this file names every jar. The dependency graph is therefore not walked again
at install time: what runs is what was pinned, or nothing. ``pin_jars.py`` writes the list.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple

LOCK_FILE = Path(__file__).with_name("jars.lock")
DOWNLOADS_AT_ONCE = 4
TIMEOUT_SECONDS = 30
TRIES = 3


class JarsError(RuntimeError):
    """Kafka's jars cannot be had; the message says why and what to do."""

    exit_code: ClassVar[int] = 1


class Jar(NamedTuple):
    """One Maven artifact. Its file is ``artifact-version.jar``."""

    sha256: str  # hex
    size_bytes: int
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


Report = Callable[[int], None]
"""Called with every number of bytes that arrived, from any thread."""


def silent(arrived_bytes: int) -> None:
    """The report of a caller that shows nothing."""


def read_lock(text: str) -> tuple[Jar, ...]:
    """The jars of a lock file: a line each, ``sha256 size group:artifact:version``.

    Raises:
        JarsError: a line is not of that form.
    """
    jars = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            sha256, size, coordinate = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(sha256, int(size), group, artifact, version))
        except ValueError:
            raise JarsError(
                f"Line {number} of the list of jars reads {line!r}; "
                "expected 'sha256 size group:artifact:version'."
            ) from None
    return tuple(jars)


def pinned() -> tuple[Jar, ...]:
    """The jars that this version runs Kafka with."""
    return read_lock(LOCK_FILE.read_text("ascii"))


def cache_root(environ: Mapping[str, str], home: Path) -> Path:
    """``CLICKAHEAD_CACHE``, else ``clickahead`` in the XDG cache folder."""
    if chosen := environ.get("CLICKAHEAD_CACHE"):
        return Path(chosen)
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "clickahead"


def install_directory(root: Path, jars: tuple[Jar, ...]) -> Path:
    """Where these very jars lie: another list is another folder, so versions never mix."""
    digest = hashlib.sha256("".join(jar.sha256 for jar in jars).encode()).hexdigest()
    return root / "kafka" / digest[:16]


def is_intact(directory: Path, jars: tuple[Jar, ...]) -> bool:
    """Whether the folder holds every jar with the pinned bytes (45 MB hash in about 50 ms)."""
    return all(_is_intact(directory / jar.file_name, jar) for jar in jars)


def ensure_jars(
    root: Path,
    jars: tuple[Jar, ...] | None = None,
    repositories: Mapping[str, str] | None = None,
    report: Report = silent,
) -> Path:
    """The folder with Kafka's jars, downloaded first if need be. Safe to call at once.

    Args:
        root: the cache, see `cache_root`.
        jars: what to install; by default what is pinned.
        repositories: Maven repositories, name to address; by default jgo's, Maven Central.
        report: told of the bytes as they arrive, of ``sum(jar.size_bytes)`` at most.

    Raises:
        JarsError: the jars cannot be downloaded or are not the pinned ones.
    """
    jars = pinned() if jars is None else jars
    directory = install_directory(root, jars)
    try:
        if is_intact(directory, jars):
            return directory
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _locked(directory.with_suffix(".lock")):
            if not is_intact(directory, jars):
                _install(directory, jars, repositories, report)
    except OSError as error:
        raise JarsError(
            f"Apache Kafka's jars cannot be kept in {root}: {error}. "
            "Name a writable folder with CLICKAHEAD_CACHE."
        ) from error
    return directory


def class_path(directory: Path, jars: tuple[Jar, ...] | None = None) -> str:
    """The jars as a Java class path, in the pinned order, so that it is the same every time."""
    jars = pinned() if jars is None else jars
    return os.pathsep.join(str(directory / jar.file_name) for jar in jars)


def _is_intact(path: Path, jar: Jar) -> bool:
    try:
        if path.stat().st_size != jar.size_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process that held it, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(
    directory: Path,
    jars: tuple[Jar, ...],
    repositories: Mapping[str, str] | None,
    report: Report,
) -> None:
    """Download beside the folder, then put it in place in one rename.

    The download folder outlives a failure, so that the next try asks only for what is missing.
    """
    downloads = directory.with_suffix(".part")
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        tasks = [pool.submit(_fetch, jar, downloads, repositories, report) for jar in jars]
        try:
            paths = [task.result() for task in tasks]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    staging = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", dir=directory.parent))
    for path in paths:
        path.replace(staging / path.name)
    staging.chmod(0o755)
    if directory.exists():
        shutil.rmtree(directory)
    staging.replace(directory)
    shutil.rmtree(downloads)


def _fetch(
    jar: Jar, downloads: Path, repositories: Mapping[str, str] | None, report: Report
) -> Path:
    """One verified jar in the download folder."""
    path = downloads.joinpath(*jar.group.split("."), jar.artifact, jar.version, jar.file_name)
    if _is_intact(path, jar):
        report(jar.size_bytes)
        return path
    path.unlink(missing_ok=True)  # cut short by an earlier end: jgo would take it for whole
    _download(jar, downloads, repositories, report)
    if not _is_intact(path, jar):
        size_bytes = path.stat().st_size
        path.unlink()
        raise JarsError(
            f"{jar.coordinate} came with other bytes than the pinned ones ({size_bytes} bytes "
            f"given, {jar.size_bytes} expected, SHA-256 {jar.sha256}). It was thrown away. "
            "Try again; if it stays so, the repository or a proxy in between alters files."
        )
    return path


def _download(
    jar: Jar, downloads: Path, repositories: Mapping[str, str] | None, report: Report
) -> None:
    # jgo takes 0.7 s to import, and a machine needs it once in its life.
    import requests
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def counted(_name: str, _size: int) -> Iterator[Report]:
        yield report

    context = MavenContext(
        resolver=PythonResolver(progress_callback=counted),
        repo_cache=downloads,
        remote_repos=None if repositories is None else dict(repositories),
        timeout=TIMEOUT_SECONDS,
    )
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for tries_left in reversed(range(TRIES)):
        try:
            artifact.resolve()
            return
        except requests.RequestException as error:
            # A connection that broke leaves a part of the file, which jgo would take for whole.
            (downloads / artifact.component.path_prefix / jar.file_name).unlink(missing_ok=True)
            if tries_left == 0:
                why = f"no repository answered: {type(error).__name__}"
                raise JarsError(_unavailable(jar, downloads, why)) from error
        except RuntimeError as error:
            raise JarsError(_unavailable(jar, downloads, str(error))) from error


def _unavailable(jar: Jar, downloads: Path, why: str) -> str:
    return (
        f"Apache Kafka's jars are not in the cache, and {jar.coordinate} could not be downloaded "
        f"({why}). Connect this machine to Maven Central once; or copy "
        f"{downloads.with_suffix('')} from a machine that has it; or run against a Kafka of your "
        "own by setting its bootstrap_servers."
    )
