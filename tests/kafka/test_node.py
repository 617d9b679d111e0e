"""A node is a process that we own. Here Java runs without Kafka; test_embedded.py runs it."""

import signal
import time
from pathlib import Path

import pytest

from stream_app.kafka.class_archive import ClassArchive
from stream_app.kafka.java import Java
from stream_app.kafka.node import BrokerError, Node, java_environment, log_tail, run_tool


def java(class_path: Path) -> Java:
    return Java(str(class_path), 64, ClassArchive(class_path))


def test_a_node_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    node = Node(1, tmp_path)
    node.start(java(tmp_path))  # no Kafka in that class path
    with pytest.raises(BrokerError) as caught:
        node.wait_until_ready(time.monotonic() + 60)
    assert "Kafka node 1 ended (exit code 1) before it was ready" in str(caught.value)
    assert str(node.log_path) in str(caught.value)
    assert "kafka.Kafka" in str(caught.value)
    node.end()


def test_a_node_that_is_not_ready_in_time_says_so(tmp_path: Path) -> None:
    node = Node(1, tmp_path)
    node.start(java(tmp_path))
    with pytest.raises(BrokerError, match="was not ready in time"):
        node.wait_until_ready(time.monotonic() - 1)
    node.end()


def test_ends_and_signals_of_what_does_not_run(tmp_path: Path) -> None:
    node = Node(1, tmp_path)
    node.terminate()
    node.end()
    assert node.wait(0)
    assert node.pid is None
    with pytest.raises(BrokerError, match="is not running"):
        node.send_signal(signal.SIGSTOP)


def test_a_tool_that_fails_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"(?s)tool\.log:.*NoSuchTool"):
        run_tool(java(tmp_path), [tmp_path], [["NoSuchTool"]])


def test_java_hears_nothing_of_the_callers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    monkeypatch.setenv("CLASSPATH", "/elsewhere")
    assert set(java_environment()) == {"PATH", "LC_ALL"}


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert log_tail(log) == "(empty)"
    log.write_bytes(b"".join(b"line %d\n" % n for n in range(100)) + b"\xff")
    assert log_tail(log, 3) == "line 98\nline 99\n\ufffd"
