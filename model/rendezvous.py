"""How the processes of one life of a team find each other, and never one of an earlier life.

``torchrun`` starts a team anew when one of it has died, and its store of addresses outlives them
all: gloo would take a dead process' address for its successor's and wait for it for ever (seen with
torch 2.15 in three restarts of six). So the living first agree on a word that no dead one knew, and
keep their addresses under it.
"""

import time
from collections.abc import Callable

from torch.distributed.distributed_c10d import PrefixStore, Store

POLL_SECONDS = 0.02


def met(
    store: Store,
    rank: int,
    size: int,
    word: str,
    patience_seconds: float,
    now: Callable[[], float] = time.monotonic,
) -> Store:
    """The part of ``store`` that belongs to this life of the team's ``size`` processes.

    Each process brings a ``word`` that is like no other's. The first one's is the life's; who
    comes says its own and believes the answer that repeats it, since only the living can know it.
    Raises TimeoutError after ``patience_seconds``.
    """
    until = now() + patience_seconds

    def late() -> bool:
        return now() > until

    if rank == 0:
        _gather(store, set(range(1, size)), word, late)
        return PrefixStore(word, store)
    store.set(f"came/{rank}", word)
    while (answer := _read(store, f"answer/{rank}").split())[:1] != [word]:
        _pause("the first process of the team", late)
    store.set(f"heard/{rank}", answer[1])
    return PrefixStore(answer[1], store)


def _gather(store: Store, missing: set[int], word: str, late: Callable[[], bool]) -> None:
    while missing := {rank for rank in missing if _read(store, f"heard/{rank}") != word}:
        for rank in missing:
            store.set(f"answer/{rank}", f"{_read(store, f'came/{rank}')} {word}")
        _pause(f"process {', '.join(map(str, sorted(missing)))} of the team", late)


def _read(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


def _pause(awaited: str, late: Callable[[], bool]) -> None:
    if late():
        raise TimeoutError(f"{awaited} did not come; look in its log, and start the team again")
    time.sleep(POLL_SECONDS)
