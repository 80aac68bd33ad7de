"""How lifting networks are trained: the papers' recipe, and the motion model's."""

from dataclasses import dataclass
from typing import Literal

from ..training.optimizer import Adamax, AdamW

RecipeName = Literal["published", "adamax"]


@dataclass(frozen=True)
class Recipe:
    """How a lifting network learns, beside its settings."""

    optimizer: type[Adamax] | type[AdamW]
    decay: float | None  # factor on the learning rate after each epoch; None: halved at the milestones
    drop_path: float  # stochastic depth of the last layers
    flips: bool  # windows are mirrored in training, and what is lifted is the mean of both ways


RECIPES: dict[RecipeName, Recipe] = {
    # The papers': weight decay is 0.1. Theirs show each window both ways, in other batches; ours either way at random.
    "published": Recipe(AdamW, 0.99, 0.1, True),
    "adamax": Recipe(Adamax, None, 0.0, False),  # the motion model's
}
