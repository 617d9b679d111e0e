"""Moments as people write them: ``2h`` ago, or a date and time."""

import re

from stream_app.core.clean import epoch_ms
from stream_app.invocation import UserError

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_AGO = re.compile(r"(\d{1,9})([smhdw])")


def moment_ms(text: str, now_ms: int) -> int:
    """Epoch milliseconds of ``30s``, ``15m``, ``2h``, ``7d`` or ``1w`` before ``now_ms``, of an
    RFC 3339 date and time (no zone: UTC), or of epoch milliseconds.

    Raises:
        UserError: it is none of these.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return max(0, now_ms - int(ago[1]) * _UNITS_MS[ago[2]])
    at_ms = epoch_ms(text)
    if at_ms is None:
        raise UserError(
            f"{text!r} is no moment; give how long ago (90s, 15m, 2h, 7d), or a date as in"
            " 2026-01-31T08:00:00Z."
        )
    return at_ms
