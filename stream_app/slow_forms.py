"""Whether this installation runs in C what it can."""

from model import native_scan
from stream_app.core import compiled, encode


def slow_forms() -> list[str]:
    """A sentence where something is left to its form in Python; none where all is compiled."""
    forms = {
        "the core's loops": compiled.is_compiled(),
        "the writing of predictions": encode.compiled_form() is not None,
        "the item scan": native_scan.is_compiled(),
    }
    missing = [name for name, is_there in forms.items() if not is_there]
    if not missing:
        return []
    return [
        f"Not compiled, or in another version: {', '.join(missing)}. The forms in Python give the"
        " same results and take several times as long; install again where there is a C compiler."
    ]
