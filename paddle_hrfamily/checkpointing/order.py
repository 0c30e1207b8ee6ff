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
    """Shuffled batches of (index, sample seed) for this rank, from the first of iteration `start` + 1 on.

    Args:
        batch_size: samples of a batch.
        seed: all processes must have the same.
        start: steps that are done.
        parts: batches of a step; together they are the samples, with their seeds, of one batch so many times as large.

    The data set may have `draw_shares`, the share of the draws that each sample gets: samples are then drawn by these,
    with repetition, in the place of a permutation.

    Raises:
        UserError: the data set has fewer samples than one batch of all ranks (PaddleSeg would wait forever).
    """

    def __init__(self, dataset: paddle.io.Dataset, batch_size: int, *, seed: int, start: int, parts: int = 1) -> None:
        super().__init__(dataset, batch_size=batch_size * parts, shuffle=True, drop_last=True)
        if len(self) == 0:
            accumulated = f", {parts} of them to a step," if parts > 1 else ""
            raise UserError(
                f"train_dataset has {len(dataset)} samples, too few for one batch: batch_size is {batch_size}"
                f"{accumulated} on {self.nranks} process(es); lower batch_size"
            )
        self.seed = seed
        self.part = batch_size
        self.epoch, self.offset = divmod(start, len(self))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self._order()
        for step in range(self.offset, len(self)):
            first = (step * self.nranks + self.local_rank) * self.batch_size
            for start in range(first, first + self.batch_size, self.part):
                places = range(start, start + self.part)
                yield [(int(order[at]), derived_seed(self.seed, self.epoch, at)) for at in places]
        self.epoch, self.offset = self.epoch + 1, 0

    def _order(self) -> np.ndarray:
        """(total_size,) the samples of this epoch, of all ranks."""
        random_state = np.random.RandomState(derived_seed(self.seed, self.epoch))
        shares = getattr(self.dataset, "draw_shares", None)
        if shares is not None:
            return random_state.choice(np.arange(len(self.dataset)), self.total_size, p=shares)
        order = random_state.permutation(len(self.dataset))
        return np.resize(order, self.total_size)  # repeats from the beginning, so that all ranks get as many


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
    """The batches of a loader; before the first of a step is handed out, Paddle's generators start from (seed,
    iteration, rank). A step has `parts` batches."""

    def __init__(self, loader: paddle.io.DataLoader, *, seed: int, start: int, parts: int = 1) -> None:
        self.loader = loader
        self.seed = seed
        self.iteration = start
        self.parts = parts
        self.rank = paddle.distributed.ParallelEnv().rank

    def __iter__(self) -> Iterator[dict[str, paddle.Tensor]]:
        for number, batch in enumerate(self.loader):
            if number % self.parts == 0:
                self.iteration += 1
                paddle.seed(derived_seed(self.seed, self.iteration, self.rank))
            yield batch

    def __len__(self) -> int:
        return len(self.loader)


def steps(
    dataset: paddle.io.Dataset, batch_size: int, num_workers: int, *, seed: int, start: int = 0, parts: int = 1
) -> SeededSteps:
    """The steps from the one after `start` on to the end of its epoch, as batches; iterated again, the next epoch's.

    Raises:
        UserError: the data set has too few samples for one step.
    """
    sampler = StepSampler(dataset, batch_size, seed=seed, start=start, parts=parts)
    loader = paddle.io.DataLoader(
        SeededDataset(dataset), batch_sampler=sampler, num_workers=num_workers, return_list=True
    )
    return SeededSteps(loader, seed=seed, start=start, parts=parts)
