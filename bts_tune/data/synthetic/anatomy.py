"""A synthetic patient: a head with a tumour, of which any axial slice can be drawn as an MRI would show it.

A *patient* is a set of random but smooth three-dimensional functions (head, ventricles, folds, bias field, tumour); a
slice is a cut through them, so neighbouring slices resemble each other as they do in a scan. Nothing here is a
simulation of MR physics: the aim is images that look plausible, that a small network can learn from and that a
threshold cannot segment, in any number, without downloading anything.

Lengths are in units of the brain's mean half-length (about 85 mm); x points to the image's right, y to the front of
the head (up in the image), z to its top. Intensities are relative, 1 being the brightest scalp fat.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

_FIELD_OF_VIEW = 1.32  # half the width of an image
_LOWEST, _HIGHEST = -0.25, 0.62  # the z between which slices are cut: from the thalamus to below the vertex
_LATTICE = 40  # points a side of the coarse grid on which coordinates are warped
_GREY, _CSF, _BONE = 0.44, 0.13, 0.07
_DEEP_GREY = (  # (centre, radii, share of grey matter) of the thalamus, putamen and head of the caudate nucleus
    ((0.12, -0.1, -0.02), (0.10, 0.17, 0.2), 0.7),
    ((0.31, 0.08, 0.0), (0.07, 0.2, 0.2), 0.9),
    ((0.14, 0.27, 0.1), (0.06, 0.1, 0.2), 0.9),
)
_PLAIN_SIZE = 1.5
_ANATOMY, _NOISE = 1, 2  # independent random streams; phantom.py has another


@dataclass(frozen=True)
class _Tumor:
    """A lesion: where it lies, how it is shaped and how it shows on T1.

    `x`, `y` are relative to the brain section's half-axes; `rim` is the share of the radius that is not necrotic
    (1: solid); `edge` the share of the radius over which it fades into the brain.
    """

    kind: str
    x: float
    y: float
    radius: float
    stretch: float
    angle: float
    lobulation: float
    intensity: float
    patchiness: float
    core: float
    rim: float
    edge: float
    edema: float
    push: float


@dataclass(frozen=True)
class _Cut:
    """What the layers of one slice are computed from.

    `x`, `y` are the coordinates of the undisturbed anatomy at every pixel, `depth` the distance below the brain's
    surface (negative outside), `coarse` and `fine` smooth random textures of unit variance; `section` is the size of
    the brain's section relative to the largest, `pixel` the width of a pixel.
    """

    z: float
    section: float
    pixel: float
    x: Floats
    y: Floats
    depth: Floats
    coarse: Floats
    fine: Floats

    @functools.cached_property
    def across(self) -> Floats:
        """Distance from the midline."""
        return np.abs(self.x)


class Patient:
    """The functions that one patient's slices are cut from, whatever the image size."""

    def __init__(self, seed: int, number: int, slices: int, tumor_slices: int, *, plain: bool = False) -> None:
        self._seed, self._number = seed, number
        rng = random_stream(seed, _ANATOMY, number)

        def lattice(depth: int, height: int, width: int) -> Floats:
            return rng.standard_normal((depth, height, width), dtype=np.float32)

        self.contrast_agent = rng.random() < 0.8 or plain
        self.angle = math.radians(rng.normal(0, 5))
        self.shift = rng.normal(0, 0.025), rng.normal(0, 0.025)
        self.half_length = rng.uniform(0.92, 1.04)
        self.half_width = self.half_length * rng.uniform(0.76, 0.85)
        self.taper = rng.uniform(0.04, 0.14)  # how much narrower the front is than the back
        self.atrophy = rng.uniform(0, 1)  # widens sulci, ventricles and the gap below the skull together
        self.ventricle = (0.028 + 0.045 * self.atrophy) * rng.uniform(0.8, 1.2)
        self.ventricle_height = rng.uniform(0.25, 0.31)
        self.grey_white = rng.uniform(0.09, 0.15) if self.contrast_agent else rng.uniform(0.13, 0.2)
        self.skull = rng.uniform(0.75, 1.1)
        self.marrow = rng.uniform(0.3, 0.6)
        self.scalp = rng.uniform(0.76, 1.0)
        self.scalp_thickness = rng.uniform(0.04, 0.085)
        self.bias = rng.uniform(0.04, 0.12)
        self.noise = rng.uniform(0.010, 0.028)
        self.gain = rng.uniform(0.82, 1.02)

        self.warp_fields = lattice(4, 5, 10)
        self.fold_field = lattice(8, 4, 54)
        self.side_field = lattice(8, 24, 24)
        self.coarse_field = lattice(6, 14, 14)
        self.fine_field = lattice(8, 48, 48)
        self.bias_field = lattice(3, 3, 3)

        self.tumor = _draw_tumor(rng, self.contrast_agent, plain) if tumor_slices else None
        # As in published collections of tumour slices, the spacing follows the lesion, so that it spans the slices
        # asked for; the small ones are cut finely.
        self.spacing = min(0.08, (_HIGHEST - _LOWEST) / slices)
        if self.tumor:
            self.spacing = min(1.7 * self.tumor.radius / tumor_slices, self.spacing)
        self.bottom = rng.uniform(_LOWEST, _HIGHEST - self.spacing * (slices - 1))
        first = rng.integers(0, slices - tumor_slices + 1)
        self.tumor_center = self.bottom + self.spacing * (first + (tumor_slices - 1) / 2)
        # Half a spacing beyond the outermost slices with tumour: it is cut by exactly `tumor_slices` of them.
        self.tumor_half_height = self.spacing * tumor_slices / 2

    def render(self, index: int, size: int) -> tuple[Image, Image]:
        """Cut slice `index`: the image and the tumour mask, both uint8 of `size` x `size`."""
        z = self.bottom + self.spacing * index
        section = math.sqrt(1 - z * z)
        grid_x, grid_y = self._head_coordinates(z)
        x, y = grid_x, grid_y
        relative = (z - self.tumor_center) / self.tumor_half_height if self.tumor else 1.0
        # The floor keeps the outermost cross-sections of a lesion visible.
        profile = max(0.42, math.sqrt(1 - relative * relative)) if abs(relative) < 1 else 0.0
        if self.tumor and profile:
            x, y = self._pushed(self.tumor, profile, section, x, y)
        x, y = _enlarged(x, size), _enlarged(y, size)
        coarse, fine = (_enlarged(self._at(field, z), size) for field in (self.coarse_field, self.fine_field))
        cut = _Cut(z, section, 2 * _FIELD_OF_VIEW / size, x, y, self._depth(x, y, section), coarse, fine)
        signal = self._healthy(cut)
        mask = np.zeros((size, size), np.uint8)
        if self.tumor and profile:
            self._add_tumor(self.tumor, profile, cut, grid_x, grid_y, signal, mask)
        return self._acquired(signal, z, index), mask

    def _at(self, lattice: Floats, z: float) -> Floats:
        """The plane of `lattice` at height `z`, of unit variance between its layers too."""
        position = (z - _LOWEST) / (_HIGHEST - _LOWEST) * (len(lattice) - 1)
        below = min(max(int(position), 0), len(lattice) - 2)
        weight = position - below
        plane = (1 - weight) * lattice[below] + weight * lattice[below + 1]
        return (plane / math.hypot(weight, 1 - weight)).astype(np.float32)

    def _head_coordinates(self, z: float) -> tuple[Floats, Floats]:
        """The head's x and y at the points of the coarse grid: turned, shifted and smoothly warped."""
        grid_x, grid_y = _coarse_grid()
        grid_x, grid_y = grid_x - self.shift[0], grid_y - self.shift[1]
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        warp = self._at(self.warp_fields, z)
        x = cosine * grid_x + sine * grid_y + 0.016 * _enlarged(warp[:, :5], _LATTICE)
        y = cosine * grid_y - sine * grid_x + 0.016 * _enlarged(warp[:, 5:], _LATTICE)
        return x.astype(np.float32), y.astype(np.float32)

    def _pushed(self, tumor: _Tumor, profile: float, section: float, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Coordinates after the tumour's mass effect: anatomy moves away from it, the skull stays."""
        center_x, center_y = self._tumor_position(tumor, section)
        inside = np.clip(self._depth(x, y, section) / 0.25, 0, 1)
        distance = ((x - center_x) ** 2 + (y - center_y) ** 2) / (2 * (1.3 * tumor.radius * profile) ** 2)
        weight = tumor.push * inside * np.exp(-distance)
        return x - weight * (x - center_x), y - weight * (y - center_y)

    def _tumor_position(self, tumor: _Tumor, section: float) -> tuple[float, float]:
        return tumor.x * self.half_width * section, tumor.y * self.half_length * section

    def _depth(self, x: Floats, y: Floats, section: float) -> Floats:
        """Approximate distance below the brain's surface; negative outside it."""
        v = y / (self.half_length * section)
        u = x / (self.half_width * section * (1 - self.taper * v))
        u2, v2 = u * u, v * v
        return (1 - np.sqrt(u2 + v2 - 0.16 * np.minimum(u2 * v2, 2))) * (0.9 * section)

    def _healthy(self, cut: _Cut) -> Floats:
        """Intensity of the healthy head: scalp, skull, folded cortex, white matter, ventricles, deep grey matter."""
        signal = self._brain(cut)
        outside = cut.depth < 0
        signal[outside] = self._shell(cut, outside)
        inside = np.clip(cut.depth / 0.05, 0, 1)
        signal *= 1 + inside * (0.02 * cut.fine + 0.02 * cut.coarse)
        if self.contrast_agent:
            self._add_vessels(cut, inside, signal)
        return signal

    def _shell(self, cut: _Cut, where: NDArray[np.bool_]) -> Floats:
        """Intensity outside the brain: inner table, marrow and outer table of the skull, fat, skin, air."""
        table, marrow = 0.016 + 0.022 * self.skull, 0.016 + 0.055 * self.skull
        bone = 0.016 + 0.085 * self.skull
        skin = bone + self.scalp_thickness
        knots = [
            *((-skin - 0.025, 0.0), (-skin - 0.018, 0.45), (-skin - 0.004, 0.5), (-skin + 0.008, self.scalp)),
            *((-bone - 0.008, self.scalp), (-bone + 0.004, _BONE), (-marrow - 0.008, _BONE), (-marrow, self.marrow)),
            *((-table - 0.006, self.marrow), (-table, _BONE), (-0.016, _BONE)),
            *((-0.006, 0.3 if self.contrast_agent else _CSF), (0.004, _CSF)),
        ]
        # Thickness and marrow vary round the head.
        uneven = 1 + 0.045 * cut.coarse[where]
        return _lookup(cut.depth[where] * uneven, knots, cut.pixel) * (0.94 + 0.06 * np.square(uneven))

    def _brain(self, cut: _Cut) -> Floats:
        """Intensity of the brain, by the distance to the nearest cerebrospinal fluid: fluid, cortex, white matter."""
        white = _GREY + self.grey_white
        gap = 0.006 + 0.022 * self.atrophy
        # The surface is cut ever more obliquely towards the vertex, so the cortex looks thicker there.
        fluid = np.minimum(cut.depth * cut.section - gap, self._sulci(cut))
        fluid = np.minimum(fluid, self._fissures(cut)) + 0.004 * cut.fine
        knots = [(-0.012, _CSF), (0.003, _GREY - 0.02), (0.034, _GREY), (0.05, white)]
        signal = _lookup(fluid, knots, cut.pixel)
        for center, radii, strength in _DEEP_GREY:
            if abs(cut.z - center[2]) < radii[2]:
                inside = np.clip(_ellipsoid(cut, center, radii) / 0.4, 0, 1)
                signal += inside * (strength * (_GREY + 0.02 - signal))
        signal += np.clip(self._ventricles(cut) / cut.pixel + 0.5, 0, 1) * (_CSF - signal)
        return signal

    def _sulci(self, cut: _Cut) -> Floats:
        """Distance to the nearest sulcus.

        The main ones are the zero lines of a random field over angle and depth, so that they run inwards and close
        there; the zero lines of an isotropic field are their side branches.
        """
        plane = self._at(self.fold_field, cut.z)
        turns = plane.shape[1]
        wrapped = np.concatenate([plane[:, -2:], plane, plane[:, :3]], axis=1)
        field = cv2.resize(wrapped, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
        column = cv2.phase(cut.x, cut.y) * np.float32(8 * turns / (2 * math.pi)) + np.float32(8 * 2 + 3.5)
        row = cut.depth * np.float32(8 / 0.14 * cut.section) + np.float32(3.5)
        main = cv2.remap(field, column + cut.coarse * 3, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        side = _enlarged(self._at(self.side_field, cut.z), len(cut.x))
        depth = cut.depth * np.float32(cut.section)
        width = 0.004 + 0.012 * self.atrophy
        main = np.abs(main) * 0.07 + np.maximum(depth - 0.15 - 0.04 * cut.coarse, 0) * 0.35
        side = np.abs(side) * 0.1 + np.maximum(depth - 0.1, 0) * 0.35 + 0.006
        return np.minimum(main, side) - width

    def _fissures(self, cut: _Cut) -> Floats:
        """Distance to the interhemispheric fissure (bridged by the corpus callosum low down) and the lateral sulci."""
        across, y, z = cut.across, cut.y, cut.z
        bridge = max(0.0, 0.46 * (1 - (max(z, 0.0) / 0.42) ** 2))
        closed = np.clip((bridge - np.abs(y + 0.02)) / 0.05, 0, 1)
        distance = across - (0.003 + 0.008 * self.atrophy) + 0.1 * closed
        if z < 0.2:
            width = (0.006 + 0.012 * self.atrophy) * min(1.0, (0.2 - z) / 0.15)
            wavy = 0.03 * cut.coarse
            lateral = np.abs(y - 0.12 + 0.45 * (across - 0.45) + wavy) + 0.7 * np.maximum(0.5 - across, 0)
            insula = np.abs(across - 0.47 - 0.9 * (y + 0.02) ** 2 + wavy) + 0.7 * np.maximum(np.abs(y + 0.02) - 0.16, 0)
            distance = np.minimum(distance, np.minimum(lateral, insula) - width)
        return distance

    def _ventricles(self, cut: _Cut) -> Floats:
        """Approximate distance inside the ventricles: two arched tubes that part in front and behind, and a slit."""
        y = cut.y
        front, back = np.maximum(y, 0), np.minimum(y, 0)
        width = self.ventricle * (1 + 0.5 * np.minimum(front, 0.3) - 0.9 * np.maximum(np.minimum(y + 0.1, 0), -0.4))
        middle = 0.012 + width + 0.75 * front * front + 1.15 * back * back
        arch = self.ventricle_height - 1.15 * (y + 0.03) ** 2
        tube = 1 - ((cut.across - middle) / width) ** 2 - ((cut.z - arch) / (0.07 + 0.9 * self.ventricle)) ** 2
        tube -= 40 * np.maximum(np.abs(y + 0.03) - 0.44, 0)
        distance = tube * (0.5 * width)
        if cut.z < 0.08:
            slit = _ellipsoid(cut, (0.0, -0.06, -0.1), (0.4 * self.ventricle + 0.004, 0.14, 0.2))
            distance = np.maximum(distance, slit * (0.2 * self.ventricle))
        return distance

    def _add_vessels(self, cut: _Cut, inside: Floats, signal: Floats) -> None:
        """Add enhancing vessels in some of the side branches, and the superior sagittal sinus behind and in front."""
        lines = np.abs(_enlarged(self._at(self.side_field, cut.z), len(signal))) * 0.1
        lines = np.clip(1 - lines / max(0.009, 0.6 * cut.pixel), 0, 1)
        signal += inside * lines * np.clip(cut.coarse - 0.7, 0, 0.5) * 0.6
        for side, strength in ((-1.0, 0.9), (1.0, 0.5)):
            pole = side * (self.half_length * cut.section + 0.005)
            spot = np.clip(1.3 - (cut.x / 0.03) ** 2 - ((cut.y - pole) / 0.04) ** 2, 0, 1)
            signal += spot * (0.8 - signal) * strength

    def _add_tumor(
        self,
        tumor: _Tumor,
        profile: float,
        cut: _Cut,
        grid_x: Floats,
        grid_y: Floats,
        signal: Floats,
        mask: Image,
    ) -> None:
        """Draw the tumour and its oedema into `signal` and `mask`, in place.

        `grid_x`, `grid_y` are the coordinates before its mass effect, at the points of the coarse grid.
        """
        size = len(signal)
        radius = max(tumor.radius * profile, 1.7 * cut.pixel)
        center_x, center_y = self._tumor_position(tumor, cut.section)
        x, y = grid_x - np.float32(center_x), grid_y - np.float32(center_y)
        window = _window(np.hypot(x, y) < 3 * radius, size)
        x, y = _enlarged(x, size)[window], _enlarged(y, size)[window]
        coarse, fine, depth, part = cut.coarse[window], cut.fine[window], cut.depth[window], signal[window]

        cosine, sine = math.cos(tumor.angle), math.sin(tumor.angle)
        along, beside = (x * cosine + y * sine) / tumor.stretch, (y * cosine - x * sine) * tumor.stretch
        distance = np.sqrt(along * along + beside * beside) * np.float32(1 / radius)
        distance *= 1 + tumor.lobulation * np.clip(coarse + 0.35 * fine, -1.5, 1.5)
        pixel = cut.pixel / radius

        edema = np.clip((1.9 + 0.5 * coarse + 0.2 * fine - distance) / 0.9, 0, 1) * (depth > 0.03)
        part -= tumor.edema * edema * np.maximum(part - 0.28, 0)
        inner = tumor.intensity * (1 + 0.06 * fine + tumor.patchiness * coarse)
        if tumor.rim < 1:
            necrosis = 1 - tumor.rim * np.clip(1 + 0.35 * coarse + 0.12 * fine, 0.4, 2)
            necrosis = np.clip((necrosis - distance) / max(0.15, pixel) + 0.5, 0, 1)
            inner += necrosis * (tumor.core * (1 + 0.1 * fine) - inner)
        opacity = np.clip((1 - distance) / max(tumor.edge, pixel) + 0.5, 0, 1) * (depth > 0)
        part += opacity * (inner - part)
        mask[window] = _largest_part(((distance < 1) & (depth > 0)).astype(np.uint8))

    def _acquired(self, signal: Floats, z: float, index: int) -> Image:
        """The image as a scanner gives it: bias field, point spread, Rician noise, eight bits."""
        size = len(signal)
        signal *= _enlarged(self.gain * np.exp(self.bias * self._at(self.bias_field, z)), size)
        blurred = cv2.GaussianBlur(signal, (3, 3), 0.55)
        rng = random_stream(self._seed, _NOISE, self._number, index)
        noise = rng.standard_normal((2, size, size), dtype=np.float32) * np.float32(self.noise)
        magnitude = cv2.magnitude(blurred + noise[0], noise[1])
        return np.asarray(cv2.convertScaleAbs(magnitude, alpha=245), np.uint8)


def _draw_tumor(rng: np.random.Generator, contrast_agent: bool, plain: bool) -> _Tumor:
    """Draw a lesion of a kind that the sequence can show: without contrast agent none enhances.

    A plain one is larger, bright throughout, and never at the surface, where the skull is as bright.
    """
    kinds = ["ring", "solid", "surface"] if contrast_agent else ["dark", "dark", "surface"]
    kind = rng.choice(kinds, p=[0.4, 0.4, 0.2])
    if plain:
        kind = "solid"
    angle = rng.uniform(-math.pi, math.pi)
    distance = rng.uniform(0.25, 0.72)
    if kind == "surface":
        distance = rng.uniform(0.8, 0.88)
    radius = {"ring": (0.18, 0.38), "solid": (0.15, 0.32), "surface": (0.16, 0.32), "dark": (0.18, 0.36)}[kind]
    bright = rng.uniform(0.66, 0.9)
    return _Tumor(
        kind=str(kind),
        x=distance * math.cos(angle),
        y=distance * math.sin(angle),
        radius=rng.uniform(*radius) * (_PLAIN_SIZE if plain else 1.0),
        stretch=math.exp(rng.normal(0, 0.12)),
        angle=rng.uniform(0, math.pi),
        lobulation=rng.uniform(0.03, 0.07) if kind == "surface" else rng.uniform(0.08, 0.18),
        intensity=bright if contrast_agent else rng.uniform(0.22, 0.34),
        patchiness=rng.uniform(0.03, 0.08) if kind == "surface" else rng.uniform(0.04, 0.15),
        core=rng.uniform(0.18, 0.36),
        rim=rng.uniform(0.25, 0.5) if kind == "ring" else 1.0,
        edge=rng.uniform(0.04, 0.25) if kind != "surface" else 0.05,
        edema=rng.uniform(0, 0.5) if kind != "surface" else rng.uniform(0, 0.2),
        push=rng.uniform(0.2, 0.6),
    )


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """Return a generator that follows from the seed and the key alone; different keys give independent streams."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


@functools.cache
def _coarse_grid() -> tuple[Floats, Floats]:
    centers = ((np.arange(_LATTICE, dtype=np.float32) + 0.5) * 2 / _LATTICE - 1) * np.float32(_FIELD_OF_VIEW)
    return np.tile(centers, (_LATTICE, 1)), np.tile(-centers[:, None], (1, _LATTICE))


def _enlarged(plane: Floats, size: int) -> Floats:
    return np.asarray(cv2.resize(plane, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _lookup(distance: Floats, knots: list[tuple[float, float]], pixel: float) -> Floats:
    """Interpolate intensities between `knots` (distance, intensity), averaged over one pixel so as not to alias."""
    low, high, entries = -0.32, 0.12, 1024
    step = (high - low) / entries
    at, values = zip(*knots, strict=True)
    table = np.interp(low + step * np.arange(entries), at, values).astype(np.float32)
    table = cv2.blur(table[None], (max(1, round(pixel / step)), 1), borderType=cv2.BORDER_REPLICATE)[0]
    return table[np.clip((distance - low) * (1 / step), 0, entries - 1).astype(np.int32)]


def _ellipsoid(cut: _Cut, center: tuple[float, float, float], radii: tuple[float, float, float]) -> Floats:
    """1 at the centre, 0 on the surface of an ellipsoid and of its mirror image, negative outside."""
    height = 1 - ((cut.z - center[2]) / radii[2]) ** 2
    return height - ((cut.across - center[0]) / radii[0]) ** 2 - ((cut.y - center[1]) / radii[1]) ** 2


def _window(near: NDArray[np.bool_], size: int) -> tuple[slice, slice]:
    """The rows and columns of an image of `size` that cover the points of the coarse grid that are `near`."""
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    scale = size / _LATTICE
    top, left = (max(0, math.floor((found[0] - 1) * scale)) for found in (rows, columns))
    bottom, right = (math.ceil((found[-1] + 2) * scale) for found in (rows, columns))
    return slice(top, bottom), slice(left, right)


def _largest_part(mask: Image) -> Image:
    """The largest connected part of `mask`, its holes filled: what an annotator would outline."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    part = np.zeros_like(mask)
    largest = max(contours, key=lambda contour: (cv2.contourArea(contour), len(contour)))
    cv2.drawContours(part, [largest], -1, 1, cv2.FILLED)
    return part
