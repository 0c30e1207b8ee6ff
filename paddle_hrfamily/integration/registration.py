"""Makes the registered components known to PaddleSeg, so that a config can name them."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    from paddleseg.cvlibs.manager import ComponentManager


class NameTaken(UserError, RuntimeError):
    """PaddleSeg, or another plug-in of its, has a component of this name."""


def register() -> None:
    """Add every component to PaddleSeg's managers, those of later plug-ins as they come, and mend its trainer.

    Safe to repeat.

    Raises:
        NameTaken: PaddleSeg, or another plug-in, already has a different component of one of these names; nothing is
            replaced.
    """
    from paddleseg.cvlibs import manager

    from paddle_hrfamily import backbones, data, losses, models, registry  # noqa: F401  they register themselves
    from paddle_hrfamily.integration import repairs

    def add_backbone(backbone: registry.BackboneInfo) -> None:
        _add(manager.BACKBONES, backbone.component)

    def add_model(model: registry.ModelInfo) -> None:
        if model.in_configs:
            _add(manager.MODELS, model.component)

    # A registry announces what comes later too. It may: whoever imports paddle_hrfamily.data first imports paddleseg
    # from within it, whose import ends here, before the data sets are defined.
    registry.BACKBONES.announce("paddleseg", add_backbone)
    registry.MODELS.announce("paddleseg", add_model)
    registry.DATASETS.announce("paddleseg", partial(_add, manager.DATASETS))
    registry.TRANSFORMS.announce("paddleseg", partial(_add, manager.TRANSFORMS))
    registry.LOSSES.announce("paddleseg", partial(_add, manager.LOSSES))
    _show_messages()
    repairs.apply()


def _add(manager: ComponentManager, component: type) -> None:
    """PaddleSeg's own `add_component` would overwrite a namesake with a mere warning."""
    present = manager.components_dict.get(component.__name__)
    if present is None:
        manager.add_component(component)
    elif present is not component:
        raise NameTaken(
            f"{component.__name__} is already registered among PaddleSeg's {manager.name} as {present}; "
            f"paddle_hrfamily does not replace it"
        )


def _show_messages() -> None:
    """What this package logs goes to stderr, by the handler that Paddle gives the root logger if it has done so."""
    log = logging.getLogger("paddle_hrfamily")
    if not log.hasHandlers():
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)
