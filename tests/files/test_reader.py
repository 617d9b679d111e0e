import csv
import gzip
import io
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_app.files import FileError, FileEvent, read

REAL = Path(__file__).parents[3] / "shared" / "data"

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
ROW = st.fixed_dictionaries(
    {
        "user_id": TEXT,
        "item_id": TEXT,
        "timestamp": st.integers(1_500_000_000_000, 1_900_000_000_000),
        "price": st.floats(0, 1e6) | st.none(),
        "quantity": st.integers(0, 9) | st.none(),
        "query": TEXT | st.none(),
    }
)
FIELDS = ["user_id", "item_id", "timestamp", "price", "quantity", "query"]


def values(events: Any) -> list[Any]:
    return [msgspec.json.decode(event.value) for event in events]


def present(row: dict[str, Any]) -> dict[str, Any]:
    return {name: cell for name, cell in row.items() if cell is not None}


def as_delimited(rows: list[dict[str, Any]], delimiter: str, end: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE t (user_id VARCHAR, item_id VARCHAR, timestamp BIGINT, price DOUBLE,"
        " quantity INTEGER, query VARCHAR)"
    )
    connection.executemany(
        "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", [[row[name] for name in FIELDS] for row in rows]
    )
    connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
@given(st.lists(ROW, min_size=1, max_size=6), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_every_format_gives_the_same_events(
    tmp_path: Path, rows: list[dict[str, Any]], mark: bool, end: str
) -> None:
    bom = b"\xef\xbb\xbf" if mark else b""
    contents = {
        "a.csv": bom + as_delimited(rows, ",", end),
        "a.tsv": bom + as_delimited(rows, "\t", end),
        "a.jsonl": bom + b"".join(msgspec.json.encode(row) + end.encode() for row in rows),
        "sparse.jsonl": b"\n".join(msgspec.json.encode(present(row)) for row in rows),
    }
    contents |= {f"{name}.gz": gzip.compress(content) for name, content in contents.items()}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    as_parquet(rows, tmp_path / "a.parquet")

    expected = [present(row) for row in rows]
    keys = [row["user_id"].encode() for row in rows]
    for name in [*contents, "a.parquet"]:
        events = list(read([tmp_path / name]))
        assert [present(row) for row in values(events)] == expected, name
        assert [event.key for event in events] == keys, name


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_files_follow_each_other_and_progress_reaches_all_bytes(tmp_path: Path) -> None:
    one = write(tmp_path / "1.csv", "user_id,item_id\na,1\n")
    two = write(tmp_path / "2.jsonl", '{"user_id":"b","item_id":"2"}\n')
    told: list[tuple[int, int]] = []
    events = values(read([one, str(two)], progress=lambda done, total: told.append((done, total))))
    assert [(row["user_id"], row["timestamp"]) for row in events] == [
        ("a", 1_577_836_800_000),
        ("b", 1_577_836_801_000),
    ]
    total = one.stat().st_size + two.stat().st_size
    assert told[-1] == (total, total)


def test_sorting_goes_across_files(tmp_path: Path) -> None:
    head = "user_id,item_id,timestamp\n"
    one = write(tmp_path / "1.csv", head + "a,1,1700000002\na,2,1700000001\n")
    two = write(tmp_path / "2.csv", head + "b,3,1700000001\n")
    assert [row["item_id"] for row in values(read([one, two], sort=True))] == ["2", "3", "1"]
    assert [row["item_id"] for row in values(read([one, two]))] == ["1", "2", "3"]


def test_a_file_without_a_header_is_mapped_by_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,u,i\ny,v,j\n")
    events = values(read([path], mapping={"2": "user_id", "3": "item_id"}))
    assert [(row["user_id"], row["item_id"]) for row in events] == [("u", "i"), ("v", "j")]


def test_lines_that_are_no_rows_are_events_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'user_id,item_id\na,1\nbroken\n\xff,1\n"a\nb,2\n')
    assert [event.value for event in read([path]) if event.key is None] == [
        b"broken",
        b"\xff,1",
        b'"a',
    ]


def test_a_file_that_begins_with_nonsense_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '"user_id,item_id\na,1\n')
    with pytest.raises(FileError, match="begins with no line of column names"):
        read([path])
    path.write_bytes(bytes(range(7, 256)) * 40)
    with pytest.raises(FileError, match="has no column for user_id and item_id"):
        read([path])


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.csv.gz"])
def test_an_empty_file_has_no_events(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    assert list(read([tmp_path / name])) == []


def test_a_file_that_cannot_be_read_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    good = write(tmp_path / "1.csv", "user_id,item_id\na,1\n")
    bad = write(tmp_path / "2.csv", "who,what\na,1\n")
    with pytest.raises(FileError, match="--map who=user_id --map who=item_id"):
        read([good, bad])
    with pytest.raises(FileError, match="There is no preset 'nope'; there are yoochoose1_64"):
        read([good], preset="nope")


def test_a_shape_that_fits_two_presets_has_to_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "1 2 3\n")
    with pytest.raises(FileError, match=r"--preset yoochoose1_64: .*--preset beauty: "):
        read([path])
    assert [event.key for event in read([path], preset="beauty")] == [b"1", b"1"]
    assert len(list(read([path], preset="yoochoose1_64"))) == 3
    with pytest.raises(FileError, match="--map has no use"):
        read([path], preset="beauty", mapping={"1": "item_id"})


