"""Every mistake in a config or an option has a one-line reason that names the key, the value and the way out."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file
from paddle_hrfamily.integration.registration import register
from tests import tiny

register()


@pytest.fixture
def write(tmp_path):
    """Write the tiny config after `change` has changed its dictionary. Returns the file."""

    def written(change=lambda config: None) -> Path:
        path = tiny.config(tmp_path)
        config = yaml.safe_load(path.read_text())
        change(config)
        path.write_text(yaml.safe_dump(config))
        return path

    return written


def test_a_good_config_builds_everything(write):
    config = config_file.load(write(), batch_size=3, iters=5, learning_rate=0.5, opts=["model.num_classes=3"])
    builder = config_file.builder(config)
    assert (config.batch_size, config.iters, builder.optimizer.get_lr()) == (3, 5, 0.5)
    assert len(builder.train_dataset) == 7
    assert builder.val_dataset.class_names == tiny.CLASSES
    assert len(builder.loss["types"]) == 2
    assert builder.model is builder.model


def test_packaged_configs_are_found_by_name():
    name = "uhrnet_w18_small_camvid.yml"
    assert config_file.find_config(name).name == name
    with pytest.raises(UserError, match=f"did you mean {name}"):
        config_file.find_config("uhrnet_w18_smal_camvid.yml")


@pytest.mark.parametrize(
    ("path", "reason"),
    [(None, "--config FILE is missing"), ("model.pdparams", "not a YAML file"), ("absent.yml", "does not exist")],
)
def test_a_config_that_is_none(path, reason):
    with pytest.raises(UserError, match=reason):
        config_file.load(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("batch_size: 2\niters: [1, 2\nmodel: {}\n", r"c\.yml:3:6: not YAML"),
        ("\tbatch_size: 2\n", r"c\.yml:1:1: not YAML"),
        ("", "is a NoneType|is none"),
        ("- 1\n- 2\n", "a mapping of keys"),
        ("_base_: nothere.yml\nbatch_size: 1\n", "nothere.yml, which does not exist"),
    ],
)
def test_what_is_no_config_is_named_with_its_place(tmp_path, text, reason):
    (tmp_path / "c.yml").write_text(text)
    with pytest.raises(UserError, match=reason):
        config_file.load(tmp_path / "c.yml")


def test_a_syntax_error_in_a_base_is_found_there(tmp_path):
    (tmp_path / "base.yml").write_text("iters: [1\nbatch_size: 2\n")
    (tmp_path / "c.yml").write_text("_base_: base.yml\n")
    with pytest.raises(UserError, match=r"base\.yml:2"):
        config_file.load(tmp_path / "c.yml")


@pytest.mark.parametrize("key", ["model", "train_dataset", "optimizer", "lr_scheduler", "loss", "batch_size", "iters"])
def test_a_missing_section_is_named(write, key):
    with pytest.raises(UserError, match=f"the key {key} is missing"):
        config_file.load(write(lambda config: config.pop(key)))


def test_a_misspelt_section_is_recognised(write):
    with pytest.raises(UserError, match="lr_scheduler is missing; did you mean lr_schedular"):
        config_file.load(write(lambda config: config.update(lr_schedular=config.pop("lr_scheduler"))))


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("batch_size", "KEY=VALUE"),
        ("a=b=c", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("optimiser.type=Adam", "no key optimiser; did you mean optimizer"),
        ("model.backbone.variant=W18", "no key model.backbone"),
        ("batch_size.x=1", "batch_size is a int"),
        ("loss.types.0.type=X", "no key loss.types.0"),
        ("batchsize=4", "no config has the key batchsize; did you mean batch_size"),
    ],
)
def test_options_that_fit_nothing(write, option, reason):
    with pytest.raises(UserError, match=reason):
        config_file.load(write(), opts=[option])


def test_options_apply(write):
    opts = ["to_static_training=False", "optimizer.weight_decay=0.5", "test_config={'aug_eval': True}"]
    config = config_file.load(write(), opts=opts)
    assert (config.optimizer_cfg["weight_decay"], config.test_config) == (0.5, {"aug_eval": True})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["train_dataset"].update(num_classes=4), "num_classes"),
        (lambda c: c["loss"].update(types=c["loss"]["types"] * 3), "length of types"),
        (lambda c: c["loss"].pop("coef"), "types.*coef"),
        (lambda c: c["model"].pop("type"), "model must be a mapping with the key type"),
        (lambda c: c.update(model="FastSCNN"), "model must be a mapping with the key type"),
        (lambda c: c.update(batch_size=0), "batch_size must be a whole number"),
        (lambda c: c.update(iters=2.5), "iters must be a whole number"),
        (lambda c: c["lr_scheduler"].update(learning_rate="1e-3"), r"learning_rate is the text '1e-3'.*1\.0e-3"),
    ],
)
def test_contradictions_are_explained(write, change, reason):
    with pytest.raises(UserError, match=reason):
        config_file.load(write(change))


def set_transform(index: int, **values: object):
    return lambda c: c["train_dataset"]["transforms"][index].update(values)


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("model", lambda c: c["model"].update(type="HRNetSag"), "'HRNetSag'; did you mean HRNetSeg.*imported from"),
        ("model", lambda c: c["model"].update(num_clases=3), "model: FastSCNN has no argument num_clases.*num_classes"),
        ("model", lambda c: c.update(model={"type": "HRNetSeg", "num_classes": 3}), "HRNetSeg needs.*backbone"),
        (
            "model",
            lambda c: c.update(
                model={"type": "HRNetSeg", "num_classes": 3, "backbone": {"type": "UHRNet", "variant": "W19"}}
            ),
            "W19",
        ),
        ("optimizer", lambda c: c["optimizer"].update(type="SDG"), "'SDG'; did you mean SGD"),
        ("optimizer", lambda c: c["lr_scheduler"].update(type="PolyDecay"), "PolyDecay.*PolynomialDecay"),
        ("optimizer", lambda c: c["lr_scheduler"].update(powr=1), "lr_scheduler.*powr"),
        ("loss", lambda c: c["loss"]["types"][0].update(type="CrossEntropy"), "did you mean CrossEntropyLoss"),
        ("loss", lambda c: c["loss"]["types"][0].update(wieght=1), r"loss\.types\[0\].*wieght; did you mean weight"),
        ("train_dataset", lambda c: c["train_dataset"].update(dataset_root="gone"), "train_dataset.dataset_root.*gone"),
        (
            "train_dataset",
            lambda c: c["train_dataset"].update(train_path="gone.txt"),
            "--opts train_dataset.train_path",
        ),
        ("val_dataset", lambda c: c["val_dataset"].update(val_path="gone.txt"), "val_dataset.val_path.*gone.txt"),
        ("val_dataset", lambda c: c.pop("val_dataset"), "val_dataset: No val_dataset"),
        ("train_dataset", lambda c: c["train_dataset"].pop("mode"), "train_dataset: Dataset needs the argument mode"),
        ("train_dataset", set_transform(2, type="RandomFlip"), "'RandomFlip'; did you mean"),
        ("train_dataset", set_transform(1, crop=3), r"transforms\[1\]: RandomPaddingCrop has no argument crop"),
        ("train_dataset", lambda c: c["train_dataset"].update(separator=","), "File list format incorrect"),
    ],
)
def test_components_that_cannot_be_built_are_explained(write, part, change, reason):
    builder = config_file.builder(config_file.load(write(change)))
    with pytest.raises(UserError) as raised:
        getattr(builder, part)
    assert re.search(reason, str(raised.value)), str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_empty_list_is_explained(write, tmp_path):
    path = write()
    (tmp_path / "data/list.txt").write_text("")
    with pytest.raises(UserError, match="has no samples: its list is empty"):
        _ = config_file.builder(config_file.load(path)).train_dataset


def test_a_defect_keeps_its_own_exception(write, monkeypatch):
    from paddleseg.models import FastSCNN

    def broken(self, **_: object) -> None:
        raise ZeroDivisionError("a defect")

    config = config_file.load(write())
    monkeypatch.setattr(FastSCNN, "__init__", broken)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        _ = config_file.builder(config).model


def test_only_one_model_takes_another_layout(write):
    config = config_file.load(write())
    before = copy.deepcopy(config.dic)
    config_file.use_data_format(config, "NCHW")
    assert config.dic == before
    with pytest.raises(UserError, match="DeepLabV3P alone"):
        config_file.use_data_format(config, "NHWC")


def test_image_channels_come_from_the_network(write):
    assert config_file.in_channels(config_file.load(write())) == 3


def test_cityscapes_with_label_ids_alone_is_recognised_by_name(tmp_path):
    for folder, name in (("leftImg8bit", "a_leftImg8bit"), ("gtFine", "a_gtFine_labelIds")):
        (tmp_path / folder / "train" / "town").mkdir(parents=True)
        Image.new("L", (64, 32)).save(tmp_path / folder / "train" / "town" / f"{name}.png")
    config = config_file.load("hrnet_w48_cityscapes.yml", opts=[f"train_dataset.dataset_root={tmp_path}"])
    with pytest.raises(UserError, match=f"labelTrainIds are missing; make them: hrfamily trainids {tmp_path}"):
        _ = config_file.builder(config).train_dataset
