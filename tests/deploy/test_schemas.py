from pathlib import Path

from stream_app.schemas import encode, schemas

COMMITTED = Path(__file__).parents[2] / "deploy" / "schemas"


def test_the_committed_schemas_are_those_of_the_structs() -> None:
    committed = {path.stem: path.read_text() for path in COMMITTED.glob("*.json")}
    assert committed == {topic: encode(schema) for topic, schema in schemas().items()}, (
        "run: clickahead schemas"
    )
