from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from bts_tune.data.scan import similarity
from bts_tune.data.scan.similarity import (
    ORIENTATIONS,
    correlations,
    detail,
    find_similar,
    fine,
    fine_correlation,
    signature,
    signatures,
)
from bts_tune.data.synthetic.phantom import generate_patient, generate_slice
from tests.data.builders import noise

Change = Callable[[np.ndarray], np.ndarray]

TURNS: dict[str, Change] = {
    "as it is": lambda image: image,
    "mirrored left to right": np.fliplr,
    "mirrored top to bottom": np.flipud,
    "rotated by 180°": lambda image: np.rot90(image, 2),
    "transposed": np.transpose,
    "rotated by 90° clockwise": lambda image: np.rot90(image, -1),
    "rotated by 90° anticlockwise": np.rot90,
    "transposed and rotated by 180°": lambda image: np.rot90(image.T, 2),
}


def recompressed(image: np.ndarray, quality: int = 40) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))


def brightened(image: np.ndarray) -> np.ndarray:
    return np.clip(1.3 * image + 20.0, 0, 255).astype(np.uint8)


def darkened(image: np.ndarray) -> np.ndarray:
    return (0.5 * image + 10.0).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "copied": lambda image: image,
    "brightened": brightened,
    "darkened": darkened,
    "re-compressed": recompressed,
    "mirrored": np.fliplr,
    "rotated": np.rot90,
    "resized": lambda image: cv2.resize(image, (70, 70), interpolation=cv2.INTER_AREA),
    "all at once": lambda image: recompressed(brightened(np.ascontiguousarray(np.rot90(np.fliplr(image))))),
}


