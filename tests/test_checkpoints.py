"""Checkpoints on disk, killed at every file operation; order and randomness as functions of (seed, iteration)."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from paddle_hrfamily.checkpointing import checkpoints, restore, snapshot
from paddle_hrfamily.checkpointing.order import SeededDataset, StepSampler, derived_seed
from paddle_hrfamily.checkpointing.snapshot import Broken, State
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.files import Unwritable, replacing, write_text
from paddle_hrfamily.patching import core_module

pytestmark = pytest.mark.line

NAMES = ("model.pdparams", "model.pdopt")


def write(folder: Path, iteration: int) -> None:
    snapshot.begin(folder)
    snapshot.write_config(folder, {"iters": iteration})
    for name in NAMES:
        write_text(folder / name, f"{name} {iteration}" * 50)
    snapshot.seal(folder, State(iteration=iteration, seed=7, best={"best_model": (iteration, 0.5)}), NAMES)


def killed_at(operation: int, work) -> bool:
    """Run `work` in a child that dies, as by SIGKILL, before its operation of that number. Whether it came so far."""
    child = os.fork()
    if child == 0:
        left = [operation]

        def deadly(function):
            def counted(*args, **kwargs):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return function(*args, **kwargs)

            return counted

        for name in ("replace", "fsync", "open", "unlink", "link"):
            setattr(os, name, deadly(getattr(os, name)))
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def newest_whole(save_dir: Path) -> int | None:
    return next((state.iteration for _, state in snapshot.newest(save_dir) if isinstance(state, State)), None)


def test_a_kill_at_any_file_operation_leaves_a_whole_checkpoint(tmp_path):
    for operation in range(100):
        save_dir = tmp_path / str(operation)
        write(save_dir / "iter_5", 5)
        killed = killed_at(operation, lambda save_dir=save_dir: write(save_dir / "iter_10", 10))
        found = newest_whole(save_dir)
        assert found in (5, 10)
        assert (save_dir / f"iter_{found}" / snapshot.CONFIG).read_text() == f"{{iters: {found}}}\n"
        write(save_dir / "iter_10", 10)  # what a resumed run does when it gets there
        assert newest_whole(save_dir) == 10
        names = {path.name for path in (save_dir / "iter_10").iterdir()}
        assert names == {*NAMES, "config.yml", "state.json"}
        if not killed:
            assert found == 10
            assert operation > 10, "the kills must have hit the writing"
            return
    pytest.fail("the writing never came to its end")


def test_a_kill_while_publishing_leaves_each_file_old_or_new(tmp_path):
    for operation in range(100):
        save_dir = tmp_path / str(operation)
        for iteration in (5, 10):
            write(save_dir / f"iter_{iteration}", iteration)
        names = ("config.yml", *NAMES, "state.json")
        snapshot.publish(save_dir / "iter_5", save_dir / "best_model", names)

        def publish(save_dir=save_dir, names=names) -> None:
            snapshot.publish(save_dir / "iter_10", save_dir / "best_model", names)

        killed = killed_at(operation, publish)
        for name in names:
            allowed = [(save_dir / f"iter_{n}" / name).read_bytes() for n in (5, 10)]
            assert (save_dir / "best_model" / name).read_bytes() in allowed
        if not killed:
            assert snapshot.read(save_dir / "best_model").iteration == 10
            return
    pytest.fail("the publishing never came to its end")


def test_what_is_sealed_is_read_back(tmp_path):
    write(tmp_path / "iter_5", 5)
    state = snapshot.read(tmp_path / "iter_5")
    assert (state.iteration, state.seed, state.best) == (5, 7, {"best_model": [5, 0.5]})


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "state", "unfinished"])
def test_damage_is_named_and_the_one_before_is_found(tmp_path, damage):
    for iteration in (5, 10):
        write(tmp_path / f"iter_{iteration}", iteration)
    last = tmp_path / "iter_10"
    content = bytearray((last / "model.pdopt").read_bytes())
    if damage == "flip":
        content[7] ^= 1
        (last / "model.pdopt").write_bytes(content)
    elif damage == "cut":
        (last / "model.pdopt").write_bytes(content[:-1])
    elif damage == "delete":
        (last / "model.pdopt").unlink()
    elif damage == "state":
        (last / "state.json").write_text("{")
    else:
        snapshot.begin(last)
    reason = {"state": "state.json", "unfinished": "interrupted"}.get(damage, "model.pdopt")
    with pytest.raises(Broken, match=reason):
        snapshot.read(last)
    assert newest_whole(tmp_path) == 5


def test_checkpoints_of_paddleseg_itself_are_accepted(tmp_path):
    for name in NAMES:
        path = tmp_path / "iter_20" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert snapshot.read(tmp_path / "iter_20").iteration == 20
    assert snapshot.read(tmp_path / "iter_20").seed is None
    (tmp_path / "iter_20").rename(tmp_path / "mine")
    with pytest.raises(Broken, match="iter_N"):
        snapshot.read(tmp_path / "mine")


def test_order_is_by_number_and_other_folders_are_left_out(tmp_path):
    for name in ("iter_100", "iter_20", "iter_x", "best_model", "iter_3"):
        (tmp_path / name).mkdir()
    assert [n for n, _ in snapshot.checkpoints(tmp_path)] == [3, 20, 100]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    target = tmp_path / "model.pdparams"
    write_text(target, "old")

    def fails() -> None:
        with replacing(target, durable=True) as draft:
            draft.write_text("ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(Unwritable, match="No space"):
        fails()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.pdparams"]


# Order and randomness


class Numbers(paddle.io.Dataset):
    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, index: int) -> tuple[int, float, float]:
        return index, random.random(), np.random.rand()

    def __len__(self) -> int:
        return self.count


def batches(count: int, steps: int, *, start: int = 0, seed: int = 3, batch_size: int = 2) -> list:
    sampler = StepSampler(Numbers(count), batch_size, seed=seed, start=start)
    found: list = []
    while len(found) < steps:
        found += list(sampler)
    return found[:steps]


@pytest.mark.parametrize("start", range(9))
def test_a_later_start_continues_the_same_order(start):
    assert batches(7, 12 - start, start=start) == batches(7, 12)[start:]


def test_every_epoch_is_a_permutation_of_its_own():
    epochs = [[index for batch in batches(6, 3, start=start) for index, _ in batch] for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert batches(6, 3, seed=4) != batches(6, 3, seed=3)


def test_ranks_share_what_one_process_would_take(monkeypatch):
    alone = batches(10, 2, batch_size=4)
    parts = []
    for rank in (0, 1):
        sampler = StepSampler(Numbers(10), 2, seed=3, start=0)
        sampler.nranks, sampler.local_rank, sampler.num_samples, sampler.total_size = 2, rank, 5, 10
        parts.append(list(sampler))
    assert [first + second for first, second in zip(*parts)] == alone


def test_a_batch_larger_than_the_data_set_is_refused():
    with pytest.raises(UserError, match="3 samples.*batch_size is 4"):
        StepSampler(Numbers(3), 4, seed=0, start=0)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_augmentation_depends_on_the_sample_alone(num_workers):
    def drawn(start: int) -> list:
        sampler = StepSampler(Numbers(8), 2, seed=5, start=start)
        loader = paddle.io.DataLoader(SeededDataset(Numbers(8)), batch_sampler=sampler, num_workers=num_workers)
        return [[column.numpy().tolist() for column in batch] for batch in loader]

    everything = drawn(0)
    assert len(everything) == 4
    assert drawn(2) == everything[2:]
    assert len({value for batch in everything for value in batch[1]}) == 8


def test_derived_seeds_differ():
    seeds = {derived_seed(seed, step, rank) for seed in range(5) for step in range(50) for rank in range(2)}
    assert len(seeds) == 500


# Restoring


def network() -> paddle.nn.Layer:
    return paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4), paddle.nn.Conv2D(4, 2, 1))


def optimizer_of(model: paddle.nn.Layer) -> paddle.optimizer.Optimizer:
    schedule = paddle.optimizer.lr.PolynomialDecay(0.1, decay_steps=20)
    schedule = paddle.optimizer.lr.LinearWarmup(schedule, warmup_steps=3, start_lr=0.0, end_lr=0.1)
    return paddle.optimizer.Momentum(schedule, parameters=model.parameters(), weight_decay=1e-4)


def step(model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer, seed: int) -> float:
    paddle.seed(seed)
    loss = (model(paddle.randn([2, 3, 8, 8])) ** 2).mean()
    loss.backward()
    optimizer.step()
    optimizer._learning_rate.step()
    optimizer.clear_grad()
    return float(loss)


def saved(folder: Path) -> tuple[paddle.nn.Layer, paddle.optimizer.Optimizer]:
    model = network()
    optimizer = optimizer_of(model)
    for seed in range(5):
        step(model, optimizer, seed)
    paddle.save(model.state_dict(), str(folder / "model.pdparams"))
    paddle.save(optimizer.state_dict(), str(folder / "model.pdopt"))
    return model, optimizer


def test_a_restored_pair_goes_on_alike_though_its_parameters_have_other_names(tmp_path):
    model, optimizer = saved(tmp_path)
    network()  # moves Paddle's counters on
    again = network()
    restored = optimizer_of(again)
    names = restore.restore_model(again, tmp_path)
    restore.restore_optimizer(restored, again, tmp_path, names)
    assert [p.name for p in model.parameters()] != [p.name for p in again.parameters()]
    for seed in range(5, 9):
        assert step(model, optimizer, seed) == step(again, restored, seed)
        assert optimizer.get_lr() == restored.get_lr()


def test_another_network_is_refused(tmp_path):
    saved(tmp_path)
    other = paddle.nn.Sequential(paddle.nn.Conv2D(3, 5, 3))
    with pytest.raises(UserError, match=r"another network.*0\.bias"):
        restore.restore_model(other, tmp_path)


def test_an_optimizer_of_other_parameters_is_refused(tmp_path):
    saved(tmp_path)
    model = network()
    with pytest.raises(UserError, match="other parameters"):
        restore.restore_optimizer(optimizer_of(model), model, tmp_path, {})


def test_a_checkpoint_that_would_run_something_is_refused(tmp_path):
    class Harm:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "harm"),)

    (tmp_path / "model.pdparams").write_bytes(pickle.dumps({"weight": Harm()}, protocol=4))
    with pytest.raises(UserError, match="posix.mkdir"):
        restore.restore_model(network(), tmp_path)
    assert not (tmp_path / "harm").exists()


# The run


def arguments(save_dir: Path, **changes: object) -> dict:
    return {
        "model": paddle.nn.Linear(1, 1),
        "save_dir": str(save_dir),
        "iters": 100,
        "resume_model": None,
        "train_dataset": Numbers(8),
        "batch_size": 2,
        "use_ema": False,
        "keep_checkpoint_max": 5,
        **changes,
    }


def test_latest_of_nothing_starts_at_the_beginning(tmp_path, capsys):
    run = checkpoints.Run(arguments(tmp_path, resume_model="latest"))
    assert (run.start, run.folder) == (0, None)
    assert "starting at iteration 0" in capsys.readouterr().out


def test_latest_skips_what_is_broken_and_says_so(tmp_path, capsys):
    write(tmp_path / "iter_5", 5)
    snapshot.begin(tmp_path / "iter_10")
    run = checkpoints.Run(arguments(tmp_path, resume_model="latest"))
    assert (run.start, run.state.seed) == (5, 7)
    assert "iter_10: writing it was interrupted" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["iter_5", "best_model", "iter_5/model.pdparams"])
def test_a_checkpoint_can_be_named(tmp_path, name):
    write(tmp_path / "iter_5", 5)
    snapshot.publish(tmp_path / "iter_5", tmp_path / "best_model", (*NAMES, "state.json"))
    assert checkpoints.Run(arguments(tmp_path, resume_model=str(tmp_path / name))).start == 5


def test_a_checkpoint_that_is_not_there_or_broken_is_an_error(tmp_path):
    snapshot.begin(tmp_path / "iter_5")
    with pytest.raises(UserError, match=r"iter_7 does not exist"):
        checkpoints.Run(arguments(tmp_path, resume_model=str(tmp_path / "iter_7")))
    with pytest.raises(UserError, match="interrupted"):
        checkpoints.Run(arguments(tmp_path, resume_model=str(tmp_path / "iter_5")))


def test_a_best_model_that_a_kill_prevented_is_made_up_for(tmp_path):
    write(tmp_path / "iter_5", 5)  # its state says that it is the best, and there is no best_model
    run = checkpoints.Run(arguments(tmp_path, resume_model="latest"))
    assert run.state.best == {"best_model": (5, 0.5)}
    assert snapshot.read(tmp_path / "best_model").iteration == 5


def test_the_best_of_before_is_forgotten_if_someone_deleted_it(tmp_path):
    write(tmp_path / "iter_5", 5)
    state = json.loads((tmp_path / "iter_5/state.json").read_text())
    (tmp_path / "iter_5/state.json").write_text(json.dumps({**state, "best": {"best_model": [3, 0.9]}}))
    assert checkpoints.Run(arguments(tmp_path, resume_model="latest")).state.best == {}


@pytest.mark.parametrize(("resumed", "left"), [(True, [10, 15]), (False, [5, 10, 15])])
def test_older_checkpoints_count_when_resuming_and_are_left_alone_otherwise(tmp_path, resumed, left):
    for iteration in (5, 10):
        write(tmp_path / f"iter_{iteration}", iteration)
    changes = {"resume_model": "latest" if resumed else None, "keep_checkpoint_max": 2}
    run = checkpoints.Run(arguments(tmp_path, **changes))
    run.steps = SimpleNamespace(iteration=15)
    for name in NAMES:
        run._save({"x": paddle.ones([1])}, str(tmp_path / "iter_15" / name))
    assert [n for n, _ in snapshot.checkpoints(tmp_path)] == left


def test_zero_keeps_all_checkpoints(tmp_path):
    run = checkpoints.Run(arguments(tmp_path, keep_checkpoint_max=0))
    for iteration in range(1, 8):
        run.steps = SimpleNamespace(iteration=iteration)
        for name in NAMES:
            run._save({"x": paddle.ones([1])}, str(tmp_path / f"iter_{iteration}" / name))
    assert [n for n, _ in snapshot.checkpoints(tmp_path)] == [*range(1, 8)]


def test_no_builtin_of_the_loop_is_replaced(tmp_path):
    replaced = checkpoints.Run(arguments(tmp_path)).replacements()
    assert not set(replaced) & {*vars(builtins), "deque"}
    assert set(replaced) < set(vars(core_module("train")))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_training_after_its_step(tmp_path, value):
    run = checkpoints.Run(arguments(tmp_path))
    replaced, losses = run.replacements(), []
    compute = run.watched(lambda: losses)
    run.steps = SimpleNamespace(iteration=3)
    losses[:] = [paddle.to_tensor([1.0]), paddle.to_tensor([0.5])]
    assert compute() == losses
    replaced["train_profiler"].add_profiler_step(None)
    losses[:] = [paddle.to_tensor([1.0]), paddle.to_tensor([value])]
    compute()
    with pytest.raises(UserError, match=f"the loss is {value} at iteration 3;.*no checkpoint was written yet"):
        replaced["train_profiler"].add_profiler_step(None)


def test_the_loss_scale_of_fp16_survives(tmp_path, monkeypatch):
    class Enabled(paddle.amp.GradScaler):
        """Without a GPU Paddle's scaler turns itself off, and keeps nothing."""

        def __init__(self, **options: object) -> None:
            super().__init__(**options)
            self._enable, self._scale = True, paddle.to_tensor([512.0])
            self._incr_ratio, self._decr_ratio, self._use_dynamic_loss_scaling = 2.0, 0.5, True
            self._incr_every_n_steps, self._decr_every_n_nan_or_inf = 1000, 2
            self._incr_count, self._decr_count = 7, 1

    monkeypatch.setattr(paddle.amp, "GradScaler", Enabled)
    first = checkpoints.Run(arguments(tmp_path))
    before = first._grad_scaler(init_loss_scaling=1024)
    first.steps = SimpleNamespace(iteration=3)
    for name in NAMES:
        first._save({"x": paddle.ones([1])}, str(tmp_path / "iter_3" / name))
    again = checkpoints.Run(arguments(tmp_path, resume_model="latest"))
    monkeypatch.setattr(Enabled, "__init__", lambda self, **_: setattr(self, "_enable", True))
    assert again._grad_scaler().state_dict() == before.state_dict() != {}


def test_a_folder_that_cannot_be_written_is_an_error_and_a_file_survives(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UserError, match="is a file"):
        checkpoints.Run(arguments(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(UserError, match="cannot be written"):
        checkpoints.Run(arguments(tmp_path / "file" / "below"))
