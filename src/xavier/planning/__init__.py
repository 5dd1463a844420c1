"""Plans: which law for which weight, drawn up and carried out."""

from xavier.planning.api import init_, plan
from xavier.planning.recipes import names as recipe_names

__all__ = ["init_", "plan", "recipe_names"]
