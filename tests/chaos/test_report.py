from stream_app.kafka.dump import DumpRecord
from tests.chaos.report import Outcome, counted, kinds, recoveries, summary
from tests.chaos.schedule import Act
from tests.chaos.verifier import KeyValue, Topics, Verdict
from tests.chaos.workers import Done


def commits(*at_ms: int) -> list[DumpRecord]:
    return [DumpRecord(0, n, at, "create", b"p", b"", ()) for n, at in enumerate(at_ms)]


def done(at_ms: int, deed: str, target: str) -> Done:
    return Done(at_ms, Act(0, deed, target))  # type: ignore[arg-type]


def test_recovery_ends_when_the_last_partition_is_served_again() -> None:
    acts = [done(1_000, "kill", "worker-1"), done(1_100, "start", "worker-1")]
    changes = {0: commits(900, 1_010, 1_020), 1: commits(990, 4_000, 4_500)}
    assert recoveries(acts, changes, 9_000) == [3_000]


def test_a_death_in_the_middle_of_another_incident_measures_neither() -> None:
    acts = [done(1_000, "kill", "worker-1"), done(2_000, "stop", "worker-2")]
    changes = {0: commits(900, 4_000), 1: commits(1_001, 4_500)}
    assert recoveries(acts, changes, 9_000) == []


def test_all_at_once_is_one_death_for_each_and_the_end_of_the_traffic_is_none() -> None:
    acts = [done(1_000 + n, "kill", f"worker-{n}") for n in range(3)]
    acts.append(done(8_000, "kill", "worker-1"))
    assert recoveries(acts, {0: commits(500, 3_000)}, 7_000) == [2_000, 1_999, 1_998]


def test_outputs_are_counted_by_kind() -> None:
    def predicted(revision: int, model: str) -> bytes:
        return b'{"event_id":"e","revision":%d,"model":"%s"}' % (revision, model.encode())

    predictions: list[KeyValue] = [
        (b"k", predicted(0, "a-1")),
        (b"k", predicted(1, "a-1")),
        (b"k", None),
    ]
    outputs = {("predictions", 0): predictions, ("rejected", 0): [(None, b"")]}
    counts = kinds(Topics(outputs, {0: {b"u": b""}}))
    assert +counts == {
        "predictions": 3, "corrections": 1, "model a-1": 2, "rejected": 1, "rows of state": 1,
    }  # fmt: skip


def test_the_last_line_adds_up() -> None:
    bad = Outcome(2, "at_least_once", 50, Verdict(1, 7, 2), counted([done(1, "kill", "worker-1")]))
    good = Outcome(1, "exactly_once", 100, deeds=counted([done(1, "kill", "broker-1")]))
    good.recovery_ms = [1_000, 3_000]
    line = summary([good, bad], 12.34)
    assert line["failed"] == [["at_least_once", 2]]
    assert (line["lost"], line["duplicated"], line["mismatched"]) == (1, 0, 2)
    assert line["duplicated_at_least_once"] == 7
    assert (line["kills"], line["events"], line["seconds"]) == (2, 150, 12.3)
    assert line["acts"] == {"broker_kill": 1, "worker_kill": 1}
    assert line["recovery_seconds"] == {"measured": 2, "p50": 2.0, "max": 3.0}


def test_doubles_fail_where_there_must_be_none() -> None:
    assert Outcome(1, "at_least_once", verdict=Verdict(0, 3, 0)).passed
    assert not Outcome(1, "exactly_once", verdict=Verdict(0, 3, 0)).passed
    assert not Outcome(1, "exactly_once", faults=["a transaction stays open"]).passed
