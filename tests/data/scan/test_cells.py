from __future__ import annotations

import numpy as np
import pytest

from bts_tune.data.scan import cells, similarity
from bts_tune.data.scan.cells import Cells, Closest
from bts_tune.data.scan.similarity import find_similar
from tests.data.scan.test_similarity import smooth, vectors


def points(count: int, seed: int = 0) -> np.ndarray:
    """Return vectors of unit length, float32 [count, 8]."""
    found = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def test_places_hold_each_vector_once_and_near_ones_are_compared() -> None:
    given = points(900)
    found = Cells(given)
    assert sorted(found.order.tolist()) == list(range(900))
    assert np.array_equal(found.vectors, given[found.order])
    compared = np.zeros((900, 900), dtype=bool)
    for queries, members in found.blocks(lambda one: one, 10):
        compared[np.ix_(queries, members)] = True
    correlation = found.vectors @ found.vectors.T
    assert compared[np.arange(900), np.arange(900)].all()
    assert compared[correlation > 0.95].mean() > 0.95
    assert compared.mean() < 0.4


def test_vectors_may_be_turned_before_they_are_compared() -> None:
    given = points(600)
    found = Cells(given)
    compared = np.zeros((600, 600), dtype=bool)
    for queries, members in found.blocks(lambda one: -one, 6):
        compared[np.ix_(queries, members)] = True
    correlation = -(found.vectors @ found.vectors.T)
    assert compared[correlation > 0.95].mean() > 0.95
    assert not compared[np.arange(600), np.arange(600)].all()


def test_copies_by_the_thousand_are_compared_with_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "EXACT_BELOW", 100)
    monkeypatch.setattr(cells, "MOST_OF_A_CELL", 50)
    found = np.concatenate([np.repeat(vectors(smooth(1)), 700, axis=0), vectors(smooth(200, seed=3))])
    compared = 0
    for queries, members in Cells(found).blocks(lambda one: one, 4):
        compared += len(members) * len(queries)
    assert compared <= 4 * 50 * len(found)
    pairs = find_similar(found)
    assert {*pairs.first.tolist(), *pairs.second.tolist()} >= set(range(700))


def test_the_closest_are_kept_in_whatever_order_they_come() -> None:
    rng = np.random.default_rng(1)
    correlation = (rng.permutation(np.arange(1, 201)).reshape(2, 100) / 300).astype(np.float32)
    for parts in ([slice(0, 100)], [slice(start, start + 7) for start in range(98, -1, -7)]):
        closest = Closest(5, 6)
        for kind, part in enumerate(parts):
            partners = np.arange(100)[part]
            closest.add(np.array([4, 1]), partners, correlation[:, part], 0.2, kind % 8)
        partner, place, found, _ = closest.pairs()
        assert set(place.tolist()) <= {1, 4}
        for row, of in ((0, 4), (1, 1)):
            best = np.argsort(-correlation[row])[:6]
            best = best[correlation[row, best] > 0.2]
            assert sorted(partner[place == of].tolist()) == sorted(best.tolist())
            assert sorted(found[place == of].tolist()) == sorted(correlation[row, best].tolist())
    assert closest.least(np.array([0]), 0.2) == pytest.approx([0.2])
