"""`python -m xavier`: the command line."""

from __future__ import annotations

from xavier.cli import main

if __name__ == "__main__":
    main(prog_name="xavier")
