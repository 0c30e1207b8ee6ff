"""SPGNet: Semantic Prediction Guidance for Scene Parsing (arXiv 1908.09798), figure 2a."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple

import paddle
from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.backbones import ResNet
from paddle_hrfamily.backbones.resnet import STEM_CHANNELS
from paddle_hrfamily.errors import UserError, unknown
from paddle_hrfamily.heads.decoder import UPSAMPLES, Decoder, Upsample
from paddle_hrfamily.heads.image_pooling import ImagePooling
from paddle_hrfamily.layers import ConvBN, classifier, resize_as
from paddle_hrfamily.models.cross_stage import CrossStageAggregation
from paddle_hrfamily.models.semantic_guidance import FEATURE_MASKS, GUIDANCES, FeatureGuidance, SemanticGuidance
from paddle_hrfamily.registry import Entry
from paddle_hrfamily.weights import fetch, load_weights, read, resolve

_LOG = logging.getLogger(__name__)

# Tables 6, 7 and 9: the encoders of the stages and the channels of their decoders.
VARIANTS = {
    **{f"R{depth}": ((f"R{depth}",) * 2, 128) for depth in (18, 34, 50, 101, 152)},
    "R50_D256": (("R50", "R50"), 256),  # table 1, the paper's best
    "R101_D256": (("R101", "R101"), 256),
}
# Tables 3, 7 and 9.
PUBLISHED = {
    "R18": (23.9, 218.0),
    "R50": (55.6, 467.6),
    "R101": (93.5, 785.3),
    "R50_D256": (59.8, 654.8),
    "R101_D256": (97.8, 972.4),
}


class StageOutput(NamedTuple):
    """What a stage passes to the next. Lists are finest first."""

    encoded: list[paddle.Tensor]
    decoded: list[paddle.Tensor]
    features: paddle.Tensor  # the decoder's output x_d (N, decoder_channels, H/4, W/4)
    logits: paddle.Tensor | None  # x_l (N, num_classes, H/4, W/4)


class Stage(nn.Layer):
    """Encoder, decoder and the prediction of one stage (figure 2a); without `num_classes` it predicts nothing.

    The 3×3 in front of the classifier is not in the text, but in the paper's parameters and FLOPs.
    """

    def __init__(self, encoder: ResNet, decoder: Decoder, channels: int, num_classes: int | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.refine = ConvBN(channels, channels, 3)
        self.classify = None if num_classes is None else classifier(channels, num_classes)

    def forward(self, x: paddle.Tensor, additions: Sequence[paddle.Tensor] = ()) -> StageOutput:
        encoded = self.encoder(x, additions)
        decoded = self.decoder(encoded)
        features = self.refine(decoded[0])
        return StageOutput(encoded, decoded, features, None if self.classify is None else self.classify(features))


def _entry(variant: str) -> Entry:
    encoders, channels = VARIANTS[variant]
    return Entry(
        variant=variant,
        size=(1025, 2049),
        rule="billion",
        model_options={"encoders": encoders, "decoder_channels": channels},
        published=PUBLISHED.get(variant),
    )


@registry.model(entries={f"spgnet_{variant.lower()}": _entry(variant) for variant in VARIANTS})
class SPGNet(nn.Layer):
    """Encoder–decoders in a row, each guided by the prediction of the one before.

    image (N, in_channels, H, W) -> [logits of the last stage, *logits of the earlier ones, first to last], each
    (N, num_classes, H, W); the earlier ones in training alone, for losses of the same kind on every stage (the paper's
    table 8 has OHEM there): `loss: types: [OhemCrossEntropyLoss, OhemCrossEntropyLoss]`.

    Args:
        num_classes: classes to tell apart.
        encoders: a ResNet variant for each stage; any number, mixed as you like.
        decoder_channels: width of every decoder, a multiple of 4.
        guidance: of the next stage by the prediction, as in SemanticGuidance; "se" and "ge" by the decoder's output,
            as in FeatureGuidance (table 4); "none" passes that on as it is.
        identity: the shortcut around the guided features.
        supervision: return the earlier stages' logits for a loss; else they learn from the guidance alone.
        image_pooling: what the decoders start from in evaluation: "ap", averages over windows of the training crop's
            size, "gap", the average over the image, or "none" for a network without; training averages the crop.
        training_crop: height and width in pixels, which AP goes by. Tiled inference, the third strategy of table 12, is
            PaddleSeg's sliding window over any of these: `--is_slide --crop_size 769 769 --stride 513 513`.
        aggregation: add the features of the stage before to those of the encoder (CSFA, figure 2c).
        upsample: "residual", the paper's module, or "fpn" for its comparison (table 11).
        in_channels: channels of the image.
        align_corners: corner handling of every bilinear resize.
        pretrained: ImageNet weights of the encoders, a file, a URL, `hf-hub:REPO` or a published name such as
            "imagenet": one for all stages, or a list with one (or None) for each. Stages behind the first take all but
            the stem. A file of a whole SPGNet fills everything.

    The paper leaves open, and this network decides, in the order of the data:

    * where the second of two equal blocks in the upsample module is: in front of the sum (see UpsampleModule);
    * the image-level map: every stage averages its own encoder's coarsest feature;
    * the decoder's output x_d: behind the 3×3 that the counts ask for, so that the logits are one 1×1 away from it;
    * every convolution but the classifiers has a batch norm behind it, and a ReLU but for the one that makes the guided
      attention; ReLU, which pretrained encoders are used to, stands for Inplace-ABN's activation;
    * aggregated features are added where the encoder's stage ends, and go on into the next, as in MSPN;
    * "sum" transforms the decoder's output as the other two do: the paper gives it the same FLOPs;
    * loss weights: equal; they are the config's `coef`.

    Raises:
        UserError: an argument out of its range, or weights that do not fit.
    """

    def __init__(
        self,
        num_classes: int = 19,
        *,
        encoders: Sequence[str] = ("R18", "R18"),
        decoder_channels: int = 128,
        guidance: Literal["sigmoid", "softmax", "sum", "se", "ge", "none"] = "sigmoid",
        identity: bool = True,
        supervision: bool = True,
        image_pooling: Literal["ap", "gap", "none"] = "ap",
        training_crop: Sequence[int] = (769, 769),
        aggregation: bool = True,
        upsample: Upsample = "residual",
        in_channels: int = 3,
        align_corners: bool = False,
        pretrained: str | Sequence[str | None] | None = None,
    ) -> None:
        super().__init__()
        _check_choice("guidance", guidance, (*GUIDANCES, *FEATURE_MASKS, "none"))
        _check_choice("image_pooling", image_pooling, ("ap", "gap", "none"))
        _check_choice("upsample", upsample, UPSAMPLES)
        _check_numbers(encoders, decoder_channels, training_crop)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.align_corners = align_corners
        self.guidance = guidance
        self.supervision = supervision
        sources = _sources(pretrained, encoders)
        whole = _whole_network(sources)

        self.stages = nn.LayerList()
        for i, (variant, source) in enumerate(zip(encoders, sources)):
            encoder = ResNet(variant, in_channels=in_channels, stem=i == 0, pretrained=None if whole else source)
            coarsest = encoder.feat_channels[-1]
            pooling = (
                None
                if image_pooling == "none"
                else ImagePooling(coarsest, decoder_channels, pooling=image_pooling, crop=training_crop)
            )
            decoder = Decoder(
                encoder.feat_channels,
                decoder_channels,
                image_pooling=pooling,
                upsample=upsample,
                align_corners=align_corners,
            )
            predicts = supervision or guidance in GUIDANCES or i == len(encoders) - 1
            self.stages.append(Stage(encoder, decoder, decoder_channels, num_classes if predicts else None))

        widths = [stage.encoder.feat_channels for stage in self.stages]
        self.links = nn.LayerList()
        self.aggregations = nn.LayerList()
        for before, after in zip(widths, widths[1:]):
            self.links.append(self._link(decoder_channels, identity))
            if aggregation:
                self.aggregations.append(CrossStageAggregation(before, decoder_channels, after))
        if whole:
            _LOG.info(load_weights(self, whole))

    def _link(self, channels: int, identity: bool) -> nn.Layer:
        if self.guidance == "none":
            return ConvBN(channels, STEM_CHANNELS, 1)
        if self.guidance == "se" or self.guidance == "ge":
            return FeatureGuidance(channels, STEM_CHANNELS, mask=self.guidance, identity=identity)
        return SemanticGuidance(channels, self.num_classes, STEM_CHANNELS, guidance=self.guidance, identity=identity)

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return [resize_as(logits, image, self.align_corners) for logits in self.native_logits(image)]

    def native_logits(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        """What `forward` returns, before it is resized: (N, num_classes, H/4, W/4)."""
        *earlier, last = self._outputs(image)
        supervised = [last, *earlier] if self.training and self.supervision else [last]
        return [output.logits for output in supervised]

    def guided_attention(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        """The mask (N, decoder_channels, H/4, W/4) by which each stage but the last guides the next one."""
        return [link.mask(self._gathered(output)) for link, output in zip(self.links, self._outputs(image))]

    def _outputs(self, image: paddle.Tensor) -> list[StageOutput]:
        outputs = [self.stages[0](image)]
        for i, stage in enumerate(list(self.stages)[1:]):
            before = outputs[-1]
            additions = self.aggregations[i](before.encoded, before.decoded) if self.aggregations else ()
            outputs.append(stage(self._guided(i, before), additions))
        return outputs

    def _guided(self, i: int, before: StageOutput) -> paddle.Tensor:
        """The input of stage i + 1: (N, 64, H/4, W/4)."""
        if self.guidance == "none":
            return self.links[i](before.features)
        return self.links[i](before.features, self._gathered(before))

    def _gathered(self, output: StageOutput) -> paddle.Tensor | None:
        """What the guidance makes its mask of."""
        return output.logits if self.guidance in GUIDANCES else output.features


def _check_choice(name: str, value: object, options: Sequence[str]) -> None:
    if value not in options:
        raise unknown(f"{name} of SPGNet", value, options)


def _check_numbers(encoders: Sequence[str], decoder_channels: int, training_crop: Sequence[int]) -> None:
    if isinstance(encoders, str) or not encoders:
        raise UserError(f"SPGNet's encoders {encoders!r} must be a list, a ResNet for each stage, such as [R50, R50]")
    if decoder_channels < 4 or decoder_channels % 4:
        raise UserError(f"SPGNet's decoder_channels {decoder_channels} must be a multiple of 4, such as 128")
    if isinstance(training_crop, int) or len(training_crop) != 2 or min(training_crop) < 1:
        raise UserError(f"SPGNet's training_crop {training_crop!r} must be a height and a width, such as [769, 769]")


def _sources(pretrained: str | Sequence[str | None] | None, encoders: Sequence[str]) -> list[str | None]:
    """Where each encoder's weights are."""
    each = [pretrained] * len(encoders) if pretrained is None or isinstance(pretrained, str) else list(pretrained)
    if len(each) != len(encoders):
        raise UserError(f"SPGNet's pretrained {each} must name one source, or one for each of {len(encoders)} encoders")
    return [source and resolve("ResNet", variant, source).source for source, variant in zip(each, encoders)]


def _whole_network(sources: Sequence[str | None]) -> str | None:
    """The one source, if it holds a whole SPGNet instead of an encoder."""
    source = sources[0]
    if source is None or set(sources) != {source}:
        return None
    return source if any(name.startswith("stages.0.encoder.") for name in read(fetch(source))) else None
