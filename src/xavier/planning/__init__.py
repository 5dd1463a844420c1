"""Plans: which law for which weight, drawn up and carried out."""

from xavier.planning.api import init_, plan, write_checkpoint
from xavier.planning.recipes import names as recipe_names

__all__ = ["init_", "plan", "recipe_names", "write_checkpoint"]
