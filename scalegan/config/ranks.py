"""What a recipe is on a number of ranks."""

from scalegan.config import Recipe
from scalegan.config.game import groups_of, of_family
from scalegan.errors import RecipeError


def check_world(recipe: Recipe, ranks: int) -> int:
    """The grain on that many ranks: samples that one forward takes.

    Raises:
        RecipeError: where the recipe cannot run on that many ranks.
    """
    batch, micro, lanes = recipe.batch_size, recipe.micro_batch_size, recipe.lanes
    if lanes % ranks:
        fits = max(n for n in range(1, ranks) if lanes % n == 0)
        raise RecipeError(f"{ranks} ranks do not divide lanes={lanes}; use {fits} ranks, or other lanes in a new run")
    share = batch // ranks
    grain = min(micro or share, share)
    if share % grain:
        raise RecipeError(f"micro_batch_size={micro} does not divide a rank's share of {share} "
                          f"(batch_size={batch} on {ranks} ranks)")
    if recipe.engine.reduction == "tree":
        if micro is None:
            raise RecipeError("engine.reduction=tree needs micro_batch_size, the grain that it sums in a fixed order")
        if micro > share or ranks & (ranks - 1):
            raise RecipeError(f"engine.reduction=tree needs a power of two of ranks and whole grains on each: "
                              f"micro_batch_size={micro}, share {share}, {ranks} ranks")
    model = recipe.model if of_family(recipe) else None
    group = getattr(model, "norm_group", None)
    group = batch if group == "batch" else group
    if group and grain % group and (grain != share or group % share):
        raise RecipeError(f"model.norm_group={model.norm_group} does not fit a grain of {grain} "
                          f"samples (share {share} of {ranks} ranks); make one a multiple of the other")
    for key, size in groups_of(recipe).items():
        if grain % size:
            raise RecipeError(f"{key}={size} does not divide a grain of {grain} samples; make micro_batch_size a "
                              "multiple of it")
    mbstd = getattr(model, "mbstd_group", grain)
    if grain % mbstd:
        raise RecipeError(f"model.mbstd_group={mbstd} does not divide a grain of {grain} samples; set micro_batch_size "
                          "to a multiple of it")
    if group and group > grain and recipe.engine.reduction == "tree":
        raise RecipeError(f"engine.reduction=tree needs model.norm_group={group} inside a grain of {grain}")
    return grain
