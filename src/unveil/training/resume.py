"""Resuming: the stored recipe, and which of its keys may have changed."""

from unveil.errors import RecipeError
from unveil.models.registry import build_config
from unveil.training.checkpoints import TrainingState
from unveil.training.recipe import Recipe
from unveil.training.recipe_file import parse_recipe

# Keys that do not affect the weights may change when a run goes on.
_FREE = ("evaluation", "data.workers", "data.cache", "schedule.save_every")


def stored_recipe(state: TrainingState) -> Recipe:
    """Return the recipe of a stored run; keys that it lacks have their defaults."""
    return parse_recipe(state.recipe, name="the checkpoint's recipe")


def resumed_recipe(recipe: Recipe, state: TrainingState) -> Recipe:
    """Complete a recipe with the stored run's architecture, where it names no other.

    The weights that the run began with are not read: they may be gone.

    Args:
        recipe: The recipe given to resume with.
        state: The stored run.

    Raises:
        RecipeError: A key that affects the weights differs.
    """
    stored = stored_recipe(state)
    model, before = recipe.model, stored.model
    if model.id == before.id:
        architecture = build_config(before.id, **before.options)
        now = build_config(model.id, architecture, **model.options).model_dump(mode="json")
        recipe = with_options(recipe, now)
        stored = with_options(stored, architecture.model_dump(mode="json"))
    _require_same(recipe, stored)
    return recipe


def with_options(recipe: Recipe, options: dict[str, object]) -> Recipe:
    """Return a recipe with other `model.options`.

    Args:
        recipe: The recipe.
        options: Fields of the network's configuration.
    """
    model = recipe.model.model_copy(update={"options": options})
    return recipe.model_copy(update={"model": model})


def same_validation(recipe: Recipe, other: Recipe) -> bool:
    """Return whether two recipes validate on the same images, in the same way.

    Args:
        recipe: One recipe.
        other: Another.
    """
    when = {"every", "every_steps"}
    one, two = (r.evaluation.model_dump(mode="json", exclude=when) for r in (recipe, other))
    return one == two


def _require_same(recipe: Recipe, stored: Recipe) -> None:
    now, before = flatten(recipe.model_dump(mode="json")), flatten(stored.model_dump(mode="json"))
    for key in sorted(now.keys() | before.keys()):
        free = any(key == name or key.startswith(f"{name}.") for name in _FREE)
        if now.get(key) != before.get(key) and not free:
            raise RecipeError(
                f"cannot resume with {key} = {now.get(key)!r}: the run has {before.get(key)!r}; "
                "keep the recipe, or start another run from the weights with model.weights="
            )


def flatten(tree: object, prefix: str = "") -> dict[str, object]:
    """Turn a tree of dicts and lists into dotted keys.

    Args:
        tree: Dicts, lists and values.
        prefix: Key of the tree itself.

    >>> flatten({"a": {"b": [1, 2]}})
    {'a.b.0': 1, 'a.b.1': 2}
    """
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list):
        items = [(str(position), value) for position, value in enumerate(tree)]
    else:
        return {prefix: tree}
    result: dict[str, object] = {}
    for key, value in items:
        result.update(flatten(value, f"{prefix}.{key}" if prefix else key))
    return result
