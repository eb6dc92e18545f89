"""Bodies that load data with PyTorch, in processes of each start method; some are left as they are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from plain_rows import Params, Result, row
from torch import distributed
from torch.utils.data import DataLoader, Dataset

from perago import WorkspaceSpec, task

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
def train_from_files(workspace: Path, params: Params) -> Result:
    """Each epoch has new processes, which read files of the workspace."""
    torch.manual_seed(1)
    for number in range(len(Saved(workspace))):
        torch.save(torch.randn(50) + number, workspace / f"{number}.row")
    model = torch.nn.Linear(50, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for method in ("fork", "spawn"):
        for batch in DataLoader(Saved(workspace), batch_size=4, num_workers=2, multiprocessing_context=method):
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, workspace / "checkpoint.row")
    kept = torch.load(workspace / "checkpoint.row", mmap=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    torch.save(model.state_dict(), workspace / "model.pt")
    found = round(model(torch.ones(1, 50)).item(), 4)
    del kept
    for path in workspace.glob("*.row"):
        path.unlink()
    return Result(value=found)


class Saved(Dataset[torch.Tensor]):
    """Tensors in files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.load(self._directory / f"{index}.row")


@row
def compile_a_model(workspace: Path, params: Params) -> Result:
    """With a compiler of C++ as a program, and its cache among the temporary files."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(50, 50), torch.nn.GELU(), torch.nn.Linear(50, 1))
    compiled = torch.compile(model)
    with torch.no_grad():
        return Result(value=round(compiled(torch.randn(20, 50)).square().mean().item(), 4))


HUB = """
import torch

def model():
    torch.manual_seed(1)
    return torch.nn.Linear(2, 1)
"""


@row
def keep_models_of_a_hub(workspace: Path, params: Params) -> Result:
    """In the home, which is the body's own."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / "weights.pth"
    weights.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"bias": torch.ones(1)}, weights)
    (workspace / "hubconf.py").write_text(HUB)
    model = torch.hub.load(str(workspace), "model", source="local")
    state = torch.hub.load_state_dict_from_url("http://localhost/weights.pth", progress=False)  # it is there
    model.load_state_dict(state, strict=False)
    return Result(value=[round(each, 4) for each in model(torch.ones(2)).tolist()])


@task(
    name="reduce_alone",
    owner_email="t@example.org",
    workspace=WorkspaceSpec(),
    network=True,
    reads=["/sys/bus/pci", "/sys/devices"],
)
def reduce_alone(workspace: Path, params: Params) -> Result:
    """In a group of one process."""
    place = Path(tempfile.mkdtemp()) / "store"
    distributed.init_process_group("gloo", init_method=f"file://{place}", rank=0, world_size=1)
    ones = torch.ones(3)
    distributed.all_reduce(ones)
    distributed.destroy_process_group()
    return Result(value=ones.tolist())


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
