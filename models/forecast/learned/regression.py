"""A logistic regression in which no count of damage makes a unit safer.

scikit-learn's has no bounds on coefficients, so the same penalised likelihood is minimised with them; what is found travels
in a LogisticRegression.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from models.forecast.learned.dataset import Floats

STRENGTH = 0.1
"""Inverse of the penalty on squared coefficients of standardised features; scikit-learn's C."""
STEPS = 500


def fit_regression(
    model: LogisticRegression, seen: Floats, failed: NDArray[np.bool_], never_safer: NDArray[np.bool_]
) -> None:
    """Fit `model` on `seen` (pairs, features; no NaN); the coefficients of `never_safer` columns are 0 or more.

    Standardising is folded into the coefficients, so that nothing else has to travel.
    """
    centre, scale = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-6)
    x = ((seen - centre) / scale).astype(np.float64)
    sign = np.where(failed, 1.0, -1.0)

    def loss(w: Floats) -> tuple[float, Floats]:
        margin = sign * (x @ w[:-1] + w[-1])
        pull = -sign / (1.0 + np.exp(np.clip(margin, -40.0, 40.0)))
        value = STRENGTH * float(np.logaddexp(0.0, -margin).sum()) + 0.5 * float(w[:-1] @ w[:-1])
        return value, np.append(STRENGTH * (pull @ x) + w[:-1], STRENGTH * pull.sum())

    share = np.clip(failed.mean(), 1e-6, 1.0 - 1e-6)
    start = np.append(np.zeros(x.shape[1]), np.log(share / (1.0 - share)))
    bounds = [(0.0 if one else None, None) for one in never_safer] + [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    fitted: Any = model
    fitted.classes_, fitted.n_features_in_ = np.array([False, True]), x.shape[1]
    fitted.coef_ = (found.x[:-1] / scale)[None, :]
    fitted.intercept_ = np.array([found.x[-1]]) - fitted.coef_ @ centre
