"""Parts of a network that training leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from paddle import nn

from paddle_hrfamily.errors import UserError, nearest

BatchNorm = nn.layer.norm._BatchNormBase  # also SyncBatchNorm's


@dataclass(frozen=True)
class Frozen:
    """What is frozen: parameters, which the optimizer passes over, and batch norms, whose statistics stay as well."""

    parameters: int = 0
    norms: tuple[nn.Layer, ...] = ()

    def hold(self) -> None:
        """Have the batch norms use the statistics that they have; to be repeated after every `model.train()`."""
        for norm in self.norms:
            norm.eval()


def freeze(model: nn.Layer, patterns: Sequence[str] = (), *, batch_norm: bool = False) -> Frozen:
    """Freeze parts of the model, before an optimizer is made of its parameters.

    Args:
        patterns: names of sublayers or parameters, such as "backbone" or "backbone.stage2", in which `*` stands for
            anything. All parameters in them are frozen, and the batch norms that lose theirs so.
        batch_norm: freeze every batch norm.

    Raises:
        UserError: a pattern fits nothing, the network has no batch norm, or nothing is left to train.
    """
    frozen = set()
    names = [name for name, parameter in model.named_parameters() if not parameter.stop_gradient]
    for pattern in patterns:
        found = {name for name in names if _fits(name, pattern)}
        if not found:
            tops = dict.fromkeys(name.split(".")[0] for name in names)
            raise UserError(
                f"--freeze {pattern} fits no parameter{nearest(pattern, tops)}; at the top are {', '.join(tops)}"
            )
        frozen |= found
    norms = {name: layer for name, layer in model.named_sublayers() if isinstance(layer, BatchNorm)}
    if batch_norm and not norms:
        raise UserError("--freeze_bn: this network has no batch norm; leave the flag out")
    held = {name: norm for name, norm in norms.items() if batch_norm or f"{name}.weight" in frozen}
    frozen |= {f"{name}.{part}" for name in held for part in ("weight", "bias")} & set(names)
    if frozen == set(names):
        raise UserError(f"--freeze {' '.join(patterns)} leaves nothing to train")
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.stop_gradient = True
    return Frozen(len(frozen), tuple(held.values()))


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
