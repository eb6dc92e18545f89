"""A module that fits a model when it is loaded: with threads of OpenMP, whose locks a fork would wait for in vain."""

from __future__ import annotations

from pathlib import Path

from plain_rows import Params, Result, row
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier

from perago import task

FEATURES, TARGET = make_classification(2000, 8, random_state=1)
MODEL = HistGradientBoostingClassifier(max_iter=3, random_state=1).fit(FEATURES, TARGET)


@row
def predict(workspace: Path, params: Params) -> Result:
    return Result(value=MODEL.score(FEATURES, TARGET))


@task(name="predict_without_a_workspace", owner_email="t@example.org")
def predict_without_a_workspace(params: Params) -> Result:
    return Result(value=MODEL.score(FEATURES, TARGET))
