"""Samples as JSON lines: one a line, appended, and read back though the last one be torn."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xavier._errors import TargetError
from xavier._types.codec import SAMPLE_FORMAT
from xavier._types.sample import Sample

_HEAD: Final = f'{{"format": "{SAMPLE_FORMAT}"'.encode()


@dataclass(slots=True)
class JsonLines:
    """Append each sample to a file, in one write.

    The file is opened for each line, so that it may be moved, and this object pickled. What a
    killed run left of a line is cut off before the next one is written.

    Args:
        path: The file; its folder is there.
    """

    path: Path
    _mended: bool = False

    def __call__(self, sample: Sample) -> None:
        """Write one sample."""
        line = json.dumps(sample.to_dict(), allow_nan=False) + "\n"
        if not self._mended:
            cut_torn_line(self.path)
            self._mended = True
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode())


def read(path: str | os.PathLike[str]) -> list[Sample]:
    """Return the samples that a monitor wrote to a file.

    Args:
        path: The file; a last line that a killed run left unfinished counts as absent.

    Raises:
        TargetError: If the file cannot be read, or another line is no sample.

    Example:
        >>> import tempfile, xavier
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "signal.jsonl")
        ...     _ = file.write_text("")
        ...     read(file)
        []
    """
    try:
        *lines, last = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error}") from error
    if last and not _is_ours(last):
        raise TargetError(f"{path}: line {len(lines) + 1} is no sample of a monitor")
    return [_read_line(line, f"{path}: line {at}") for at, line in enumerate(lines, 1)]


def require_samples(path: Path) -> None:
    """Refuse to write to what is no file of samples.

    Raises:
        TargetError: If there is another kind of file, or no folder to write to.
    """
    if path.is_dir() or not path.parent.is_dir():
        what = "a folder" if path.is_dir() else "in no folder"
        raise TargetError(f"{path} is {what}, expected a file to append samples to")
    if path.exists():
        with path.open("rb") as file:
            if not _is_ours(file.read(len(_HEAD))):
                raise TargetError(
                    f"{path} holds something else, expected samples to append to",
                    hint="give the samples a file of their own",
                )


def _read_line(line: bytes, place: str) -> Sample:
    try:
        return Sample.from_dict(json.loads(line))
    except TargetError as error:
        raise TargetError(f"{place}: {error.message}") from error
    except ValueError as error:
        raise TargetError(f"{place} is no sample of a monitor: {error}") from error


def _is_ours(start: bytes) -> bool:
    return _HEAD.startswith(start[: len(_HEAD)])


def cut_torn_line(path: Path) -> None:
    """Cut off what a killed run left of a last line."""
    if not path.exists():
        return
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        os.truncate(path, end)
