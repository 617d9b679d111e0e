"""What goes together is checked before a file is read, and a beginning has what was named."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from model import checkpoint
from model.architectures import build_net
from model.net_shape import NetShape
from stream_app.beginning import Named, read_beginning
from stream_app.core.config import CoreConfig
from stream_app.invocation import UserError
from tests.model.logs import spec_of

CORE, CONSOLE = CoreConfig(pseudonym_key=bytes(16)), Console(quiet=True)


def named(*files: Path, **more: Any) -> Named:
    found = {"preset": "auto", "mapping": (), "begin": None, "catalogue": None, "texts": {}} | more
    return Named.of(files, **found)


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    path = tmp_path / "clicks.csv"
    lines = [f"u{n % 3},{item},{1_700_000_000 + 60 * n}" for n, item in enumerate("aababcabca")]
    path.write_text("user_id,item_id,timestamp\n" + "\n".join([*lines, "u1,a,never"]) + "\n")
    return path


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"preset": "shoes"}, "--preset shoes is unknown; choose one of auto, "),
        ({"texts": {"epoch": "2"}}, "--set epoch is unknown"),
        ({"texts": {"freeze": "body"}}, "add --from MODEL"),
        ({"catalogue": Path("items.jsonl")}, "add --from MODEL"),
        ({"begin": Path("model"), "texts": {"hidden_width": "3"}}, "hidden_width is that of"),
    ],
)
def test_what_does_not_go_together_is_told(more: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        named(Path("nowhere.csv"), **more)


def test_each_setting_reaches_what_it_is_about(clicks: Path) -> None:
    texts = {"epochs": "3", "max_items": "2"}
    begun = read_beginning(named(clicks, texts=texts), CORE, CONSOLE)
    spec, items, log = begun.material
    assert (items, spec.item_count, log.events) == (("a", "b"), 2, 10)
    assert (begun.config.epochs, begun.rejected) == (3, 1)
    assert begun.guide.weights is None
    assert begun.learned.files == (clicks,)


def test_an_earlier_model_keeps_its_items_and_those_of_log_and_catalogue_come_behind(
    clicks: Path, tmp_path: Path
) -> None:
    spec = spec_of(items=2)
    weights = build_net(spec, NetShape()).weights()
    checkpoint.save(tmp_path / "model", spec, ("z", "b"), weights)
    listed = tmp_path / "items.jsonl"
    listed.write_text('{"item_id": "a"}\n{"item_id": "unclicked"}\n')
    begun = read_beginning(
        named(clicks, begin=tmp_path / "model", catalogue=listed, texts={"epochs": "0"}),
        CORE,
        CONSOLE,
    )
    assert begun.material.items[:2] == ("z", "b")
    assert set(begun.material.items[2:]) == {"a", "c", "unclicked"}
    assert begun.guide.weights is not None
    assert not begun.config.holds_out
