"""Train a network on a PaddleSeg config.

    hrfamily train --config configs/quickstart.yml --do_eval --use_vdl
    hrfamily train --config quickstart.yml --resume_model latest
    hrfamily train --config my_data.yml --do_eval --early_stop 5 --accumulate 4 --freeze backbone --time_budget 2h
    hrfamily train --config my_data.yml --find_lr
    python -m paddle.distributed.launch --gpus 0,1 $(which hrfamily) train --config uhrnet_w48_cityscapes.yml --do_eval

Takes every flag of PaddleSeg's tools/train.py, and gives the same numbers as `python -m paddleseg.train`, which runs
PaddleSeg's own loop. Labels are looked at before the first step; checkpoints survive a kill at any moment, and a
resumed run continues exactly where the last whole one ends.
"""

from __future__ import annotations

import argparse
import os
import random
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    from paddleseg.cvlibs import Config, SegBuilder

    from paddle_hrfamily.training.console import Verbosity

# What PaddleSeg's own loop does not have, with the value that leaves it out.
_OURS: dict[str, Any] = {
    "accumulate": 1,
    "early_stop": None,
    "time_budget": None,
    "freeze": [],
    "freeze_bn": False,
    "log": [],
    "find_lr": None,
}
_CROSS_ENTROPY = ("CrossEntropyLoss", "SmoothedCrossEntropyLoss")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_data_format(flags.add_config(parser, held=False))
    add = parser.add_argument_group("training").add_argument
    add("--iters", type=flags.positive, help="iterations in all, instead of the config's")
    add("--batch_size", type=flags.positive, help="images a device and iteration, instead of the config's")
    add("--learning_rate", type=float, help="initial learning rate, instead of the config's")
    add("--resume_model", help="a checkpoint folder, or `latest` for the last whole one in --save_dir")
    add("--seed", type=int, help="of everything random; without it one is drawn and logged")
    add("--repeats", type=flags.positive, default=1, help="times the data set counts in one epoch")
    add("--do_eval", action="store_true", help="evaluate at every checkpoint and keep the best")
    add("--use_ema", action="store_true", help="also keep a moving average of the weights")
    flags.add_training(parser)
    add = parser.add_argument_group("output").add_argument
    add("--save_dir", default="./output", help="folder for checkpoints and logs (default: %(default)s)")
    add("--save_interval", type=flags.positive, default=1000, help="iterations between checkpoints")
    add("--keep_checkpoint_max", type=int, default=5, help="checkpoints to keep; 0 keeps all")
    add("--log_iters", type=flags.positive, default=10, help="iterations between log lines")
    add("--use_vdl", action="store_true", help="write a VisualDL log into --save_dir")
    flags.add_logging(parser)
    hardware = flags.add_device(parser)
    flags.add_num_workers(hardware)
    flags.add_precision(hardware)
    hardware.add_argument("--profiler_options", help="options of PaddleSeg's train_profiler.py; turns it on")


def run(args: argparse.Namespace) -> None:
    """Build everything, look at the labels, then train."""
    started = time.monotonic()
    _check(args)
    verbosity: Verbosity = args.verbosity or ("verbose" if args.loop == "paddleseg" else "normal")
    if verbosity != "verbose":
        os.environ.setdefault("GLOG_minloglevel", "2")  # errors alone of what Paddle's core says; read at its import
        warnings.filterwarnings("ignore", module="paddle(seg)?(\\.|$)")
    flags.register(args)
    from paddleseg.utils import logger

    from paddle_hrfamily.training import console

    with console.speaking(verbosity):
        if args.find_lr:
            _find_lr(args, verbosity)
            return
        _train(args, verbosity, started)
        logger.info(f"Checkpoints are in {Path(args.save_dir).absolute()}")


def _check(args: argparse.Namespace) -> None:
    """Raises UserError where flags make no sense together."""
    if args.early_stop and not args.do_eval:
        raise UserError("--early_stop counts evaluations, which need --do_eval")
    if args.find_lr and args.resume_model:
        raise UserError("--find_lr starts anew and keeps no weights: leave out --resume_model")
    ours = [flag for flag, without in _OURS.items() if getattr(args, flag) != without]
    if args.loop == "paddleseg" and ours:
        raise UserError(f"--{ours[0]} is not in PaddleSeg's own loop: say `hrfamily train`, or --loop hrfamily")


