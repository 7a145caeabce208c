"""Checks that a recipe can run on a given number of ranks."""

from scalegan.config import Recipe
from scalegan.config.game import groups_of, of_family
from scalegan.errors import RecipeError

_WITHOUT_GROUPS = ("none", "instance", "instance_affine")     # norms that are not over a group of samples


def check_world(recipe: Recipe, ranks: int) -> int:
    """The micro-batch size, in samples per forward, on the given number of ranks.

    Raises:
        RecipeError: if the recipe cannot run on that many ranks.
    """
    batch, micro, lanes = recipe.batch_size, recipe.micro_batch_size, recipe.lanes
    if lanes % ranks:
        fits = max(n for n in range(1, ranks) if lanes % n == 0)
        raise RecipeError(f"{ranks} ranks do not divide lanes={lanes}; use {fits} ranks, or new lanes in a new run")
    share = batch // ranks
    micro_batch = min(micro or share, share)
    if share % micro_batch:
        raise RecipeError(f"micro_batch_size={micro} does not divide a rank's share of {share} "
                          f"(batch_size={batch} on {ranks} ranks); make it a divisor of {share}")
    if recipe.engine.reduction == "tree":
        if micro is None:
            raise RecipeError("engine.reduction=tree sums micro-batches in order and needs micro_batch_size; set it")
        if micro > share or ranks & (ranks - 1):
            raise RecipeError(f"engine.reduction=tree needs a number of ranks that is a power of two and a "
                              f"micro_batch_size that fits each one's share: got {ranks} ranks, "
                              f"micro_batch_size={micro}, share {share}")
    # Games with networks of their own leave `model` as it is, the default.
    model = recipe.model if of_family(recipe) or recipe.model.name != "dcgan" else None
    group = None if getattr(model, "norm", None) in _WITHOUT_GROUPS else getattr(model, "norm_group", None)
    if group == "batch" and micro_batch != share:
        raise RecipeError(f"model.norm_group=batch takes statistics over the whole batch, and a rank's share of "
                          f"{share} is cut into micro-batches of {micro_batch}; leave out micro_batch_size, or set "
                          f"model.norm_group={micro_batch}")
    group = batch if group == "batch" else group
    if group and micro_batch % group and (micro_batch != share or group % share):
        raise RecipeError(f"model.norm_group={model.norm_group} does not fit a micro-batch of {micro_batch} "
                          f"samples (share {share} of {ranks} ranks); make one a multiple of the other")
    for key, size in groups_of(recipe).items():
        if micro_batch % size:
            raise RecipeError(f"{key}={size} does not divide a micro-batch of {micro_batch} samples; make "
                              "micro_batch_size a multiple of it")
    mbstd = getattr(model, "mbstd_group", micro_batch)
    if micro_batch % mbstd:
        raise RecipeError(f"model.mbstd_group={mbstd} does not divide a micro-batch of {micro_batch} samples; make "
                          "micro_batch_size a multiple of it")
    if group and group > micro_batch and recipe.engine.reduction == "tree":
        raise RecipeError(f"engine.reduction=tree needs model.norm_group={group} inside a micro-batch of {micro_batch}")
    return micro_batch
