"""Data order and randomness of a step as functions of (seed, iteration): resuming needs no memory of the steps before.

PaddleSeg shuffles by a counter that starts at 0 in every process, augments from global generators that each worker
process advances on its own, and drops out from Paddle's. Here the iteration alone decides: its epoch gives the
permutation, its samples carry their own seeds to wherever they are loaded, and Paddle is reseeded before each step.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle

from paddle_hrfamily.errors import UserError


def derived_seed(*words: int) -> int:
    """A 32-bit seed from integers, independent for any two different sequences of them."""
    return int(np.random.SeedSequence(words).generate_state(1)[0])


class StepSampler(paddle.io.DistributedBatchSampler):
    """Shuffled batches of (index, sample seed) for this rank, from the batch of iteration `start` + 1 on.

    Raises:
        UserError: the data set has fewer samples than one batch of all ranks (PaddleSeg would wait forever).
    """

    def __init__(self, dataset: paddle.io.Dataset, batch_size: int, *, seed: int, start: int) -> None:
        super().__init__(dataset, batch_size=batch_size, shuffle=True, drop_last=True)
        if len(self) == 0:
            raise UserError(
                f"train_dataset has {len(dataset)} samples, too few for one batch: batch_size is {batch_size} on "
                f"{self.nranks} process(es); lower batch_size"
            )
        self.seed = seed
        self.epoch, self.offset = divmod(start, len(self))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.RandomState(derived_seed(self.seed, self.epoch)).permutation(len(self.dataset))
        order = np.resize(order, self.total_size)  # repeats from the beginning, so that all ranks get as many
        for batch in range(self.offset, len(self)):
            first = (batch * self.nranks + self.local_rank) * self.batch_size
            yield [
                (int(order[at]), derived_seed(self.seed, self.epoch, at))
                for at in range(first, first + self.batch_size)
            ]
        self.epoch, self.offset = self.epoch + 1, 0


class SeededDataset(paddle.io.Dataset):
    """dataset[index, seed]: the sample as it comes out when Python's and numpy's generators start from `seed`."""

    def __init__(self, dataset: paddle.io.Dataset) -> None:
        super().__init__()
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        index, seed = key
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  PaddleSeg's transforms draw from it
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)


class SeededSteps:
    """The batches of a loader; before each is handed out, Paddle's generators start from (seed, iteration, rank)."""

    def __init__(self, loader: paddle.io.DataLoader, *, seed: int, start: int) -> None:
        self.loader = loader
        self.seed = seed
        self.iteration = start
        self.rank = paddle.distributed.ParallelEnv().rank

    def __iter__(self) -> Iterator[dict[str, paddle.Tensor]]:
        for batch in self.loader:
            self.iteration += 1
            paddle.seed(derived_seed(self.seed, self.iteration, self.rank))
            yield batch

    def __len__(self) -> int:
        return len(self.loader)
