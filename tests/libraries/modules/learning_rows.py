"""Bodies that fit models of scikit-learn: in processes of loky, in threads, and in those of OpenMP."""

from __future__ import annotations

from pathlib import Path

import joblib
from plain_rows import Params, Result, row
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score

FEATURES, TARGET = make_classification(200, 8, random_state=1)


@row
def fit_in_two_jobs(workspace: Path, params: Params) -> Result:
    forest = RandomForestClassifier(10, n_jobs=2, random_state=1).fit(FEATURES, TARGET)
    joblib.dump(forest, workspace / "forest.joblib")
    scores = cross_val_score(LogisticRegression(), FEATURES, TARGET, cv=3, n_jobs=2)
    grid = {"n_estimators": [3, 6]}
    search = GridSearchCV(RandomForestClassifier(max_depth=2, random_state=1), grid, cv=2, n_jobs=2).fit(
        FEATURES, TARGET
    )
    return Result(value=[forest.score(FEATURES, TARGET), scores.round(6).tolist(), search.best_params_])


@row
def boost_gradients(workspace: Path, params: Params) -> Result:
    fitted = HistGradientBoostingClassifier(max_iter=3, random_state=1).fit(FEATURES, TARGET)
    return Result(value=fitted.score(FEATURES, TARGET))
