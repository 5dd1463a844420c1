"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from xavier._errors import PlanError, TargetError, WriteError
from xavier._types.plan import Plan

_STEM = 32  # characters of the goal's name in the temporary one's


def read_text(path: str, *, option: str) -> str:
    """Return a text file's content.

    Args:
        path: The file.
        option: The option that named it, for the messages.

    Raises:
        TargetError: If it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        told = f"{option} {path} cannot be read: {error.strerror}"
        raise TargetError(told, hint="is the path right?") from None
    except UnicodeDecodeError:
        raise TargetError(f"{option} {path} is no text file") from None


def read_plan(path: str | None) -> Plan | None:
    """Return the plan in a file, or None for no file.

    Raises:
        TargetError: If it cannot be read, or holds no plan.
    """
    if path is None:
        return None
    text = read_text(path, option="--plan")
    try:
        return Plan.from_toml(text)
    except PlanError as error:
        raise TargetError(f"--plan {path}: {error.message}", hint=error.hint) from error


@contextmanager
def appearing(
    path: str | None, *, option: str, force: bool, suffix: str
) -> Generator[Path | None, None, None]:
    """Give a temporary file that becomes `path` when the block ends well.

    The temporary file is made at once, beside its goal, so that a folder that cannot be
    written to is told of before any work is done.

    Args:
        path: The file to write, or None for none.
        option: The option that named it, for the messages.
        force: Whether an existing file may be replaced.
        suffix: How its name must end.

    Yields:
        The temporary file's path, or None.

    Raises:
        TargetError: If the file exists, or cannot be written.
    """
    if path is None:
        yield None
        return
    goal = Path(path)
    temporary = _reserved(goal, option=option, force=force, suffix=suffix)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # a writer may have put a file of its own there, for its eyes alone
        _settle(temporary, goal, option=option, force=force)
    finally:
        temporary.unlink(missing_ok=True)


def _reserved(goal: Path, *, option: str, force: bool, suffix: str) -> Path:
    if goal.suffix != suffix:
        told = f"{option} {goal}: expected a name that ends in {suffix}"
        raise TargetError(told, hint=f"{option} {goal.with_suffix(suffix)}" if goal.name else None)
    # Short, since the goal's own name may be as long as a name can be.
    temporary = goal.with_name(f".{goal.name[:_STEM]}.{os.getpid()}.part")
    try:
        if goal.is_dir():
            raise TargetError(f"{option} {goal} is a folder, expected a file")
        if os.path.lexists(goal) and not force:
            raise _exists(goal, option)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except OSError as error:
        raise _unwritable(goal, option, error) from None
    return temporary


def _settle(temporary: Path, goal: Path, *, option: str, force: bool) -> None:
    if not force:
        try:
            os.link(temporary, goal)  # unlike a rename, this fails where a file has appeared
        except FileExistsError:
            raise _exists(goal, option) from None
        except OSError:  # no hard links on this file system
            if goal.exists():
                raise _exists(goal, option) from None
        else:
            return
    try:
        os.replace(temporary, goal)
    except OSError as error:
        raise _unwritable(goal, option, error) from None


def write_text(file: Path, text: str, *, option: str) -> None:
    """Write a text file.

    Args:
        file: The file.
        text: Its content.
        option: The option that asked for it, for the message.

    Raises:
        WriteError: If it cannot be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        told = f"{option} could not be written: {error.strerror}"
        raise WriteError(told, hint="is there room on the disk?") from error


def _unwritable(goal: Path, option: str, error: OSError) -> TargetError:
    told = f"{option} {goal} cannot be written: {error.strerror}"
    return TargetError(told, hint=f"does {goal.parent} exist, and may you write there?")


def _exists(goal: Path, option: str) -> TargetError:
    return TargetError(f"{option} {goal} exists already", hint="add --force to replace it")