def _configured(args: argparse.Namespace) -> Config:
    """The config, with what the flags change."""
    from paddle_hrfamily.integration import config_file
    from paddle_hrfamily.training import class_balance

    config = config_file.load(
        args.config,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        iters=args.iters,
        opts=args.opts,
    )
    config_file.use_data_format(config, args.data_format)
    class_balance.check_sampler(config.dic)
    if args.clip_norm is not None:
        config.dic["optimizer"]["grad_clip_cfg"] = {"name": "ClipGradByGlobalNorm", "clip_norm": args.clip_norm}
    if args.label_smoothing is not None:
        _smooth_labels(config.dic["loss"], args.label_smoothing)
    return config


def _smooth_labels(loss: Mapping[str, Any], amount: float) -> None:
    sections = [
        section
        for outer in loss["types"]
        for section in [outer, *(outer.get("losses") or [])]
        if section.get("type") in _CROSS_ENTROPY
    ]
    if not sections:
        raise UserError(f"--label_smoothing {amount} is for {' and '.join(_CROSS_ENTROPY)}, and the config has neither")
    for section in sections:
        other = set(section) - {"type", "weight", "ignore_index", "label_smoothing"}
        if other:
            raise UserError(f"--label_smoothing {amount} does not go with {sorted(other)[0]} of CrossEntropyLoss")
        section.update(type="SmoothedCrossEntropyLoss", label_smoothing=amount)


def _prepare(args: argparse.Namespace, config: Config, verbosity: Verbosity) -> int:
    """Seed and device, with what `verbose` tells of them. Returns the seed."""
    from paddleseg.utils import logger, utils

    from paddle_hrfamily.commands import checks

    if verbosity == "verbose":
        utils.show_env_info()
        utils.show_cfg_info(config)
    seed = random.SystemRandom().randrange(2**31) if args.seed is None else args.seed
    utils.set_seed(seed)
    if verbosity == "verbose":
        logger.info(f"Seed: {seed}")
        utils.set_device(args.device)
    else:
        with _silent(utils):
            utils.set_device(args.device)
    checks.mention_precision(args.precision)
    utils.set_cv2_num_threads(args.num_workers)
    return seed


def _silent(module: Any) -> Any:
    from paddle_hrfamily.patching import Overlay, patched

    return patched(module, logger=Overlay(module.logger, info=lambda *_: None))


def _datasets(args: argparse.Namespace, config: Config, builder: SegBuilder) -> dict[str, Any]:
    """ "train" and, with --do_eval, "val": looked at, balanced, with the classes' shares and weights logged."""
    import paddle
    from paddleseg.utils import logger

    from paddle_hrfamily.commands import checks
    from paddle_hrfamily.data.classes import class_table
    from paddle_hrfamily.training import class_balance

    sets = {"train": builder.train_dataset, **({"val": builder.val_dataset} if args.do_eval else {})}
    scans = {name: checks.look_at_labels(dataset) for name, dataset in sets.items()}
    pixels = {name: scan.pixels for name, scan in scans.items() if scan is not None and scan.pixels.any()}
    if pixels:
        shown = class_balance.table(class_table(config.dic).names, pixels)
        logger.info(f"Classes, by their share of the labelled pixels:\n{shown}")
    train = sets["train"]
    if args.repeats > 1:
        train.file_list *= args.repeats

    def count() -> Any:
        return class_balance.pixels_by_image(train, Path(args.save_dir))

    for line in class_balance.resolve_weights(config.dic, count):
        logger.info(line)
    if config.dic.get("sampler"):
        train.draw_shares = shares = class_balance.draw_shares(count())
        if paddle.distributed.ParallelEnv().local_rank == 0:
            drawn = shares * len(shares)
            logger.info(
                f"sampler class_balanced: images are drawn {drawn.min():.2g} to {drawn.max():.2g} times an epoch"
            )
    return sets


def _train(args: argparse.Namespace, verbosity: Verbosity, started: float) -> None:
    from paddleseg.utils import logger, utils

    from paddle_hrfamily.data.classes import class_table
    from paddle_hrfamily.integration import config_file, held_config
    from paddle_hrfamily.training import freezing, loop
    from paddle_hrfamily.training.validation import Validation

    config = _configured(args)
    builder = config_file.builder(config)
    seed = _prepare(args, config, verbosity)
    sets = _datasets(args, config, builder)
    schedule, held = _schedule_in_words(config), held_config.described(config)
    model = utils.convert_sync_batchnorm(builder.model, args.device)
    frozen = freezing.freeze(model, args.freeze, batch_norm=args.freeze_bn)
    built = {"optimizer": builder.optimizer, "losses": builder.loss}
    try:
        if args.loop == "paddleseg":
            _by_paddleseg(args, config, model, sets, built, held)
            return
        options = _options(args, config, verbosity, started)
        sizes = {name: len(dataset) for name, dataset in sets.items()}
        classes = getattr(sets["train"], "num_classes", None)
        for line in loop.header(model, options, sizes, classes, seed, schedule):
            logger.info(line)
        validation = None
        if args.do_eval:
            test = {"num_workers": min(1, args.num_workers), "precision": args.precision, "amp_level": args.amp_level}
            test.update(config.test_config or {})
            samples = args.samples if options.log else 0
            table = class_table(config.dic) if samples else None
            validation = Validation(sets["val"], built["losses"], test, table=table, samples=samples)
        loop.train(model, sets["train"], options=options, validation=validation, frozen=frozen, config=held, **built)
    except RuntimeError as error:
        if "length of logits_list" not in str(error):
            raise
        raise UserError(
            f"{args.config}: loss must have one type and coef for each output of the network: {error}"
        ) from error


