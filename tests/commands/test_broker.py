"""``clickahead broker`` as a process: what it prints, how it ends, what it leaves behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stream_app.cli import app
from stream_app.commands.broker import port_of
from stream_app.invocation import Invocation

MAIN = "from stream_app.cli import main; main()"


class Broker:
    """A running ``clickahead broker``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.said = [process.stdout.readline() for _ in range(4)]
        assert self.said[0].startswith("Kafka is ready at "), [*self.said, process.stdout.read()]
        host, port = self.said[0].split()[-1].split(":")
        self.address = host, int(port)

    @property
    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(self.address) == 0

    @property
    def kafka_pid(self) -> int:
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Exit code and the rest of what it says."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, rest


@contextmanager
def broker(folder: Path, *arguments: str) -> Iterator[Broker]:
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", MAIN, "broker", "--port", "0", *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Broker(process)
        finally:
            process.kill()


@pytest.mark.kafka
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_and_leaves_nothing(
    kafka_jars: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with broker(tmp_path) as running:
        assert running.listens
        assert list((tmp_path / "temporary").glob("clickahead-kafka-*"))
        assert running.end(number) == (0, "Kafka is stopped.\n")
        assert not running.listens
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.kafka
def test_a_folder_is_kept_and_gone_on_with(kafka_jars: Path, tmp_path: Path) -> None:
    with broker(tmp_path, "--keep") as running:
        assert f"data: {tmp_path / 'build/kafka'}\n" in running.said
        assert running.end(signal.SIGINT)[0] == 0
    identity = (tmp_path / "build/kafka/cluster.json").read_bytes()
    with broker(tmp_path, "--dir", "build/kafka") as again:
        os.kill(again.kafka_pid, signal.SIGKILL)
        said, _ = again.process.communicate(timeout=60)
        assert again.process.returncode == 1
        assert "Kafka has ended by itself" in said
        assert "Kafka Server started" in said
    assert (tmp_path / "build/kafka/cluster.json").read_bytes() == identity


def run(folder: Path, *arguments: str, **environ: str) -> Result:
    surroundings = {"CLICKAHEAD_CACHE": str(folder), **environ}
    return CliRunner().invoke(app, ["broker", *arguments], obj=Invocation(surroundings, folder))


@pytest.mark.kafka
def test_a_port_that_is_taken_is_one_sentence(kafka_jars: Path, tmp_path: Path) -> None:
    cache = str(kafka_jars.parents[1])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(tmp_path, "--port", str(port), CLICKAHEAD_CACHE=cache)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"clickahead: Port {port} is taken")


def test_a_cache_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "kafka").touch()
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "Name a writable folder with CLICKAHEAD_CACHE" in result.stderr


@pytest.mark.parametrize(
    ("servers", "port"),
    [
        (("127.0.0.1:9192",), 9192),
        (("far:1", "localhost:2", "127.0.0.1:3"), 2),
        (("far:9192",), 9092),
    ],
)
def test_the_port_is_where_clients_look(servers: tuple[str, ...], port: int) -> None:
    assert port_of(servers) == port
