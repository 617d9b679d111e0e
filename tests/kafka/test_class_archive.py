"""The archives speed Kafka up when they are there and fit, and are missed by nobody."""

import shutil
from pathlib import Path

import pytest

from stream_app.kafka.class_archive import ClassArchive
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.java import Java
from stream_app.kafka.node import java_environment


def test_there_are_no_flags_without_archives(tmp_path: Path) -> None:
    assert ClassArchive(tmp_path).flags(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    archive = ClassArchive(no_folder)
    archive.prepare(Java("", 64, archive).plain, java_environment())
    (tmp_path / "classes.jsa").write_bytes(b"recorded")
    archive.keep(tmp_path)
    assert archive.flags() == []
    assert sorted(tmp_path.iterdir()) == [no_folder]


@pytest.mark.kafka
def test_the_first_kafka_leaves_an_archive_for_the_next(kafka_jars: Path, tmp_path: Path) -> None:
    install = tmp_path / "install"
    install.mkdir()
    for jar in kafka_jars.glob("*.jar"):
        shutil.copy2(jar, install)
    archive = ClassArchive(install)

    def uses_the_archive(name: str) -> bool:
        with EmbeddedKafka(tmp_path / name, install) as kafka:
            mapped = str(archive.kafka) in Path(f"/proc/{kafka.pid(1)}/maps").read_text()
            refused = "Unable to use shared archive" in kafka.log_path(1).read_text()
            return mapped and not refused

    assert not uses_the_archive("first")
    assert uses_the_archive("second")
    content = bytearray(archive.kafka.read_bytes())
    content[1_000_000] ^= 0xFF
    archive.kafka.write_bytes(content)
    assert not uses_the_archive("damaged")
    left = {path.name for path in install.iterdir() if path.suffix != ".jar"}
    assert left == {archive.jdk.name, archive.kafka.name}