@pytest.mark.parametrize(
    ("name", "content", "preset", "expected"),
    [
        (
            "a.tsv",
            "SessionId\tItemId\tTime\n1\t7\t1592337765.0\n1\t8\t1592337718.0\n",
            "serenade",
            [
                {"user_id": "1", "session_id": "1", "item_id": "8", "timestamp": 1592337718.0},
                {"user_id": "1", "session_id": "1", "item_id": "7", "timestamp": 1592337765.0},
            ],
        ),
        (
            "a.csv",
            "1,2,3,fav,1511658000\n",
            "taobao",
            [
                {
                    "user_id": "1",
                    "item_id": "2",
                    "event_type": "favourite",
                    "timestamp": 1511658000,
                }
            ],
        ),
        (
            "a.csv",
            "action_time,user_id,sku_id,type,sessionId,index\n2018-03-01 00:00:06,1,2,1,3,5.0\n",
            "jdata",
            [
                {
                    "user_id": "1",
                    "item_id": "2",
                    "event_type": "view",
                    "session_id": "3",
                    "timestamp": 5.0,
                }
            ],
        ),
        (
            "a.csv",
            "user_id,session_id,timestamp,step,action_type,reference,platform,device\n"
            "u,s,9,1,clickout item,7,US,mobile\nu,s,9,2,filter selection,1 Star,US,mobile\n",
            "trivago",
            [
                {
                    "user_id": "u",
                    "session_id": "s",
                    "timestamp": 9,
                    "event_type": "click",
                    "item_id": "7",
                    "device": "mobile",
                },
                {
                    "user_id": "u",
                    "session_id": "s",
                    "timestamp": 9,
                    "event_type": "filter",
                    "query": "1 Star",
                    "device": "mobile",
                },
            ],
        ),
    ],
    ids=["serenade", "taobao", "jdata", "trivago"],
)
def test_known_files_are_recognised_and_say_so(
    tmp_path: Path, name: str, content: str, preset: str, expected: list[Any]
) -> None:
    path = write(tmp_path / name, content)
    told: list[str] = []
    assert values(read([path], notice=told.append)) == expected
    assert len(told) == 1
    assert f"preset {preset} " in told[0]
    assert values(read([path], preset=preset)) == expected


def real(name: str, preset: str | None = None) -> list[FileEvent]:
    path = REAL / name
    if not path.exists():
        pytest.xfail(f"{name} is not beside this checkout, and no test may depend on it")
    return list(read([path], preset=preset))


@pytest.mark.parametrize(
    ("name", "preset", "events", "users", "items"),
    [
        ("yoochoose1_64/train.txt.gz", "yoochoose1_64", 486_026, 116_167, 17_376),
        ("serenade/train.tsv.gz", None, 113_601, 23_753, 18_009),
        ("trivago/val_100k.parquet", None, 100_003, 6_593, 13_949),
        ("taobao/UserBehavior.csv.gz", None, 96_168, 58_732, 75_384),
        ("jdata/train.csv.gz", None, 27_183, 3_520, 12_195),
        ("beauty/Beauty.txt.gz", "beauty", 198_502, 22_363, 12_101),
    ],
)
def test_real_files_give_their_published_counts(
    name: str, preset: str | None, events: int, users: int, items: int
) -> None:
    found = real(name, preset)
    assert len(found) == events
    assert len({event.key for event in found}) == users
    assert len({row["item_id"] for row in values(found) if "item_id" in row}) == items


def test_the_real_test_prefixes_are_the_positions_of_the_rebuilt_sessions() -> None:
    name = "yoochoose1_64/test_prefix_target.tsv.gz"
    sessions: dict[str, list[str]] = {}
    for row in values(real(name)):
        sessions.setdefault(row["user_id"], []).append(row["item_id"])
    rebuilt = Counter(
        (" ".join(items[:end]), items[end])
        for items in sessions.values()
        for end in range(1, len(items))
    )
    with gzip.open(REAL / name, "rt") as file:
        published = Counter(tuple(line.rstrip("\n").split("\t")) for line in file)
    assert rebuilt.total() == 55_898
    assert rebuilt == published
