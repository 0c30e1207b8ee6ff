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

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_data_format(flags.add_config(parser))
    add = parser.add_argument_group("training").add_argument
    add("--iters", type=flags.positive, help="iterations in all, instead of the config's")
    add("--batch_size", type=flags.positive, help="images a device and iteration, instead of the config's")
    add("--learning_rate", type=float, help="initial learning rate, instead of the config's")
    add("--resume_model", help="a checkpoint folder, or `latest` for the last whole one in --save_dir")
    add("--seed", type=int, help="of everything random; without it one is drawn and logged")
    add("--repeats", type=flags.positive, default=1, help="times the data set counts in one epoch")
    add("--do_eval", action="store_true", help="evaluate at every checkpoint and keep the best")
    add("--use_ema", action="store_true", help="also keep a moving average of the weights")
    add = parser.add_argument_group("output").add_argument
    add("--save_dir", default="./output", help="folder for checkpoints and logs (default: %(default)s)")
    add("--save_interval", type=flags.positive, default=1000, help="iterations between checkpoints")
    add("--keep_checkpoint_max", type=int, default=5, help="checkpoints to keep; 0 keeps all")
    add("--log_iters", type=flags.positive, default=10, help="iterations between log lines")
    add("--use_vdl", action="store_true", help="write a VisualDL log into --save_dir")
    hardware = flags.add_device(parser)
    flags.add_num_workers(hardware)
    flags.add_precision(hardware)
    hardware.add_argument("--profiler_options", help="options of PaddleSeg's train_profiler.py; turns it on")


def run(args: argparse.Namespace) -> None:
    """Build everything, look at the labels, then train with PaddleSeg's own loop."""
    flags.register(args)
    from paddleseg import core
    from paddleseg.utils import logger, utils

    from paddle_hrfamily.commands import checks
    from paddle_hrfamily.integration import config_file
    from paddle_hrfamily.patching import accepted

    config = config_file.load(
        args.config,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        iters=args.iters,
        opts=args.opts,
    )
    config_file.use_data_format(config, args.data_format)
    builder = config_file.builder(config)

    utils.show_env_info()
    utils.show_cfg_info(config)
    seed = random.SystemRandom().randrange(2**31) if args.seed is None else args.seed
    logger.info(f"Seed: {seed}")
    utils.set_seed(seed)
    utils.set_device(args.device)
    checks.mention_precision(args.precision)
    utils.set_cv2_num_threads(args.num_workers)

    train_dataset = builder.train_dataset
    val_dataset = builder.val_dataset if args.do_eval else None
    for dataset in (train_dataset, val_dataset):
        checks.look_at_labels(dataset)
    if args.repeats > 1:
        train_dataset.file_list *= args.repeats
    arguments = {
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
