"""Steps of several batches, frozen parts, clipped gradients, smoothed labels, other losses, and steps too large."""

from __future__ import annotations

import re
from copy import deepcopy
from itertools import islice

import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from paddleseg.models.losses import CrossEntropyLoss, DiceLoss, MixedLoss
from paddleseg.models.losses.focal_loss import MultiClassFocalLoss

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.checkpointing import order
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import registration
from paddle_hrfamily.losses import SmoothedCrossEntropyLoss, WeightedPixelCrossEntropyLoss
from paddle_hrfamily.training import memory
from paddle_hrfamily.training.freezing import freeze
from paddle_hrfamily.training.step import Step
from paddle_hrfamily.weights import read
from tests import tiny

pytestmark = pytest.mark.line
registration.register()
CLASSES = 3


class Plain(nn.Layer):
    """Without batch norm and dropout: what a sample gives does not depend on its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2D(3, 8, 3, padding=1), nn.Conv2D(8, CLASSES, 1)

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return [self.last(nn.functional.relu(self.first(image)))]


def batches(count: int, size: int) -> list[dict[str, paddle.Tensor]]:
    """Of which each image has another number of labelled pixels."""
    rng = np.random.RandomState(count)
    labels = rng.randint(0, CLASSES, (count, 8, 8))
    for index, label in enumerate(labels):
        label.flat[: 7 * index] = 255
    images = rng.randn(count, 3, 8, 8).astype("float32")
    pairs = [(images[at : at + size], labels[at : at + size]) for at in range(0, count, size)]
    return [{"img": paddle.to_tensor(image), "label": paddle.to_tensor(label)} for image, label in pairs]


def after(model: nn.Layer, losses: list[nn.Layer], size: int, **options: object) -> tuple[list[float], np.ndarray]:
    """Losses of three SGD steps on 8 images in batches of `size`, and the parameters."""
    model = deepcopy(model)
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters(), **options)
    step = Step(model, optimizer, {"types": losses, "coef": [1.0]})
    found = [step(batches(8, size))[0] for _ in range(3)]
    return found, np.concatenate([parameter.numpy().ravel() for parameter in model.parameters()])


LOSSES = {
    "cross entropy": lambda: CrossEntropyLoss(),
    "weights": lambda: CrossEntropyLoss(weight=[0.2, 1.0, 5.0]),
    "smoothed": lambda: SmoothedCrossEntropyLoss(0.2, weight=[0.2, 1.0, 5.0]),
    "focal": lambda: MultiClassFocalLoss(CLASSES),
    "over all pixels": lambda: WeightedPixelCrossEntropyLoss(weight=[0.2, 1.0, 5.0]),
    "mixed": lambda: MixedLoss([CrossEntropyLoss(), DiceLoss()], [0.7, 0.3]),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [2, 1])
def test_accumulated_batches_are_one_large_batch(name, size):
    model = Plain()
    one, several = after(model, [LOSSES[name]()], 8), after(model, [LOSSES[name]()], size)
    np.testing.assert_allclose(several[0], one[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(several[1], one[1], rtol=0, atol=1e-6)


def test_a_batch_without_labels_has_no_part_in_a_step():
    model, loss = Plain(), CrossEntropyLoss()
    with_empty = batches(4, 2)
    with_empty[1]["label"][:] = 255
    alone, both = (deepcopy(model) for _ in range(2))
    for network, parts in ((alone, with_empty[:1]), (both, with_empty)):
        step = Step(network, paddle.optimizer.SGD(0.1, parameters=network.parameters()), {"types": [loss], "coef": [1]})
        step(parts)
    np.testing.assert_allclose(both.last.weight.numpy(), alone.last.weight.numpy(), rtol=0, atol=1e-6)


class Numbers(paddle.io.Dataset):
    """Each sample is its number, and what was drawn for it."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, index: int) -> tuple[int, float]:
        return index, float(np.random.rand())

    def __len__(self) -> int:
        return self.count


