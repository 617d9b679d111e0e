"""Live recall is counted where a next item could be known, and nowhere else."""

from stream_app.core.batch import RecallSums
from stream_app.core.recall import MOST_USERS, LiveRecall


def test_a_next_item_is_held_against_the_answer_before_it() -> None:
    recall = LiveRecall()
    top = [3, 5, 7]
    recall.see(4, 1, 3, True, top)  # nothing was answered before it
    assert recall.take() is None
    recall.see(4, 2, 5, True, top)
    recall.see(4, 3, 6, True, top)
    recall.see(4, 4, 5, False, top)  # opens a session, or is unknown
    assert recall.take() == RecallSums(judged=2, hits=1)
    assert recall.take() is None


def test_an_event_that_does_not_follow_on_is_not_judged() -> None:
    """The row was given to another user, or the user's events were not all watched."""
    recall, top = LiveRecall(), [3]
    recall.see(4, 7, 3, True, top)
    recall.see(4, 1, 3, True, top)
    recall.see(4, 3, 3, True, top)
    assert recall.take() is None
    recall.see(4, 4, 3, True, top)
    assert recall.take() == RecallSums(1, 1)


def test_no_more_users_are_watched_than_there_is_room_for() -> None:
    recall, top = LiveRecall(), [3]
    for row in range(MOST_USERS + 10):
        recall.see(row, 1, 3, True, top)
    for row in range(MOST_USERS + 10):
        recall.see(row, 2, 3, True, top)
    assert recall.take() == RecallSums(MOST_USERS, MOST_USERS)
