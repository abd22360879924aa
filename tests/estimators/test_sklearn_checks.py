"""Every check that scikit-learn has for estimators, with no failure expected."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastrecover as fr


# scikit-learn's own checks warn of what they are about to change.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@parametrize_with_checks([fr.OneHiddenLayerRegressor(), fr.OneHiddenLayerClassifier()])
def test_check(estimator, check):
    check(estimator)