@pytest.mark.parametrize("workers", [0, 2])
def test_accumulated_batches_hold_the_samples_of_the_large_one(workers):
    def samples(size: int, parts: int, start: int, steps: int) -> np.ndarray:
        found = order.steps(Numbers(14), size, workers, seed=4, start=start, parts=parts)
        parts_of = [np.stack([np.asarray(x) for x in part], 1) for part in islice(found, steps * parts)]
        assert found.iteration == start + steps
        return np.concatenate(parts_of)

    large = samples(4, 1, 0, 3)
    np.testing.assert_array_equal(samples(2, 2, 0, 3), large)
    np.testing.assert_array_equal(samples(1, 4, 1, 2), large[4:])


def test_images_are_drawn_by_their_share_and_again_after_a_resume():
    dataset = Numbers(100)
    dataset.draw_shares = np.array([0.5] + [0.5 / 99] * 99)

    def epoch(start: int) -> list[int]:
        return [index for batch in order.StepSampler(dataset, 10, seed=1, start=start) for index, _ in batch]

    drawn = epoch(0)
    assert len(drawn) == 100
    assert 35 <= drawn.count(0) <= 65
    assert epoch(4) == drawn[40:]
    assert epoch(10) != drawn


# Freezing


class Normed(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2D(3, 4, 3, padding=1), nn.BatchNorm2D(4))
        self.head = nn.Sequential(nn.BatchNorm2D(4), nn.Conv2D(4, CLASSES, 1))

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return [self.head(self.backbone(image))]


@pytest.mark.parametrize(
    ("patterns", "norms", "kept"),
    [
        (["backbone"], False, {"backbone.0", "backbone.1"}),
        (["*.0"], False, {"backbone.0", "head.0"}),
        ([], True, {"backbone.1", "head.0"}),
        (["head.1.bias"], True, {"backbone.1", "head.0", "head.1.bias"}),
    ],
)
def test_what_is_frozen_stays_to_the_bit(patterns, norms, kept):
    model = Normed()
    frozen = freeze(model, patterns, batch_norm=norms)
    optimizer = paddle.optimizer.Momentum(0.1, parameters=model.parameters(), weight_decay=0.1)
    step = Step(model, optimizer, {"types": [CrossEntropyLoss()], "coef": [1]})
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    for batch in batches(4, 2):
        model.train()
        frozen.hold()
        step([batch])
    for name, tensor in model.state_dict().items():
        stays = any(name == part or name.startswith(f"{part}.") for part in kept)
        assert (before[name] == tensor.numpy()).all() == stays, name


@pytest.mark.parametrize(
    ("patterns", "norms", "reason"),
    [(["backbon"], False, "did you mean backbone"), (["*"], False, "leaves nothing to train")],
)
def test_patterns_that_make_no_sense(patterns, norms, reason):
    with pytest.raises(UserError, match=reason):
        freeze(Normed(), patterns, batch_norm=norms)


def test_freezing_batch_norms_that_are_not_there():
    with pytest.raises(UserError, match="no batch norm"):
        freeze(Plain(), batch_norm=True)


# Clipping, smoothing


def test_clipped_gradients_have_at_most_that_norm(tmp_path):
    """Over all parameters; the first step of SGD without momentum and decay moves them by learning rate x gradient."""
    config = tiny.config(
        tmp_path, optimizer={"type": "SGD"}, lr_scheduler={"type": "PolynomialDecay", "learning_rate": 1.0, "end_lr": 0}
    )
    command = ["train", "--config", str(config), "--device", "cpu", "--seed", "2", "--save_interval", "1", "--quiet"]
    moved = {}
    for norm in ("0.5", "0.25"):
        out = tmp_path / norm
        assert main([*command, "--iters", "2", "--clip_norm", norm, "--save_dir", str(out)]) == 0
        first, second = (read(out / f"iter_{n}/model.pdparams") for n in (1, 2))
        trained = [name for name in first if not name.endswith(("_mean", "_variance"))]
        squares = sum(float(((second[name] - first[name]) ** 2).sum()) for name in trained)
        moved[norm] = np.sqrt(squares) / 0.5  # the second rate of the decay over two steps
    assert moved["0.5"] == pytest.approx(0.5, rel=1e-3)
    assert moved["0.25"] == pytest.approx(0.25, rel=1e-3)


