"""A manifest for what is left of a shard: an outside program gets it when a run is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from prealloc.files.atomic import write_file
from prealloc.files.paths import PlanPaths
from prealloc.model.plan import Manifest, SliceRef
from prealloc.model.task import LightweightTask
from prealloc.store.build import slice_bytes
from prealloc.store.documents import to_json


def write_rest(folder: PlanPaths, manifest: Manifest, tasks: Sequence[LightweightTask]) -> Path:
    """Writes a manifest like this one, of these tasks only, and its slice; gives the manifest's path.

    `load_shard` reads it as it reads any other.
    """
    content = slice_bytes(tasks)
    sha256 = hashlib.sha256(content).hexdigest()
    ref = SliceRef(file=PlanPaths.slice_name(sha256), sha256=sha256, tasks=len(tasks), bytes=len(content))
    path = folder.manifest(manifest.id)
    for target in (path, folder.slice(sha256)):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_file(folder.slice(sha256), content)
    write_file(path, to_json(msgspec.structs.replace(manifest, slice=ref)))
    return path
