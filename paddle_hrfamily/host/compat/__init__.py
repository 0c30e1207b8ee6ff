"""What PaddleSeg 2.8.0 needs to run on Paddle 2.6 and 3.x: one function each, with symptom, cause, and when it can go.

`apply()` is called by registration; it may be repeated, and changes nothing that a later PaddleSeg has repaired.
"""

from __future__ import annotations

from paddle_hrfamily.host.compat import heads, losses, metrics, training


def apply() -> None:
    """Put every repair in place, in this process."""
    training.losses_with_an_axis()
    training.whole_graphs()
    losses.products_of_two_dtypes()
    losses.ohem_without_sorting()
    losses.labels_left_alone()
    losses.positive_weights()
    losses.relaxed_labels_in_float()
    losses.nothing_labelled()
    losses.masks_gathered_as_numbers()
    heads.auxiliary_of_any_width()
    metrics.areas_in_one_pass()
