"""Whether this installation runs in C what it can."""

from model import compiled_scan
from stream_app.core import compiled, encode


def slow_forms() -> list[str]:
    """A sentence where something is left to its form in Python; none where all is compiled."""
    forms = {
        "the core's loops": compiled.passes,
        "the writing of predictions": encode.compiled_form(),
        "the item scan": compiled_scan.library(),
    }
    missing = [name for name, form in forms.items() if form is None]
    if not missing:
        return []
    return [
        f"Not compiled, or in another version: {', '.join(missing)}. The forms in Python give the"
        " same results and take several times as long; install again where there is a C compiler."
    ]
