"""The jars that run are the pinned ones, whatever the network, the disk and other processes do."""

import gc
import hashlib
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stream_app.kafka.jars import (
    Jar,
    JarsError,
    cache_root,
    class_path,
    ensure_jars,
    install_directory,
    is_intact,
    pinned,
    read_lock,
)

CONTENTS = {f"part-{n}": bytes([n]) * (1000 * n + 1) for n in range(3)}
JARS = tuple(
    Jar(hashlib.sha256(content).hexdigest(), len(content), "org.example.shop", name, "1.0")
    for name, content in CONTENTS.items()
)


class Repository(ThreadingHTTPServer):
    """A Maven repository with the jars of CONTENTS; ``served`` may be altered."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.served = {
            f"/org/example/shop/{name}/1.0/{name}-1.0.jar": content
            for name, content in CONTENTS.items()
        }
        self.cut = 0  # how many answers to break off in the middle
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()

    @property
    def named(self) -> dict[str, str]:
        return {"local": f"http://127.0.0.1:{self.server_port}"}

    @property
    def jars_asked(self) -> list[int]:
        return sorted(count for path, count in self.asked.items() if path.endswith(".jar"))


class Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.asked[self.path] += 1
            content = self.server.served.get(self.path)
            cut = content is not None and self.server.cut > 0
            self.server.cut -= cut
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def repository() -> Iterator[Repository]:
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    with warnings.catch_warnings():
        # jgo leaves an answer that it does not want open until it is collected.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_jars_are_downloaded_once(repository: Repository, tmp_path: Path) -> None:
    arrived: list[int] = []
    directory = ensure_jars(tmp_path, JARS, repository.named, arrived.append)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        f"{name}-1.0.jar": content for name, content in CONTENTS.items()
    }
    assert sum(arrived) == sum(jar.size_bytes for jar in JARS)
    assert ensure_jars(tmp_path, JARS, repository.named) == directory
    assert repository.jars_asked == [1, 1, 1]
    left = {path.name for path in directory.parent.iterdir()}
    assert left == {directory.name, f"{directory.name}.lock"}


def test_many_at_once_download_once(repository: Repository, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        ready = [pool.submit(ensure_jars, tmp_path, JARS, repository.named) for _ in range(4)]
    assert len({task.result() for task in ready}) == 1
    assert repository.jars_asked == [1, 1, 1]


def test_other_bytes_are_refused_and_asked_for_again(
    repository: Repository, tmp_path: Path
) -> None:
    path, content = list(repository.served.items())[1]
    repository.served[path] = content[:-1] + b"!"
    with pytest.raises(JarsError, match=r"org\.example\.shop:part-1:1\.0 came with other bytes"):
        ensure_jars(tmp_path, JARS, repository.named)
    assert not install_directory(tmp_path, JARS).exists()
    repository.served[path] = content
    assert is_intact(ensure_jars(tmp_path, JARS, repository.named), JARS)
    assert repository.asked[path] == 2


def test_a_connection_that_breaks_is_tried_again(repository: Repository, tmp_path: Path) -> None:
    repository.cut = 2
    assert is_intact(ensure_jars(tmp_path, JARS, repository.named), JARS)
    assert sum(repository.jars_asked) == len(JARS) + 2


def test_half_a_jar_of_an_interrupted_download_is_not_taken_for_whole(
    repository: Repository, tmp_path: Path
) -> None:
    part = install_directory(tmp_path, JARS).with_suffix(".part")
    half = part / "org/example/shop/part-2/1.0/part-2-1.0.jar"
    half.parent.mkdir(parents=True)
    half.write_bytes(CONTENTS["part-2"][:10])
    assert is_intact(ensure_jars(tmp_path, JARS, repository.named), JARS)


@pytest.mark.parametrize("damage", ["altered", "cut", "missing"])
def test_a_damaged_install_is_repaired(repository: Repository, tmp_path: Path, damage: str) -> None:
    directory = ensure_jars(tmp_path, JARS, repository.named)
    jar = directory / JARS[2].file_name
    content = jar.read_bytes()
    jar.unlink()
    if damage != "missing":
        jar.write_bytes(b"!" + content[1:] if damage == "altered" else content[:-1])
    assert not is_intact(directory, JARS)
    assert ensure_jars(tmp_path, JARS, repository.named) == directory
    assert jar.read_bytes() == content


def test_without_network_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(JarsError) as caught:
        ensure_jars(tmp_path, JARS, {"closed": "http://127.0.0.1:1"})
    message = str(caught.value)
    assert "no repository answered" in message
    assert f"copy {install_directory(tmp_path, JARS)} from a machine that has it" in message
    assert "bootstrap_servers" in message


def test_a_jar_that_the_repository_lacks_is_named(repository: Repository, tmp_path: Path) -> None:
    repository.served.popitem()
    with pytest.raises(JarsError, match=r"part-2:1\.0 could not be downloaded"):
        ensure_jars(tmp_path, JARS, repository.named)


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JarsError, match="Name a writable folder with CLICKAHEAD_CACHE"):
        ensure_jars(tmp_path / "file", JARS, {})


def test_another_list_of_jars_is_another_folder(tmp_path: Path) -> None:
    assert install_directory(tmp_path, JARS) != install_directory(tmp_path, JARS[:2])


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({}, "/elsewhere/alice/.cache/clickahead"),
        ({"XDG_CACHE_HOME": "/fast"}, "/fast/clickahead"),
        ({"XDG_CACHE_HOME": ""}, "/elsewhere/alice/.cache/clickahead"),
        ({"XDG_CACHE_HOME": "/fast", "CLICKAHEAD_CACHE": "/mine"}, "/mine"),
    ],
)
def test_the_cache_is_where_the_environment_says(environ: dict[str, str], root: str) -> None:
    assert cache_root(environ, Path("/elsewhere/alice")) == Path(root)


def test_the_pinned_jars_are_one_kafka() -> None:
    jars = pinned()
    versions = {jar.artifact: jar.version for jar in jars if jar.group == "org.apache.kafka"}
    # Resolved in one go with the log binding, kafka-clients comes out older than the server.
    assert set(versions.values()) == {versions["kafka-clients"]}
    assert any(jar.artifact == "log4j-slf4j-impl" for jar in jars)
    assert len({jar.file_name for jar in jars}) == len(jars)
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in jars)


def test_the_class_path_has_every_jar_in_the_pinned_order(tmp_path: Path) -> None:
    assert class_path(tmp_path, JARS).split(":") == [
        str(tmp_path / f"part-{n}-1.0.jar") for n in range(3)
    ]


def test_a_malformed_line_of_the_list_is_named() -> None:
    with pytest.raises(JarsError, match="Line 2 of the list of jars reads 'ab 1 a:b'"):
        read_lock("ab 1 a:b:c\nab 1 a:b\n")
