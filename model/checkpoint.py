"""A trained model as a folder: weights in safetensors, everything else in JSON, no pickle.

It imports no torch, so that the serving side can read a checkpoint; ``model.net_shape`` says which
weights there are.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from model.net_shape import NetShape, weight_shapes
from model.spec import Floats, ModelSpec, SpecError, Vocabulary, fingerprint_of

WEIGHTS_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.json"
ITEMS_FILE = "items.json"
# In a model's folder the one that has not seen what was held out.
CHOSEN = "train/chosen"

# A cosine divides by max(norm, NORM_FLOOR), in training and in serving.
NORM_FLOOR = 1e-6


class CheckpointError(ValueError):
    """A folder holds no model, half a model, or one whose parts do not belong together."""

    exit_code: ClassVar[int] = 2


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``manifest.json``: what the weights are, where they come from and how good they were."""

    spec: ModelSpec
    net: NetShape = NetShape()
    fingerprint: str
    items_file: str = ITEMS_FILE
    weights_file: str = WEIGHTS_FILE
    metrics: dict[str, Any] = {}
    config: dict[str, Any] = {}
    data_hash: str = ""
    created_at: str = ""


class Checkpoint(msgspec.Struct, frozen=True):
    """A model in memory: its manifest, its vocabulary, its weights by name (float32)."""

    manifest: Manifest
    items: tuple[str, ...]
    weights: dict[str, Floats]

    @property
    def spec(self) -> ModelSpec:
        return self.manifest.spec

    @property
    def fingerprint(self) -> bytes:
        return bytes.fromhex(self.manifest.fingerprint)

    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.items, self.spec.cold_buckets)


def scaled_directions(spec: ModelSpec, weights: Mapping[str, Floats]) -> Floats:
    """The known items' unit vectors times the logit scale, [V, H]."""
    items = weights["item_embedding"][: spec.item_count].astype(np.float64)
    lengths = np.maximum(np.linalg.norm(items, axis=1, keepdims=True), NORM_FLOOR)
    scaled: Floats = (items / lengths * weights["logit_scale"]).astype(np.float32)
    return scaled


def save(
    directory: Path,
    spec: ModelSpec,
    items: Sequence[str],
    weights: Mapping[str, Any],
    *,
    net: NetShape = NetShape(),  # noqa: B008
    metrics: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    data_hash: str = "",
    created_at: str = "",
) -> Manifest:
    """Write a checkpoint and return its manifest.

    The manifest goes last: a folder whose writing was cut off has either no manifest or one whose
    fingerprint disagrees, and ``load`` refuses both.
    """
    arrays = {name: np.array(array, dtype=np.float32, order="C") for name, array in weights.items()}
    _check(directory, spec, net, items, arrays)
    manifest = Manifest(
        spec=spec,
        net=net,
        fingerprint=fingerprint_of(spec, items, arrays).hex(),
        metrics=dict(metrics or {}),
        config=dict(config or {}),
        data_hash=data_hash,
        created_at=created_at,
    )
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / WEIGHTS_FILE, save_arrays(arrays))
    write_atomically(directory / ITEMS_FILE, msgspec.json.encode(list(items)))
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    write_atomically(directory / MANIFEST_FILE, text + b"\n")
    return manifest


def load(directory: Path) -> Checkpoint:
    """Read a checkpoint, or raise CheckpointError with a sentence that says what is wrong."""
    try:
        manifest = msgspec.json.decode(_read(directory, MANIFEST_FILE), type=Manifest)
    except (msgspec.DecodeError, SpecError) as error:
        raise CheckpointError(
            f"{directory / MANIFEST_FILE} is no model manifest: {error}"
        ) from None
    for name in (manifest.items_file, manifest.weights_file):
        if Path(name).name != name or not name:
            raise CheckpointError(
                f"{directory / MANIFEST_FILE} names {name!r}; a model's files lie beside it"
            )
    try:
        items = msgspec.json.decode(_read(directory, manifest.items_file), type=tuple[str, ...])
    except msgspec.DecodeError as error:
        raise CheckpointError(
            f"{directory / manifest.items_file} is no list of item ids: {error}"
        ) from None
    try:
        arrays = load_arrays(_read(directory, manifest.weights_file))
    except SafetensorError as error:
        raise CheckpointError(
            f"{directory / manifest.weights_file} is no safetensors file: {error}"
        ) from None
    _check(directory, manifest.spec, manifest.net, items, arrays)
    found = fingerprint_of(manifest.spec, items, arrays).hex()
    if found != manifest.fingerprint:
        raise CheckpointError(
            f"{directory} mixes files of different models: the manifest's fingerprint is "
            f"{manifest.fingerprint}, its files give {found}; copy or train the model again"
        )
    return Checkpoint(manifest, items, arrays)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step: after a crash a reader finds the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)


def _read(directory: Path, name: str) -> bytes:
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{directory} is no model folder: {name} cannot be read ({error.strerror}); "
            "give the folder that training wrote"
        ) from None


def _check(
    directory: Path,
    spec: ModelSpec,
    net: NetShape,
    items: Sequence[str],
    arrays: Mapping[str, Any],
) -> None:
    if len(items) != spec.item_count:
        raise CheckpointError(
            f"{directory}: the spec counts {spec.item_count} items, the vocabulary {len(items)}"
        )
    shapes = weight_shapes(spec, net)
    if shapes.keys() != arrays.keys():
        missing, strange = shapes.keys() - arrays.keys(), arrays.keys() - shapes.keys()
        raise CheckpointError(
            f"{directory}: weights missing: {sorted(missing)}, weights unknown: {sorted(strange)}"
        )
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32:
            raise CheckpointError(
                f"{directory}: {name} is {array.dtype}{list(array.shape)}, "
                f"its spec asks for float32{list(shape)}"
            )
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"{directory}: {name} holds NaN or infinity; train the model again"
            )
