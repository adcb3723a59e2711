"""Whether the fitted parts of a model file stay within themselves.

scikit-learn walks its trees in compiled code that trusts every index: a child beyond the last node or a feature that is not
there reads outside the array and ends the process, a child that points back never ends at all. skops checks types, not
numbers, so these are checked before anything is scored. In what scikit-learn fits, a child always stands after its parent
(both builders append it), which also rules out circles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from models.errors import ModelInvalid

_LEAF = -1
"""Both children of a leaf in scikit-learn's `Tree`."""
_BOOSTED_NODE = ("feature_idx", "left", "right", "is_leaf", "is_categorical", "num_threshold", "value")


def require_in_bounds(classifier: object, columns: int) -> None:
    """Check one fitted classifier that sees `columns` feature columns. Raises ModelInvalid."""

    if isinstance(classifier, RandomForestClassifier):
        _require_forest(classifier, columns)
    elif isinstance(classifier, HistGradientBoostingClassifier):
        _require_boosting(classifier, columns)
    elif isinstance(classifier, LogisticRegression):
        fitted: Any = classifier
        shapes = np.shape(getattr(fitted, "coef_", ())), np.shape(getattr(fitted, "intercept_", ()))
        _require(shapes == ((1, columns), (1,)), "a regression has another number of coefficients than of features")
    else:
        raise ModelInvalid(f"the model file holds a {type(classifier).__name__}, which is no part of a model")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ModelInvalid(f"the model file's fitted parts are damaged: {what}", hint="train it again")


def _require_forest(classifier: Any, columns: int) -> None:
    trees: list[Any] = list(getattr(classifier, "estimators_", ()))
    _require(bool(trees) and _width(classifier) == columns, "a forest does not fit its features")
    for tree in trees:
        _require(isinstance(tree, DecisionTreeClassifier) and _width(tree) == columns, "a tree does not fit its forest")
        _require(hasattr(tree, "tree_"), "a tree was never grown")
        grown: Any = tree.tree_
        # Only then do the arrays below end where their memory does.
        _require(0 < grown.node_count == grown.capacity, "a tree counts other nodes than it has")
        shape = (int(grown.n_outputs), int(grown.max_n_classes))
        _require(shape == (1, 2) and grown.n_features == columns, "a tree tells other classes apart than its forest")
        leaf = grown.children_left == _LEAF
        _require(bool((leaf == (grown.children_right == _LEAF)).all()), "a node has one child")
        _require_nodes(leaf, grown.children_left, grown.children_right, grown.feature, columns)


def _require_boosting(classifier: Any, columns: int) -> None:
    rounds: list[Any] = list(getattr(classifier, "_predictors", ()))
    _require(_width(classifier) == columns, "boosted trees do not fit their features")
    for predictor in (tree for trees in rounds for tree in trees):
        _require(isinstance(getattr(predictor, "nodes", None), np.ndarray), "a boosted tree has no nodes")
        nodes: Any = predictor.nodes
        _require(
            nodes.ndim == 1 and nodes.size > 0 and set(_BOOSTED_NODE) <= set(nodes.dtype.names or ()),
            "a boosted tree has no nodes",
        )
        _require(not nodes["is_categorical"].any(), "a boosted tree splits on a category, which no training does")
        leaf = nodes["is_leaf"].astype(bool)
        _require_nodes(leaf, nodes["left"], nodes["right"], nodes["feature_idx"], columns)


def _require_nodes(
    leaf: NDArray[np.bool_], left: NDArray[Any], right: NDArray[Any], feature: NDArray[Any], columns: int
) -> None:
    place, inner = np.arange(leaf.size), ~leaf
    for child in (left.astype(np.int64), right.astype(np.int64)):
        after = (child > place) & (child < leaf.size)
        _require(bool(after[inner].all()), "a tree points outside itself")
    known = (feature.astype(np.int64) >= 0) & (feature.astype(np.int64) < columns)
    _require(bool(known[inner].all()), "a tree asks for a feature that is not there")


def _width(classifier: Any) -> int:
    return int(getattr(classifier, "n_features_in_", -1))