def _schedule_in_words(config: Config) -> str:
    """Before the schedule is built: PaddleSeg takes its section apart."""
    section, optimizer = config.dic["lr_scheduler"], config.dic["optimizer"]
    warm_up = f", warm-up of {section['warmup_iters']}" if section.get("warmup_iters") else ""
    return f"{optimizer['type']}, {section['type']} from {section.get('learning_rate', 'its own rate')}{warm_up}"


def _options(args: argparse.Namespace, config: Config, verbosity: Verbosity, started: float) -> Any:
    from paddle_hrfamily.training.loop import Options

    same = (
        *("save_dir", "resume_model", "save_interval", "log_iters", "num_workers", "use_ema", "keep_checkpoint_max"),
        *("precision", "amp_level", "profiler_options", "accumulate", "early_stop", "time_budget"),
    )
    return Options(
        iters=config.iters,
        batch_size=config.batch_size,
        to_static_training=config.to_static_training,
        started=started,
        log=(*(["visualdl"] if args.use_vdl else []), *args.log),
        verbosity=verbosity,
        **{name: getattr(args, name) for name in same},
    )


def _by_paddleseg(
    args: argparse.Namespace,
    config: Config,
    model: Any,
    sets: Mapping[str, Any],
    built: Mapping[str, Any],
    held: Mapping[str, Any],
) -> None:
    """PaddleSeg's own loop; `held` is the config that checkpoints hold."""
    from paddleseg import core

    from paddle_hrfamily.patching import accepted

    same = (
        *("save_dir", "resume_model", "save_interval", "log_iters", "num_workers", "use_vdl", "use_ema"),
        *("keep_checkpoint_max", "precision", "amp_level", "profiler_options"),
    )
    arguments = {
        "model": model,
        "train_dataset": sets["train"],
        "val_dataset": sets.get("val"),
        "iters": config.iters,
        "batch_size": config.batch_size,
        "test_config": config.test_config,
        "to_static_training": config.to_static_training,
        **built,
        **{name: getattr(args, name) for name in same},
    }
    core.train(**accepted(core.train, arguments), config=held)


def _find_lr(args: argparse.Namespace, verbosity: Verbosity) -> None:
    """Log what rate --find_lr suggests, and write its curve."""
    from itertools import chain, repeat

    import paddle
    from paddleseg.utils import logger

    from paddle_hrfamily.checkpointing import order
    from paddle_hrfamily.integration import config_file
    from paddle_hrfamily.training import freezing, lr_finder
    from paddle_hrfamily.training.step import Step

    if paddle.distributed.ParallelEnv().nranks > 1:
        raise UserError("--find_lr runs in one process: leave out paddle.distributed.launch")
    config = _configured(args)
    builder = config_file.builder(config)
    seed = _prepare(args, config, verbosity)
    config.dic["lr_scheduler"] = lr_finder.schedule(args.find_lr)
    dataset = _datasets(args, config, builder)["train"]
    frozen = freezing.freeze(builder.model, args.freeze, batch_norm=args.freeze_bn)
    builder.model.train()
    frozen.hold()
    scaler = paddle.amp.GradScaler(init_loss_scaling=1024) if args.precision == "fp16" else None
    step = Step(builder.model, builder.optimizer, builder.loss, scaler=scaler, amp_level="O1")
    steps = order.steps(dataset, config.batch_size, args.num_workers, seed=seed, parts=args.accumulate)
    batches = chain.from_iterable(repeat(steps))
    curve = lr_finder.search(step, batches, args.accumulate, args.find_lr)
    if not len(curve.rates):
        raise UserError("--find_lr: the loss is no number at the first step already; look at the data")
    try:
        suggestion = curve.suggestion()
    except UserError:
        lr_finder.write(curve, None, Path(args.save_dir))
        raise
    table, picture = lr_finder.write(curve, suggestion, Path(args.save_dir))
    logger.info(f"The loss falls the fastest at --learning_rate {suggestion:g}; the curve is in {picture} and {table}")
