"""Clicks in files: CSV, TSV, JSON Lines and Parquet, read as the records a producer would send."""

from stream_app.files.columns import parse_mapping
from stream_app.files.event import FileError, FileEvent
from stream_app.files.presets import PRESETS
from stream_app.files.reader import read

__all__ = ["PRESETS", "FileError", "FileEvent", "parse_mapping", "read"]
