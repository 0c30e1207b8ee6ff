"""PaddleSeg's names of HRNet and U-HRNet, alone or under its FCN or OCR head, trained with padding 'same'.

Both networks count stages, modules, blocks and branches from 1, and write the stage into every name.
"""

from __future__ import annotations

from collections.abc import Callable

from paddle_hrfamily.weights.layouts import Layout, Rule, register

_PART = {"_conv": "conv", "_batch_norm": "bn"}
# Stride of the first branch of a stage: HRNet's always starts at 1/4, U-HRNet's walks down the U and up again.
_HRNET_FINEST = dict.fromkeys((2, 3, 4), 4)
_UHRNET_FINEST = {2: 4, 3: 8, 4: 16, 5: 32, 6: 16, 7: 8, 8: 4, 9: 4}


def _rules(finest: dict[int, int]) -> tuple[Rule, ...]:
    def stride(stage: str, branch: str) -> int:
        return finest[int(stage)] << (int(branch) - 1)

    def conv(block: str) -> str:
        return "downsample" if block == "conv_down" else block

    def stem_block(b: str, block: str, part: str) -> str:
        return f"backbone.stem.blocks.{int(b) - 1}.{conv(block)}.{_PART[part]}"

    def transition(t: str, branch: str, part: str) -> str:
        return f"backbone.transitions.{int(t) - 1}.paths.{stride(str(int(t) + 1), branch)}.{_PART[part]}"

    def module(s: str, m: str) -> str:
        return f"backbone.stages.{int(s) - 2}.{int(m) - 1}"

    def branch(s: str, m: str, i: str, b: str, block: str, part: str) -> str:
        return f"{module(s, m)}.branches.{stride(s, i)}.{int(b) - 1}.{block}.{_PART[part]}"

    def up(s: str, m: str, i: str, j: str, part: str) -> str:
        return f"{module(s, m)}.exchange.paths.{stride(s, j)}_to_{stride(s, i)}.{_PART[part]}"

    def down(s: str, m: str, i: str, j: str, k: str, part: str) -> str:
        return f"{module(s, m)}.exchange.paths.{stride(s, j)}_to_{stride(s, i)}.{int(k) - 1}.{_PART[part]}"

    prefix, part = r"(?:backbone\.)?", r"\.(_conv|_batch_norm)"
    stages = f"[{min(finest)}-{max(finest)}]"
    stage = rf"st({stages})\.stage_st\d_(\d+)\."
    trunk: tuple[tuple[str, Callable[..., str]], ...] = (
        (r"conv_layer1_([12])", lambda n, part: f"backbone.stem.conv{n}.{_PART[part]}"),
        (r"la1\.bb_layer2_(\d+)\.(conv[123]|conv_down)", stem_block),
        (rf"tr([1-{max(finest) - 1}])\.transition_tr\d_layer_(\d)", transition),
        (stage + r"branches_func\.bb_st\d_\d+_branch_layer_(\d)_(\d+)\.(conv[12])", branch),
        (stage + r"fuse_func\.residual_st\d_\d+_layer_(\d)_(\d)", up),
        (stage + r"fuse_func\.residual_st\d_\d+_layer_(\d)_(\d)_(\d)", down),
    )
    return (
        *((prefix + pattern + part, ours) for pattern, ours in trunk),
        (r"head\.conv_1" + part, lambda part: f"head.mix.{_PART[part]}"),
        (r"head\.cls", lambda: "head.classify"),
        *_ocr_head(part),
    )


# PaddleSeg's OCR has a bias in every convolution before a batch norm; loading folds those that this network lacks.
_OCR = {"f_pixel": "query", "f_object": "key", "f_down": "value", "f_up": "out"}


def _ocr_head(part: str) -> tuple[Rule, ...]:
    """Rules for the OCR head; `part` matches a convolution or its batch norm."""
    attention = r"head\.spatial_ocr\.attention_block\."
    return (
        (r"head\.conv3x3_ocr" + part, lambda part: f"head.pixels.{_PART[part]}"),
        (
            attention + r"(f_pixel|f_object)\.([01])" + part,
            lambda block, n, part: f"head.attention.{_OCR[block]}.{n}.{_PART[part]}",
        ),
        (attention + r"(f_down|f_up)" + part, lambda block, part: f"head.attention.{_OCR[block]}.{_PART[part]}"),
        (r"head\.spatial_ocr\.conv1x1\.0" + part, lambda part: f"head.augment.{_PART[part]}"),
        (r"head\.cls_head", lambda: "head.classifier"),
        (r"head\.aux_head\.0" + part, lambda part: f"head.regions.0.{_PART[part]}"),
        (r"head\.aux_head\.1", lambda: "head.regions.1"),
    )


HRNET = Layout(
    name="PaddleSeg HRNet",
    signature=r"(backbone\.)?tr2\.transition_tr2_layer_3\.",
    rules=_rules(_HRNET_FINEST),
    padding="same",
)

UHRNET = Layout(
    name="PaddleSeg U-HRNet",
    signature=r"(backbone\.)?st9\.stage_st9_1\.",
    rules=_rules(_UHRNET_FINEST),
    padding="same",
    dead=r"(backbone\.)?last_layer\.",  # built by its constructor, called by nobody
)

register(HRNET, UHRNET)
