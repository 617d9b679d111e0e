import subprocess
import sys
from pathlib import Path

import pytest

from stream_app.commands.produce import sentence
from stream_app.produce import Produced

ROOT = Path(__file__).parents[2]
CLICKAHEAD = [sys.executable, "-c", "from stream_app.cli import main; main()"]


def test_the_last_line_accounts_for_every_event() -> None:
    whole = Produced((2, 0, 3), 0, False, 2.0)
    assert sentence(whole, "t") == "sent 5 events to t in 2.0 s (2/s); by partition: 2 0 3"
    broken = sentence(Produced((1,), 4, True, 0.0), "t")
    assert broken.endswith("; 4 too large for Kafka, not sent; interrupted")


def test_without_kafka_the_command_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user_id,item_id\nu,i\n")
    done = clickahead("produce", str(path), "--bootstrap-servers", "127.0.0.1:9")
    assert done.returncode == 3
    assert "No Kafka answers PLAINTEXT at 127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.csv"], "none.csv cannot be read: No such file or directory."),
        (["a.csv", "--rate", "0"], "--rate 0 is no rate"),
        (["a.csv", "--map", "x"], "--map x has to be column=field"),
        (["a.csv", "--map", "who=user_id"], "has no column 'who' to map"),
        (["a.csv", "--preset", "x"], "There is no preset 'x'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_kafka_is_asked(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id\nu,i\n")
    arguments = [str(tmp_path / arguments[0]), *arguments[1:]]
    done = clickahead("produce", *arguments, "--bootstrap-servers", "127.0.0.1:9")
    assert done.returncode == 2
    assert sentence in done.stderr


def clickahead(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [*CLICKAHEAD, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
