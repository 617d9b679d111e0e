"""What is not compiled is said."""

import pytest

from model import native_scan
from stream_app.core import compiled
from stream_app.slow_forms import slow_forms


def test_whoever_serves_without_compiled_loops_is_told_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled, "passes", None)
    monkeypatch.setattr(native_scan, "library", lambda: None)
    (said,) = slow_forms()
    assert "the core's loops" in said
    assert "the item scan" in said
    assert "C compiler" in said
