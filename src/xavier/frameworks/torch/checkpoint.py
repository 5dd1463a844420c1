"""A checkpoint written straight from a plan: never more than one tensor of it in memory.

The layout is the ecosystem's: `model-00001-of-00002.safetensors`, … with
`model.safetensors.index.json`, or one `model.safetensors`; a Hugging Face model's configuration
lies beside. `xavier.checkpoint.json` tells what was written, so that a writer that was stopped can
be called again: what is finished is verified and kept.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from xavier._errors import DtypeError, WriteError
from xavier._types.codec import STREAM
from xavier._types.plan import Plan
from xavier.frameworks.torch._checkpoint_tensors import entries_of, kept_digest
from xavier.frameworks.torch._files import Folder
from xavier.frameworks.torch._fit import DTYPES
from xavier.frameworks.torch._safetensors import CODES, Entry, content

__all__ = ["write_checkpoint"]

MANIFEST: Final = "xavier.checkpoint.json"
CONFIG: Final = "config.json"
INDEX: Final = "model.safetensors.index.json"
_FORMAT: Final = "xavier-checkpoint/1"
# A checkpoint's own files, and those of them that a killed writer left under a temporary name.
_IS_OF_CHECKPOINT: Final = re.compile(
    r"\.?(?:model(?:-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
    r"|xavier\.checkpoint\.json)(?:\.part)?|\.config\.json\.part"
).fullmatch
_Shards = Mapping[str, Sequence[Entry]]


def write_checkpoint(  # noqa: PLR0913 - as the public verb
    model: nn.Module,
    plan: Plan,
    folder: Path,
    *,
    dtype: str | None = None,
    max_shard_size: int = 5 * 10**9,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a plan into a sharded safetensors checkpoint, one tensor in memory at a time.

    What is drawn is what `init_` draws with the same plan, seed and scope; what is kept, and
    buffers, are made by their owners. The model itself is left as it is, on the meta device or
    not. Tied weights are written once, under their first name.

    Args:
        model: The model, best on the meta device.
        plan: What to draw, seed and scope included.
        folder: Where to write; made if it is not there.
        dtype: What floating tensors are written in: the name of a dtype, or None for each its own.
        max_shard_size: The most bytes of a shard; a larger tensor has one to itself.
        force: Whether to replace a checkpoint's files that this call has not written.
        progress: Called with (elements drawn, elements in all) as it goes on; shards that are
            kept count as drawn.

    Returns:
        The index, or the single file.

    Raises:
        PlanError: If the plan does not fit the model.
        DtypeError: If the dtype is unknown, or a tensor's has no place in the format.
        WriteError: If the folder holds something else, another process writes to it, or the
            disk is full. Calling again goes on where this one stopped.
    """
    entries = tuple(entries_of(model, plan, _dtype(dtype)))
    shards = _sharded(entries, max_shard_size)
    task = _task(plan, entries, shards)
    told = _Progress(progress, sum(each.drawn for each in entries))
    config = _config(model, dtype)
    with Folder(folder) as files:
        finished = _finished(files, task, shards, config, force=force)

        def note(name: str, digest: str) -> None:
            finished[name] = digest
            files.write(MANIFEST, [_document({**task, "files": finished})])

        files.write(MANIFEST, [_document({**task, "files": finished})])
        for name, shard in shards.items():
            if name not in finished:
                # Noted first: whenever the writer is stopped, a file under its name is known.
                files.write(name, content(shard, plan, told), announce=partial(note, name))
            told.pass_by(sum(each.drawn for each in shard))
        if config is not None:
            files.write(CONFIG, [config])
        if len(shards) > 1:
            files.write(INDEX, [_document(_index(shards))])
    return folder / (INDEX if len(shards) > 1 else next(iter(shards)))


