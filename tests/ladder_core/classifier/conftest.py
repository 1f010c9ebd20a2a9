"""Small tensors: one thread is faster than several, and equal results do not depend on how work is split."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def single_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
