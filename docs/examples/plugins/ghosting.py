"""An augmentation step of one's own: a faint copy of the head along one axis, as motion leaves it in MRI.

bts-tune --space baseline --data DIR --plugin ghosting.py --set augmentation=light+ghosting
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from bts_tune.augmentation.steps.base import Kind, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS


@AUGMENTATION_STEPS.register("ghosting")
@dataclass(frozen=True)
class Ghosting(Step):
    """Mix in a copy that is shifted along the rows; its weight is 0 to `weight`."""

    kind: ClassVar[Kind] = "intensity"

    weight: float

    @classmethod
    def standard(cls, strength: float, image_size: int) -> Self:
        """Change three images in ten."""
        return cls(0.3, min(0.2 * strength, 0.5))

    def transform(self) -> Transform:
        """Return a transform of albumentations that draws shift and weight anew for each image."""
        import albumentations as A

        most = self.weight

        class Ghost(A.ImageOnlyTransform):
            def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
                height = params["shape"][0]
                return {"shift": self.py_random.randint(1, height - 1), "weight": self.py_random.uniform(0, most)}

            def apply(self, img: np.ndarray, shift: int, weight: float, **params: Any) -> np.ndarray:
                ghost = np.roll(img, shift, axis=0)
                return np.rint((1 - weight) * img + weight * ghost).astype(np.uint8)

        return Ghost(p=self.probability)
