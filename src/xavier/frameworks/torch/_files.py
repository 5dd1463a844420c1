"""A folder whose files appear whole or not at all, written to by one process at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from xavier._errors import WriteError

try:
    import fcntl
except ImportError:  # Windows has no such locks; two writers there are not told apart
    fcntl = None

_LOCK: Final = ".xavier.lock"
_PART: Final = ".part"
_READ: Final = 1 << 24


class Folder:
    """A folder of finished files.

    The lock is held by the open file, so that one of a process that was killed is free.

    Args:
        path: The folder; made, with those around it, if it is not there.

    Raises:
        WriteError: If it is no folder, cannot be written to, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / _LOCK).open("wb")
        except FileExistsError:
            told = f"{self.path} is no folder: a file, or a link to nothing"
            raise WriteError(told, hint="name a folder, which is made if it is not there") from None
        except OSError as error:
            told = f"{self.path} cannot be written to: {error.strerror}"
            raise WriteError(told, hint="name a folder that you may write to") from None
        if not self._locked():
            self._lock.close()
            told = f"another process is writing to {self.path}"
            raise WriteError(told, hint="wait for it, or name another folder")
        return self

    def _locked(self) -> bool:
        """Lock the open file; False if another has it, or had it and has removed it since."""
        if fcntl is None or self._lock is None:
            return True
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(self._lock.fileno()), os.stat(self.path / _LOCK))
        except OSError:
            return False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        (self.path / _LOCK).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def names(self) -> list[str]:
        """Return the names of the files that are there, in order."""
        return sorted(each.name for each in self.path.iterdir() if not each.name.startswith("."))

    def unfinished(self) -> list[str]:
        """Return the temporary names that writers who were killed have left."""
        return sorted(each.name for each in self.path.glob(f".*{_PART}"))

    def read(self, name: str) -> str | None:
        """Return a text file's content, or None if there is none."""
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def remove(self, name: str) -> None:
        """Remove a file.

        Raises:
            WriteError: If it cannot be removed: it may be a folder.
        """
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            told = f"{self.path / name} cannot be removed: {error.strerror}"
            raise WriteError(told, hint="move it away, or name another folder") from None

    def holds(self, name: str, digest: str | None) -> bool:
        """Return whether a file is there whose content has a digest."""
        if digest is None or not (self.path / name).is_file():
            return False
        found = hashlib.blake2b(digest_size=16)
        with (self.path / name).open("rb") as file:
            while block := file.read(_READ):
                found.update(block)
        return found.hexdigest() == digest

    def write(
        self,
        name: str,
        content: Iterable[bytes | memoryview],
        *,
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Write a file under a temporary name, and give it its own once it is on the disk.

        Args:
            name: Its name.
            content: Its bytes.
            announce: Is told the content's digest just before the file gets its name.

        Raises:
            WriteError: If it cannot be written; nothing of it is left then.
        """
        temporary = self.path / f".{name}{_PART}"
        found = hashlib.blake2b(digest_size=16)
        try:
            with temporary.open("wb") as file:
                for block in content:
                    file.write(block)
                    found.update(block)
                file.flush()
                os.fsync(file.fileno())
            announce(found.hexdigest())
            temporary.replace(self.path / name)
        except OSError as error:
            told = f"{self.path / name} cannot be written: {error.strerror}"
            raise WriteError(
                told, hint="is there room on the disk? calling again goes on from here"
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
