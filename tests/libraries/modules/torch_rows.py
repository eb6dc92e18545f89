"""Bodies that load data with PyTorch, in processes of each start method; some are left as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from plain_rows import Params, Result, row
from torch.utils.data import DataLoader, Dataset

KEPT: list[Any] = []


class Squares(Dataset[torch.Tensor]):
    """Tensors that go through shared memory."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((1000,), float(index * index))


def _load(method: str, *, persistent: bool) -> tuple[DataLoader[torch.Tensor], list[float]]:
    loader = DataLoader(
        Squares(), batch_size=3, num_workers=2, multiprocessing_context=method, persistent_workers=persistent
    )
    return loader, [float(batch.sum()) for _ in range(2) for batch in loader]


@row
def load_in_forks(workspace: Path, params: Params) -> Result:
    return Result(value=_load("fork", persistent=False)[1])


@row
def load_in_fresh_processes(workspace: Path, params: Params) -> Result:
    return Result(value=_load("spawn", persistent=False)[1])


@row
def leave_persistent_forks(workspace: Path, params: Params) -> Result:
    loader, sums = _load("fork", persistent=True)
    KEPT.append(loader)
    return Result(value=sums)


@row
def leave_persistent_fresh_processes(workspace: Path, params: Params) -> Result:
    loader, sums = _load("spawn", persistent=True)
    KEPT.append(loader)
    return Result(value=sums)


@row
def leave_a_loader_half_read(workspace: Path, params: Params) -> Result:
    """Its processes are at work when the body returns."""
    batches = iter(DataLoader(Squares(), batch_size=3, num_workers=2, multiprocessing_context="fork"))
    KEPT.append(batches)
    return Result(value=float(next(batches).sum()))


@row
def train(workspace: Path, params: Params) -> Result:
    """On the threads of OpenMP."""
    torch.set_num_interop_threads(2)  # which can be done once in a process
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(50, 50), torch.nn.ReLU(), torch.nn.Linear(50, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    features = torch.randn(2000, 50)
    for _ in range(5):
        optimizer.zero_grad()
        model(features).square().mean().backward()
        optimizer.step()
    torch.save(model.state_dict(), workspace / "model.pt")
    return Result(value=round(model(features).square().mean().item(), 4))
