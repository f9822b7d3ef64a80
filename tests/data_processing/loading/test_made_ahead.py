"""Batches made by another thread while the one before is in use: the same ones, in the same order."""

import threading
from collections.abc import Iterator

import pytest
import torch

from data_processing.batch import Batch
from data_processing.loading.made_ahead import _ahead, made_ahead


def test_on_a_cpu_batches_come_as_they_are():
    batches: Iterator[Batch] = iter([])
    assert made_ahead(batches, device=torch.device("cpu")) is batches


def make(batches):
    """Without a stream: the batch, and nothing to wait for."""
    batch = next(batches, None)
    return None if batch is None else (batch, lambda: None)


def test_each_is_made_while_the_one_before_is_in_use():
    begun = {number: threading.Event() for number in range(5)}

    def counted() -> Iterator[int]:
        for number in range(4):
            begun[number].set()
            yield number
        begun[4].set()

    seen = []
    for number in _ahead(counted(), make):
        assert begun[number + 1].wait(10)  # the next was begun before this one is done with
        seen.append(number)
    assert seen == [0, 1, 2, 3]


def test_an_error_comes_where_its_batch_would_have_come():
    def failing() -> Iterator[int]:
        yield 0
        raise ValueError("no such shape")

    batches = _ahead(failing(), make)
    assert next(batches) == 0
    with pytest.raises(ValueError, match="no such shape"):
        next(batches)


def test_whoever_stops_early_leaves_no_thread():
    batches = _ahead(iter(range(100)), make)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_stream_of_its_own_makes_the_same_batches():
    def batches() -> Iterator[Batch]:
        for number in range(20):
            value = torch.full((1 << 20,), float(number), device="cuda").cumsum(0)
            yield Batch(value, value, value, (number,))

    totals = [float(batch.inputs[-1]) for batch in made_ahead(batches(), device=torch.device("cuda", 0))]
    assert totals == [number * float(1 << 20) for number in range(20)]
