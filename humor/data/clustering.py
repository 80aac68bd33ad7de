"""DBSCAN of numbers on a line, exactly, by sorting: on a line a cluster is a run. Source: Ester et al. 1996."""

import numpy as np
from jaxtyping import Float, Int


def dbscan(values: Float[np.ndarray, " n"], radius: float, min_samples: int) -> Int[np.ndarray, " n"]:
    """The cluster of each number, -1 for noise; numbered, and borders assigned, as scikit-learn does.

    A core number has `min_samples` numbers within the radius, itself included. Cores within the radius of each other
    share a cluster; another number joins the earliest numbered cluster with a core within the radius.
    """
    order = np.argsort(values, kind="stable")
    line = values[order].astype(np.float64)
    core = _is_core(line, radius, min_samples)
    at = np.flatnonzero(core)  # cores' places in the line
    if not len(at):
        return np.full(len(values), -1)
    run = np.concatenate([[0], np.cumsum(~_close(line[at[:-1]], line[at[1:]], radius))])
    # Runs are numbered by the first of their cores in the order of the input.
    first = np.full(run[-1] + 1, len(values))
    np.minimum.at(first, run, order[at])
    run = np.argsort(np.argsort(first))[run]

    nobody = len(at)  # stands for a number's neighbouring core where there is none, or none close enough
    before = np.searchsorted(at, np.arange(len(line)), side="right") - 1
    after = np.searchsorted(at, np.arange(len(line)), side="left")
    nearest = []
    for core_number, exists in ((before, before >= 0), (after, after < len(at))):
        place = at[np.where(exists, core_number, 0)]
        nearest.append(np.where(exists & _close(line, line[place], radius), core_number, nobody))
    cluster = np.append(run, nobody)[np.stack(nearest)].min(0)
    labels = np.empty(len(line), dtype=np.int64)
    labels[order] = np.where(cluster == nobody, -1, cluster)
    return labels


def _is_core(line: np.ndarray, radius: float, min_samples: int) -> np.ndarray:
    """Which of a sorted line's numbers have enough neighbours; only so many to each side need a look."""
    neighbours = np.ones(len(line), dtype=np.int64)
    for step in range(1, min(min_samples, len(line))):
        close = _close(line[:-step], line[step:], radius)
        neighbours[:-step] += close
        neighbours[step:] += close
    return neighbours >= min_samples


def _close(some: np.ndarray, others: np.ndarray, radius: float) -> np.ndarray:
    return (some - others) ** 2 <= radius**2