def smooth(count: int, seed: int = 0) -> np.ndarray:
    """Return random images of which neighbouring pixels are alike, uint8 [count, 48, 48]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8)).astype(np.uint8)
    return np.stack([cv2.resize(one, (48, 48), interpolation=cv2.INTER_CUBIC) for one in coarse])


def vectors(images: object) -> np.ndarray:
    return np.stack([signature(np.ascontiguousarray(one)) for one in images])  # type: ignore[attr-defined]


def brute_force(found: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    rows, columns = np.nonzero(np.triu(found @ found.T, 1) > threshold)
    return set(zip(rows.tolist(), columns.tolist(), strict=True))


def test_correlations_are_those_of_the_small_versions() -> None:
    images = [noise(64, 96, seed) for seed in range(5)]
    smalls = [cv2.resize(one.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA).ravel() for one in images]
    first, second = np.triu_indices(5)
    expected = np.asarray(np.corrcoef(smalls))[first, second]
    assert correlations(vectors(images), first, second) == pytest.approx(expected, abs=1e-5)


def test_blank_images_resemble_nothing() -> None:
    blank = [np.full((40, 40), value, dtype=np.uint8) for value in (0, 7, 255)]
    found = vectors(blank)
    assert not found.any()
    assert len(find_similar(found)) == 0


def test_of_nothing_there_are_no_pairs() -> None:
    assert len(find_similar(signatures(np.empty((0, 32, 32), dtype=np.float32)))) == 0


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_each_orientation_is_found_and_named(name: str) -> None:
    """The second image, turned as the name says, is the first one."""
    first, other, second = *smooth(2, seed=3), smooth(1, seed=3)[0]
    second = next(
        turned for turned in (turn(second) for turn in TURNS.values()) if np.array_equal(TURNS[name](turned), first)
    )
    pairs = find_similar(vectors([first, other, second]))
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(0, 2)]
    assert ORIENTATIONS[pairs.orientation[0]] == name
    assert pairs.correlation[0] == pytest.approx(1, abs=1e-5)


def test_planted_duplicates_among_phantoms(capsys: pytest.CaptureFixture[str]) -> None:
    originals = [generate_slice(4, image_size=128, patient=patient, seed=5)[0] for patient in range(120)]
    images, planted = list(originals), {}
    for number, (name, change) in enumerate(CHANGES.items()):
        for source in range(number, 120, 12):
            planted[source, len(images)] = name
            images.append(np.ascontiguousarray(change(originals[source])))
    pairs = find_similar(vectors(images), threshold=0.98)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    hits = found & planted.keys()
    recall, precision = len(hits) / len(planted), len(hits) / len(found)
    with capsys.disabled():
        print(f"\n{len(planted)} planted duplicates: recall {recall:.3f}, precision {precision:.3f}", end=" ")
    assert {planted[pair] for pair in planted.keys() - hits} == set()
    assert precision > 0.95


def test_thresholds_are_those_asked_for() -> None:
    found = vectors(
        [generate_slice(index, image_size=64, patient=patient)[0] for patient in range(6) for index in range(8)]
    )
    for threshold in (0.8, 0.9, 0.97):
        pairs = find_similar(found, threshold=threshold, reoriented=2)
        assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == brute_force(found, threshold)


class TestIndex:
    """With more slices than `EXACT_BELOW`."""

    @pytest.fixture(autouse=True)
    def _index(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(similarity, "EXACT_BELOW", 100)

    def test_finds_nearly_every_pair(self, capsys: pytest.CaptureFixture[str]) -> None:
        rng = np.random.default_rng(0)
        base = smooth(1000).astype(np.float32)
        images = [base]
        for strength in (10.0, 25.0, 40.0):
            changes = smooth(1000, seed=int(strength)).astype(np.float32) - 128
            images.append(base[rng.permutation(1000)] + changes * np.float32(strength / 100))
        found = signatures(np.stack([cv2.resize(one, (32, 32)) for one in np.concatenate(images)]))
        expected = brute_force(found, 0.9)
        pairs = find_similar(found, reoriented=2)
        got = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
        recall = len(got & expected) / len(expected)
        with capsys.disabled():
            print(f"\nindex: recall {recall:.4f} of {len(expected)} pairs", end=" ")
        assert len(expected) > 2000
        assert got <= expected
        assert recall > 0.99

    def test_finds_turned_copies(self) -> None:
        images = smooth(600)
        turned = np.stack([np.rot90(one) for one in images[:300]])
        pairs = find_similar(vectors([*images, *turned]))
        assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) >= {(i, 600 + i) for i in range(300)}

    def test_keeps_a_bounded_number_of_partners_of_each(self) -> None:
        """Where everything looks alike, the pairs grow with the slices and not with their square."""
        base = smooth(1)[0].astype(np.float32)
        changes = smooth(1500, seed=1).astype(np.float32) - 128
        found = signatures(np.stack([cv2.resize(base + 0.1 * one, (32, 32)) for one in changes]))
        pairs = find_similar(found, reoriented=2)
        assert len(brute_force(found, 0.9)) == 1500 * 1499 // 2
        assert len(pairs) <= 1500 * similarity.MOST_KEPT

    def test_is_the_same_every_time(self) -> None:
        found = vectors(smooth(300))
        one, two = find_similar(found, threshold=0.2), find_similar(found, threshold=0.2)
        assert len(one) > 0
        assert np.array_equal(one.first, two.first)
        assert np.array_equal(one.second, two.second)


def test_details_are_found_whatever_the_correlation_and_whatever_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    blank = np.full((64, 64), 9, dtype=np.uint8)
    images = [blank, blank]
    for one in smooth(100, seed=8):
        texture = cv2.resize(rng.normal(0, 30, (64, 64)).astype(np.float32), (128, 128))
        for other in (np.float32(0), cv2.resize(smooth(1, seed=9)[0], (128, 128)) * np.float32(0.2)):
            images.append(np.clip(cv2.resize(one, (128, 128)) * 0.6 + other + texture, 0, 255).astype(np.uint8))
    details = np.stack([detail(one) for one in images])
    expected = {(index, index + 1) for index in range(2, 202, 2)}
    for below in (similarity.EXACT_BELOW, 50):
        monkeypatch.setattr(similarity, "EXACT_BELOW", below)
        pairs = find_similar(vectors(images), details, threshold=0.99)
        same = set(zip(pairs.first[pairs.same_scan].tolist(), pairs.second[pairs.same_scan].tolist(), strict=True))
        assert same <= expected
        assert len(same) >= 98
        assert len(same) == len(pairs)  # each pair once


def test_slices_of_a_phantom_share_their_detail_with_their_neighbours_more_than_with_others() -> None:
    images = [image for patient in range(12) for image, _ in generate_patient(16, image_size=128, patient=patient)]
    pairs = find_similar(vectors(images), np.stack([detail(image) for image in images]))
    same = pairs.same_scan
    right = pairs.first[same] // 16 == pairs.second[same] // 16
    assert right.sum() > 100
    assert right.mean() > 0.95


@pytest.mark.slow
def test_a_hundred_thousand_slices(capsys: pytest.CaptureFixture[str]) -> None:
    """Minutes on two cores: images with a natural spectrum around a common mean, with planted reoriented copies."""
    import time

    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.arange(32), np.arange(32)))
    spectrum = rng.standard_normal((100_000, 32, 32), dtype=np.float32) / (1 + frequency.astype(np.float32)) ** 1.5
    spectrum += rng.standard_normal((32, 32), dtype=np.float32) / (1 + frequency.astype(np.float32)) ** 1.2
    spectrum[:, 0, 0] = 0
    flat = spectrum.reshape(100_000, 1024)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    spectrum[99_000:] = spectrum[:1000].transpose(0, 2, 1)
    began = time.monotonic()
    pairs = find_similar(flat)
    seconds = time.monotonic() - began
    turned = pairs.orientation == 4
    planted = set(zip(pairs.first[turned].tolist(), pairs.second[turned].tolist(), strict=True))
    missed = {(index, 99_000 + index) for index in range(1000)} - planted
    with capsys.disabled():
        print(f"\n100,000 slices: {seconds:.0f} s, {len(pairs)} pairs, {len(missed)} of 1000 missed", end=" ")
    assert len(missed) <= 10


@pytest.mark.parametrize("turn", TURNS)
def test_fine_versions_are_compared_in_the_orientation_that_the_search_names(turn: str) -> None:
    image = smooth(1, seed=11)[0]
    turned = np.ascontiguousarray(TURNS[turn](image))
    pairs = find_similar(np.stack([signature(image), signature(turned)]))
    best = int(pairs.orientation[np.argmax(pairs.correlation)])
    assert fine_correlation(fine(image), fine(turned), best) > 0.995


def test_a_blank_image_is_identical_to_none() -> None:
    image = fine(smooth(1, seed=11)[0])
    assert fine_correlation(image, np.full_like(image, 9), 0) == 0


def alike(count: int) -> np.ndarray:
    """Return signatures of images that all resemble each other, some of them more."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(similarity.SIDE, similarity.SIDE))
    images = common + 0.25 * rng.normal(size=(count, similarity.SIDE, similarity.SIDE))
    return similarity.signatures(images.astype(np.float32))


