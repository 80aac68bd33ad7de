"""DBSCAN on a line gives scikit-learn's labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from humor.data.clustering import dbscan

# On a grid of powers of two, distances of exactly the radius are exact in every arithmetic.
GRID = 2.0**-10


@given(
    st.lists(st.integers(-60, 60), min_size=1, max_size=60).flatmap(st.permutations),
    st.integers(1, 6),
    st.integers(1, 5),
)
def test_labels_are_those_of_scikit_learn(values, radius, min_samples):
    line = np.array(values, dtype=np.float32) * GRID
    theirs = DBSCAN(eps=radius * GRID, min_samples=min_samples).fit_predict(line[:, None])
    np.testing.assert_array_equal(dbscan(line, radius * GRID, min_samples), theirs)


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_thousands_of_heights_are_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    levels = random.choice([0.0, 0.012, 0.05, 0.3], 3000)
    line = (levels + random.normal(0, 0.003, 3000)).astype(np.float32)
    theirs = DBSCAN(eps=0.005, min_samples=3).fit_predict(line[:, None])
    np.testing.assert_array_equal(dbscan(line, 0.005, 3), theirs)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([], []),
        ([7.0], [-1]),
        ([0.0, 1.0], [-1, -1]),
        ([3.0, 3.0, 3.0, 3.0], [0, 0, 0, 0]),
        ([6.0, 5.0, 5.5, 5.5, 0.5, 0.5, 0.5, 0.5, 3.0], [0, 0, 0, 0, 1, 1, 1, 1, -1]),
        # 2.375 is within 1 of a core of either cluster, and joins the one that comes first
        ([4.0, 3.75, 3.5, 3.25, 2.375, 1.5, 1.25, 1.0, 0.75], [0, 0, 0, 0, 0, 1, 1, 1, 1]),
        ([0.75, 1.0, 1.25, 1.5, 2.375, 3.25, 3.5, 3.75, 4.0], [0, 0, 0, 0, 0, 1, 1, 1, 1]),
    ],
)
def test_labels_at_the_edges(values, labels):
    assert dbscan(np.array(values), 1.0, 4).tolist() == labels