def test_smoothed_labels_by_hand():
    rng = np.random.RandomState(0)
    logits, label = rng.randn(2, CLASSES, 4, 4).astype("float32"), rng.randint(0, CLASSES, (2, 4, 4))
    label[0, 0, :3] = 255
    weight = np.array([0.5, 1.0, 3.0])
    log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    total = norm = 0.0
    for n, y, x in np.argwhere(label != 255):
        truth = np.full(CLASSES, 0.2 / CLASSES)
        truth[label[n, y, x]] += 0.8
        total -= weight[label[n, y, x]] * (truth * log[n, :, y, x]).sum()
        norm += weight[label[n, y, x]]
    loss = SmoothedCrossEntropyLoss(0.2, weight=weight.tolist())
    assert float(loss(paddle.to_tensor(logits), paddle.to_tensor(label))) == pytest.approx(total / norm, rel=1e-5)
    plain = CrossEntropyLoss(weight=weight.tolist())(paddle.to_tensor(logits), paddle.to_tensor(label))
    assert float(SmoothedCrossEntropyLoss(0.0, weight.tolist())(*map(paddle.to_tensor, (logits, label)))) == (
        pytest.approx(float(plain), rel=1e-5)
    )


def examples() -> list[dict]:
    """The losses of the block of YAML in README's section on training."""
    text = (tiny.ROOT / "README.md").read_text().partition("## Training options")[2]
    block = re.search(r"```yaml\n(.*?)```", text, re.S).group(1)
    return yaml.safe_load(block)["loss"]["types"]


@pytest.mark.parametrize("name", ["MultiClassFocalLoss", "MixedLoss", "LovaszSoftmaxLoss", "SmoothedCrossEntropyLoss"])
def test_losses_of_the_readme_train(tmp_path, capsys, name):
    loss = next(section for section in examples() if section["type"] == name)
    text = yaml.safe_dump(loss).replace("num_class: 19", f"num_class: {CLASSES}")
    section = {"types": [yaml.safe_load(text)] * 2, "coef": [1, 0.4]}
    config = tiny.config(tmp_path, loss=section, iters=6)
    command = ["train", "--config", str(config), "--device", "cpu", "--log_iters", "1", "--seed", "1"]
    assert main([*command, "--save_dir", str(tmp_path / "out")]) == 0
    losses = [float(loss) for loss in tiny.losses(capsys.readouterr().out).values()]
    assert np.isfinite(losses).all()
    assert min(losses[3:]) < losses[0]


# Memory

ERRORS = [
    MemoryError("ResourceExhaustedError: \n\nOut of memory error on GPU 0. Cannot allocate 2.0GB memory on GPU 0"),
    MemoryError("Fail to alloc memory of 8589934592 size, error code is 12."),
    OSError("ExternalError: CUDNN error(4), CUDNN_STATUS_ALLOC_FAILED"),
]


class Greedy(Plain):
    """Has memory for so many pixels of a batch."""

    def __init__(self, pixels: int, error: Exception) -> None:
        super().__init__()
        self.pixels, self.error = pixels, error

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        if image.size // 3 > self.pixels:
            raise self.error
        return super().forward(image)


@pytest.mark.parametrize("error", ERRORS, ids=["gpu", "cpu", "cudnn"])
@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (2 * 64 * 64, "batch_size 8 of crop 64x64 does not fit on cpu; 2 of it fit, and --batch_size 2 --accumulate 4"),
        (64 * 32, "nor does a single one; one of crop 32x32 fits"),
        (1, "nor does one image of an eighth of the size"),
    ],
)
def test_short_memory_names_what_fits(error, pixels, said):
    model = Greedy(pixels, error)
    step = Step(
        model, paddle.optimizer.SGD(0.1, parameters=model.parameters()), {"types": [CrossEntropyLoss()], "coef": [1]}
    )
    batch = {"img": paddle.zeros([8, 3, 64, 64]), "label": paddle.zeros([8, 64, 64], "int64")}
    with pytest.raises(UserError, match=said):
        memory.guarded(step, [batch])


def test_other_errors_are_passed_on():
    model = Greedy(1, RuntimeError("The length of logits_list should equal"))
    step = Step(model, paddle.optimizer.SGD(0.1, parameters=model.parameters()), {"types": [], "coef": []})
    with pytest.raises(RuntimeError, match="length of logits_list"):
        memory.guarded(step, batches(2, 2))
