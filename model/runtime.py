"""ONNX Runtime, silent: its official builds report to their maker unless told not to beforehand."""

import os

# Read once, when the library is loaded; then no uploader is made and no device id written.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

__all__ = ["ort"]