def listed(pairs: similarity.Pairs) -> list[tuple[int, int, int, float]]:
    return sorted(
        zip(
            pairs.first.tolist(),
            pairs.second.tolist(),
            pairs.orientation.tolist(),
            pairs.correlation.tolist(),
            strict=True,
        )
    )


def test_pairs_are_the_same_whether_they_are_bounded_one_by_one_or_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = alike(150)
    found = []
    for few in (0, 10**9):
        monkeypatch.setattr(similarity, "_FEW", few)
        found.append(listed(similarity.find_similar(vectors, threshold=0.93, reoriented=0.93)))
    assert found[0] == found[1]
    exact = vectors @ vectors.T
    assert len(found[0]) == np.count_nonzero(np.triu(exact > 0.93, 1))
    assert 0 < len(found[0]) < 150 * 149 // 2


def test_of_many_slices_that_all_look_alike_the_closest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = alike(400)
    vectors[399] = vectors[7]
    monkeypatch.setattr(similarity, "EXACT_BELOW", 100)
    monkeypatch.setattr(similarity, "MOST_KEPT", 5)
    pairs = similarity.find_similar(vectors)
    assert 2 * 400 < len(pairs) <= 5 * 400
    copies = (pairs.first == 7) & (pairs.second == 399)
    assert pairs.correlation[copies] == pytest.approx([1])
    # Of those that a slice is compared with, none that is left out is closer than one that is kept.
    exact = vectors @ vectors.T
    assert pairs.correlation.mean() > exact[np.triu_indices(400, 1)].mean()


