"""Train a network on a PaddleSeg config.

    hrfamily train --config configs/quickstart.yml --do_eval --use_vdl
    hrfamily train --config quickstart.yml --resume_model latest
    python -m paddle.distributed.launch --gpus 0,1 $(which hrfamily) train --config uhrnet_w48_cityscapes.yml --do_eval

The same as `python -m paddleseg.train`, with every flag of PaddleSeg's tools/train.py. Labels are looked at before the
first step; checkpoints survive a kill at any moment, and a resumed run continues exactly where the last whole one ends.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    import paddle

DEVICES = ("cpu", "gpu", "xpu", "npu", "mlu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", help="the YAML file: a path, or the name of one of this package's")
    parser.add_argument("--device", default="gpu", choices=DEVICES, help="where to compute; gpu falls back to cpu")
    parser.add_argument("--save_dir", default="./output", help="folder for checkpoints and logs (default: %(default)s)")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that load images (default: %(default)s)")
    parser.add_argument("--do_eval", action="store_true", help="evaluate at every checkpoint and keep the best")
    parser.add_argument("--use_vdl", action="store_true", help="write a VisualDL log into --save_dir")
    parser.add_argument("--use_ema", action="store_true", help="also keep a moving average of the weights")
    parser.add_argument("--resume_model", help="a checkpoint folder, or `latest` for the last whole one in --save_dir")
    parser.add_argument("--iters", type=positive, help="iterations in all, instead of the config's")
    parser.add_argument("--batch_size", type=positive, help="images a device and iteration, instead of the config's")
    parser.add_argument("--learning_rate", type=float, help="initial learning rate, instead of the config's")
    parser.add_argument("--save_interval", type=positive, default=1000, help="iterations between checkpoints")
    parser.add_argument("--log_iters", type=positive, default=10, help="iterations between log lines")
    parser.add_argument("--keep_checkpoint_max", type=int, default=5, help="checkpoints to keep; 0 keeps all")
    parser.add_argument("--seed", type=int, help="of everything random; without it one is drawn and logged")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16"), help="fp16: mixed precision")
    parser.add_argument("--amp_level", default="O1", choices=("O1", "O2"), help="O2: all but batch norm in fp16")
    parser.add_argument("--profiler_options", help="options of PaddleSeg's train_profiler.py; turns it on")
    parser.add_argument("--data_format", default="NCHW", help="NHWC for DeepLabV3P (default: %(default)s)")
    parser.add_argument("--repeats", type=positive, default=1, help="times the data set counts in one epoch")
    parser.add_argument("--opts", nargs="+", help="change values of the config, as key.sub=value")


def positive(text: str) -> int:
    """argparse type: a whole number from 1 up."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 up")
    return number


def run(args: argparse.Namespace) -> None:
    """Build everything, look at the labels, then train with PaddleSeg's own loop."""
    from paddle_hrfamily.host import environment

    environment.require_paddle()
    from paddleseg import core
    from paddleseg.utils import logger, utils

    from paddle_hrfamily.host import registry, settings
    from paddle_hrfamily.host.overlay import accepted

    registry.register()
    config = settings.load(
        args.config,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        iters=args.iters,
        opts=args.opts,
    )
    settings.use_data_format(config, args.data_format)
    builder = settings.builder(config)

    utils.show_env_info()
    utils.show_cfg_info(config)
    seed = random.SystemRandom().randrange(2**31) if args.seed is None else args.seed
    logger.info(f"Seed: {seed}")
    utils.set_seed(seed)
    utils.set_device(args.device)
    mention_precision(args.precision)
    utils.set_cv2_num_threads(args.num_workers)

    train_dataset = builder.train_dataset
    val_dataset = builder.val_dataset if args.do_eval else None
    for dataset in (train_dataset, val_dataset):
        look_at_labels(dataset)
    if args.repeats > 1:
        train_dataset.file_list *= args.repeats
    arguments: dict[str, Any] = {
        "model": utils.convert_sync_batchnorm(builder.model, args.device),
        "train_dataset": train_dataset,
        "val_dataset": val_dataset,
        "optimizer": builder.optimizer,
        "losses": builder.loss,
        "save_dir": args.save_dir,
        "iters": config.iters,
        "batch_size": config.batch_size,
        "resume_model": args.resume_model,
        "save_interval": args.save_interval,
        "log_iters": args.log_iters,
        "num_workers": args.num_workers,
        "use_vdl": args.use_vdl,
        "use_ema": args.use_ema,
        "keep_checkpoint_max": args.keep_checkpoint_max,
        "test_config": config.test_config,
        "precision": args.precision,
        "amp_level": args.amp_level,
        "profiler_options": args.profiler_options,
        "to_static_training": config.to_static_training,
    }
    try:
        core.train(**accepted(core.train, arguments))
    except RuntimeError as error:
        if "length of logits_list" not in str(error):
            raise
        raise UserError(
            f"{args.config}: loss must have one type and coef for each output of the network: {error}"
        ) from error
    logger.info(f"Checkpoints are in {Path(args.save_dir).absolute()}")


def mention_precision(precision: str) -> None:
    """Log it if mixed precision was asked for and this device has none: Paddle goes on in float32 without it."""
    import paddle
    from paddleseg.utils import logger

    if precision == "fp16" and paddle.device.get_device() == "cpu":
        logger.warning("--precision fp16 has no effect on a processor: Paddle computes in float32 there")


def look_at_labels(dataset: paddle.io.Dataset | None) -> None:
    """Log what `check_labels` finds, once per machine; raise its UserError. For data sets that are lists of files."""
    import paddle
    from paddleseg.utils import logger

    from paddle_hrfamily.host.labels import check_labels

    if hasattr(dataset, "file_list") and paddle.distributed.ParallelEnv().local_rank == 0:
        scan = check_labels(dataset)
        logger.info(f"{dataset.mode} {scan}")
        for warning in scan.warnings:
            logger.warning(f"{dataset.mode} labels: {warning}")
