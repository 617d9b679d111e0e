"""``python -m stream_app``: the same as ``clickahead``."""

from stream_app.cli import main

if __name__ == "__main__":
    main()
