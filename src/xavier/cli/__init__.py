"""The command line: `xavier plan | init | check | gain | fans`.

Commands are loaded when they are called, and frameworks only when a command needs one.
"""

from __future__ import annotations

from xavier.cli._group import Group, debug_option

__all__ = ["main"]

main = Group(
    name="xavier",
    help="""Plan, draw and check the initial weights of a neural network.

    A TARGET is a function that returns a model, written package.module:function or
    path/to/file.py:function. For a first look: xavier plan xavier.zoo:gpt
    """,
    params=[debug_option()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
