"""How many of the tasks that SLURM allocated can train together."""

from scalegan.config import Recipe
from scalegan.config.ranks import check_world
from scalegan.errors import RecipeError


def usable_ranks(recipe: Recipe, tasks: int) -> int:
    """The largest number of ranks, at most `tasks`, on which the recipe runs.

    Raises:
        RecipeError: if it runs on no number of ranks; the message says why it fails on one.
    """
    for ranks in range(min(tasks, recipe.lanes), 1, -1):
        try:
            check_world(recipe, ranks)
        except RecipeError:
            continue
        return ranks
    check_world(recipe, 1)
    return 1