class _Progress:
    """Adds what the finished shards drew to what the present one has."""

    def __init__(self, tell: Callable[[int, int], None] | None, total: int) -> None:
        self._tell, self._total, self._before = tell, total, 0

    def __call__(self, elements: int) -> None:
        if self._tell is not None and self._total:
            self._tell(self._before + elements, self._total)

    def pass_by(self, elements: int) -> None:
        """Count a shard as finished."""
        self._before += elements
        self(0)


def _dtype(name: str | None) -> torch.dtype | None:
    if name is None:
        return None
    known = {label: each for each, label in DTYPES.items()}
    if name not in known:
        raise DtypeError(f"dtype {name!r} cannot be drawn", hint=f"known: {', '.join(known)}")
    return known[name]


# How it is laid out


def _sharded(entries: Sequence[Entry], limit: int) -> _Shards:
    """Return the shards in their order, each with its tensors in theirs."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise WriteError(f"max_shard_size is {limit!r}, expected a positive number of bytes")
    groups: list[list[Entry]] = [[]]
    room = limit
    for each in entries:
        if groups[-1] and each.size > room:
            groups.append([])
            room = limit
        groups[-1].append(each)
        room -= each.size
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    count = len(groups)
    return {
        f"model-{at:05d}-of-{count:05d}.safetensors": group
        for at, group in enumerate(groups, start=1)
    }


def _task(plan: Plan, entries: Sequence[Entry], shards: _Shards) -> dict[str, Any]:
    """Return what identifies a checkpoint: two writers of one task write the same bytes."""
    layout = {
        name: [(each.name, each.shape, CODES[each.dtype]) for each in shard]
        for name, shard in shards.items()
    }
    text = json.dumps(layout, separators=(",", ":"))
    return {
        "format": _FORMAT,
        "stream": STREAM,
        "plan": plan.digest,
        "seed": plan.seed,
        "scope": plan.scope,
        "kept": kept_digest(entries),
        "layout": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        "bytes": sum(each.size for each in entries),
    }


def _finished(
    files: Folder,
    task: Mapping[str, Any],
    shards: _Shards,
    config: bytes | None,
    *,
    force: bool,
) -> dict[str, str]:
    """Return the digests of the files that an earlier writer of the same task finished.

    What else there is of a checkpoint is somebody's: it is refused, or removed by force. A file
    that was finished and has changed since is no longer this task's.
    """
    found = _manifest(files)
    ours = all(found.get(key) == each for key, each in task.items())
    said = found.get("files")
    recorded = said if ours and isinstance(said, dict) else {}
    finished = {name: digest for name, digest in recorded.items() if files.holds(name, digest)}
    known = {*finished, MANIFEST, *([INDEX] if len(shards) > 1 else [])} if ours else set()
    others = [name for name in files.names() if _IS_OF_CHECKPOINT(name) and name not in known]
    if config is not None and files.read(CONFIG) not in (None, config.decode()):
        others.append(CONFIG)
    if others and not force:
        raise WriteError(
            f"{files.path} holds what this call has not written: {', '.join(others[:3])}",
            hint="name another folder, or replace these files with force=True (--force)",
        )
    for each in (*others, *filter(_IS_OF_CHECKPOINT, files.unfinished())):
        files.remove(each)
    return {name: digest for name, digest in finished.items() if name in shards}


def _manifest(files: Folder) -> dict[str, Any]:
    """Return what an earlier writer noted; nothing if there was none, or it cannot be read."""
    try:
        found = json.loads(files.read(MANIFEST) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _index(shards: _Shards) -> dict[str, Any]:
    entries = [each for shard in shards.values() for each in shard]
    return {
        "metadata": {"total_size": sum(each.size for each in entries)},
        "weight_map": {each.name: name for name, shard in shards.items() for each in shard},
    }


def _config(model: nn.Module, dtype: str | None) -> bytes | None:
    """Return a Hugging Face model's configuration, by which `from_pretrained` finds its class."""
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "to_json_string"):
        return None
    config = copy.deepcopy(config)
    config.architectures = [type(model).__name__]
    if dtype is not None:
        config.dtype = dtype
    return config.to_json_string().encode()


def _document(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
