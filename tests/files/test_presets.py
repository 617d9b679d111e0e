import pytest

from stream_app.files.event import FIELDS
from stream_app.files.presets import PRESETS, fits, likeliest, matching

FORMS = [form for forms in PRESETS.values() for form in forms]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.name}-{form.layout}")
def test_a_preset_speaks_of_known_fields_and_of_users_and_items(form: object) -> None:
    assert set(form.columns.values()) | set(form.values) <= set(FIELDS)  # type: ignore[attr-defined]
    if form.layout == "rows":  # type: ignore[attr-defined]
        assert "item_id" in form.columns.values()  # type: ignore[attr-defined]
        assert {"user_id", "session_id"} & set(form.columns.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("head", "header", "names"),
    [
        (["1 2 3"], ["1 2 3"], ["yoochoose1_64", "beauty"]),
        (["1 2\t3", "1\t2"], ["1 2", "3"], ["yoochoose1_64"]),
        (["1,2,3,pv,4"], ["1", "2", "3", "pv", "4"], ["taobao"]),
        (["1,2,3,pv,4", "1,2,3,look,4"], ["1", "2", "3", "pv", "4"], []),
        ([], ["SessionId", "ItemId", "Time"], ["serenade"]),
        ([], ["action_time", "user_id", "sku_id", "type", "sessionId", "index"], ["jdata"]),
        ([], ["user_id", "item_id", "timestamp"], []),
        ([], [], []),
    ],
)
def test_a_preset_is_recognised_by_its_columns_or_its_shape(
    head: list[str], header: list[str], names: list[str]
) -> None:
    assert [form.name for form in matching(head, header)] == names


def test_a_file_without_lines_has_no_shape() -> None:
    assert not any(fits(form, []) for form in FORMS)


def test_users_are_numbered_and_sessions_begin_with_any_item() -> None:
    numbered, sessions = ["1 9 4", "2 7 7", "5 1"], ["37151 37149", "2613 33285", "1756 120"]
    assert [p.layout for p in likeliest(matching(numbered, []), numbered)] == ["users"]
    assert [p.layout for p in likeliest(matching(sessions, []), sessions)] == ["sessions"]
    assert len(likeliest(matching(["1 2"], []), ["1 2"])) == 2