def test_pairs_of_few_slices_are_those_of_comparing_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both searches find the same pairs, the index with cells so few that each is compared with all."""
    images = smooth(150, seed=21)
    images = np.concatenate([images, np.rot90(images[:20], axes=(1, 2)), images[40:60, ::-1]])
    found, details = vectors(images), np.stack([detail(one) for one in images])
    exact = find_similar(found, details, threshold=0.3, reoriented=0.6)
    monkeypatch.setattr(similarity, "EXACT_BELOW", 100)
    monkeypatch.setattr(similarity, "MOST_KEPT", 190)
    monkeypatch.setattr(similarity, "PROBES_REORIENTED", 40)
    monkeypatch.setattr(similarity, "PROBES", 40)
    indexed = find_similar(found, details, threshold=0.3, reoriented=0.6)
    assert {one[:3] for one in listed(indexed)} == {one[:3] for one in listed(exact)}
    assert len(exact) > 200
    assert set(exact.orientation.tolist()) >= {0, 2, 5}


def test_progress_is_told_of_many_slices_and_ends_with_all_of_them() -> None:
    seen: list[tuple[int, int]] = []
    count = similarity._SHORT + 100
    rng = np.random.default_rng(0)
    found = signatures(rng.normal(size=(count, 32, 32)).astype(np.float32))
    find_similar(found, np.zeros((count, 64, 64), np.int8), progress=lambda *done: seen.append(done))
    assert seen == sorted(set(seen))
    assert seen[-1] == (count, count)
    assert len(seen) > 10
    few = vectors(smooth(20))
    find_similar(few, progress=lambda *done: pytest.fail("few slices take no time"))


def test_up_to_ten_thousand_slices_every_pair_is_found_as_written_down_plainly() -> None:
    """In several blocks: each pair in each orientation, and those that details tell, as double precision has it."""
    rng = np.random.default_rng(5)
    images = smooth(1100, seed=31)
    images = np.concatenate([images, images[:40] // 2 + rng.integers(0, 40, (40, 48, 48)).astype(np.uint8)])
    images = np.concatenate([images, np.rot90(images[40:60], axes=(1, 2)), images[60:80, :, ::-1]])
    found, details = vectors(images), np.stack([detail(one) for one in images])
    pairs = find_similar(found, details, threshold=0.6, reoriented=0.7)
    seen = {(one, other, turn): value for one, other, turn, value in listed(pairs)}
    units = details.reshape(len(details), -1).astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    told = np.triu(units @ units.T > similarity.DETAIL_ABOVE, 1)
    expected: dict[tuple[int, int, int], float] = {}
    for turn in range(len(ORIENTATIONS)):
        turned = vectors([similarity.reorient(one, turn) for one in images])
        correlation = (found.astype(np.float64) @ turned.T.astype(np.float64)).clip(0, 1)
        wanted = np.triu(correlation > (0.7 if turn else 0.6), 1) | (told if turn == 0 else False)
        for one, other in zip(*np.nonzero(wanted), strict=True):
            expected[int(one), int(other), turn] = correlation[one, other]
    assert seen.keys() == expected.keys()
    assert [seen[key] for key in expected] == pytest.approx(list(expected.values()), abs=1e-5)
    same = {
        (one, other) for one, other in zip(pairs.first[pairs.same_scan], pairs.second[pairs.same_scan], strict=True)
    }
    assert same >= set(zip(*map(np.ndarray.tolist, np.nonzero(told)), strict=True))
    assert len(expected) >= 80
