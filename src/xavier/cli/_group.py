"""The group of commands: loaded when called, and every error told in one line and a hint."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from xavier._errors import (
    ActivationError,
    DtypeError,
    LawError,
    ShapeError,
    StreamError,
    TargetError,
    UnknownNameError,
    WriteError,
    XavierError,
    XavierWarning,
    printable,
    said,
)

COMMANDS: Final = ("plan", "init", "check", "gain", "fans")
MISUSE: Final = 2
FAILURE: Final = 3
INTERRUPTED: Final = 130

_DEBUG: Final = "xavier.debug"
_MISUSES: Final = (
    ActivationError,
    DtypeError,
    LawError,
    ShapeError,
    StreamError,
    TargetError,
    UnknownNameError,
)
# Newer versions of click raise this where a command was called with nothing at all.
_HELP_WANTED: Final = getattr(click.exceptions, "NoArgsIsHelpError", ())


def debug_option() -> click.Option:
    """Return the option `--debug`, which the group and every command take."""

    def remember(context: click.Context, _: click.Parameter, value: Any) -> None:
        context.meta[_DEBUG] = bool(value) or context.meta.get(_DEBUG, False)

    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="Print the traceback of an error.",
    )


class Group(click.Group):
    """A group whose commands are modules of this package, named like the command."""

    def __init__(self, *args: Any, params: Sequence[click.Parameter] = (), **kwargs: Any) -> None:
        version = click.version_option(
            package_name="xavier-init", prog_name="xavier", message="%(prog)s %(version)s"
        )
        super().__init__(*args, params=list(params), **kwargs)
        version(self)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order in which one uses them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"xavier.cli.{cmd_name}").command
        if not any(each.name == "debug" for each in command.params):
            command.params.append(debug_option())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was meant, or name the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UnknownNameError("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; with `--debug`, print the traceback of what it raises."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, KeyboardInterrupt, BrokenPipeError):
            raise
        except Exception:
            if ctx.meta.get(_DEBUG):
                traceback.print_exc()
            raise

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line and exit with its code.

        Exit codes: 0 and 1 as the command says; 2, misuse; 3, the model or the tool failed.
        """
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _tell_warning
                code = super().main(*args, standalone_mode=False, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has gone; the interpreter must not fail once more while it closes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except (click.Abort, KeyboardInterrupt):
            code = _tell("interrupted", None, code=INTERRUPTED)
        except _HELP_WANTED as error:
            error.show()
            code = MISUSE
        except click.ClickException as error:
            code = _tell_misuse(error)
        except WriteError as error:
            stopped = isinstance(error.__cause__, KeyboardInterrupt)
            code = _tell("interrupted", None, code=INTERRUPTED) if stopped else _tell_error(error)
        except XavierError as error:
            code = _tell_error(error)
        except OSError as error:
            code = _tell(said(error), "is there room on the disk?", code=FAILURE)
        except Exception as error:
            hint = "this should not happen: run it again with --debug and report what it prints"
            code = _tell(said(error), hint, code=FAILURE)
        if standalone_mode:
            _leave(code)
        return code


def _leave(code: Any) -> NoReturn:
    sys.exit(code if isinstance(code, int) else 0)


def _tell_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    kind = "Warning" if issubclass(category, XavierWarning) else category.__name__
    click.echo(f"{kind}: {printable(' '.join(str(message).split()))}", err=True)


def _tell_error(error: XavierError) -> int:
    code = MISUSE if isinstance(error, _MISUSES) else FAILURE
    return _tell(error.message, error.hint, code=code)


def _tell_misuse(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    hint = f"try '{context.command_path} --help'" if context is not None else None
    message = error.format_message().rstrip(".")
    return _tell(message[:1].lower() + message[1:], hint, code=MISUSE)


def _tell(message: str, hint: str | None, *, code: int) -> int:
    click.echo(f"Error: {printable(' '.join(message.split()))}", err=True)
    if hint:
        click.echo(f"Hint: {printable(' '.join(hint.split()))}", err=True)
    return code
