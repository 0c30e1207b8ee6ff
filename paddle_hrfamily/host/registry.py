"""Makes the components known to PaddleSeg, so that a config can name them."""

from __future__ import annotations


def register() -> None:
    """Add every component to PaddleSeg's managers and make its trainer run on this Paddle. Safe to repeat.

    Raises:
        RuntimeError: PaddleSeg, or another plug-in, already has a different component of one of these names;
            nothing is replaced.
    """
    from paddleseg.cvlibs import manager

    from paddle_hrfamily.backbones import DDRNet, DDRNetTrunk, HRNet, ResNet, UHRNet
    from paddle_hrfamily.host import compat
    from paddle_hrfamily.host.datasets import LIP, CamVid, NYUv2Depth, PascalPersonPart, Synapse
    from paddle_hrfamily.host.datasets.scenes import StreetScenes
    from paddle_hrfamily.host.datasets.transforms import RandomDepthZoom, RandomMirror
    from paddle_hrfamily.host.resuming import checkpoints
    from paddle_hrfamily.host.scoring import evaluation
    from paddle_hrfamily.losses.depth import DepthLoss
    from paddle_hrfamily.models import DDRSeg, HRDepth, HRNetSeg, OCRSeg, SpecializeFuse, SPGNet

    for registry, component in (
        (manager.BACKBONES, DDRNet),
        (manager.BACKBONES, DDRNetTrunk),
        (manager.BACKBONES, HRNet),
        (manager.BACKBONES, ResNet),
        (manager.BACKBONES, UHRNet),
        (manager.MODELS, DDRSeg),
        (manager.MODELS, HRDepth),
        (manager.MODELS, HRNetSeg),
        (manager.MODELS, OCRSeg),
        (manager.MODELS, SpecializeFuse),
        (manager.MODELS, SPGNet),
        (manager.DATASETS, CamVid),
        (manager.DATASETS, LIP),
        (manager.DATASETS, NYUv2Depth),
        (manager.DATASETS, PascalPersonPart),
        (manager.DATASETS, StreetScenes),
        (manager.DATASETS, Synapse),
        (manager.LOSSES, DepthLoss),
        (manager.TRANSFORMS, RandomDepthZoom),
        (manager.TRANSFORMS, RandomMirror),
    ):
        _add(registry, component)
    compat.apply()
    checkpoints.install()
    evaluation.install()


def _add(registry: object, component: type) -> None:
    """PaddleSeg's own `add_component` would overwrite a namesake with a mere warning."""
    present = registry.components_dict.get(component.__name__)
    if present is None:
        registry.add_component(component)
    elif present is not component:
        raise RuntimeError(
            f"{component.__name__} is already registered among PaddleSeg's {registry.name} as {present}; "
            f"paddle_hrfamily does not replace it"
        )
