"""What is known of a region before it is integrated over: proven, tested, refused, or counted as often as covered."""

from __future__ import annotations

import numpy as np

from .._errors import RegionError
from .covers import find_cover
from .faces import Face, find_faces
from .folds import find_fold
from .pullback import Pullback, Stretch
from .words import place, vector

Array = np.ndarray
SAMPLE = 4096


def sample(g: Pullback, seed: int) -> Array:
    """Scrambled Sobol points in the unit cube."""
    from scipy.stats import qmc

    return qmc.Sobol(g.size, rng=np.random.default_rng(seed)).random(SAMPLE)


def examine_map(g: Pullback, t: Array, overlaps: str, seed: int) -> str:
    """A phrase on how often the map meets a point; raises `RegionError` where it does so twice, unless that counts.

    `t`: points of g's coordinates, well spread.
    """
    if g.region.proof is not None:
        return f"one-to-one: {g.region.proof}"
    if overlaps == "trust":
        return "one-to-one by your word (overlaps='trust'): not tested"
    x, sign, logdet = g.geometry(t)
    good = np.isfinite(x).all(axis=1) & np.isfinite(logdet) & (sign != 0)
    if good.sum() < len(t) / 2:
        at = t[np.flatnonzero(~good)[0]]
        raise RegionError(
            f"over: det J is 0 or not a number at {len(t) - good.sum()} of {len(t)} points inside of the region, "
            f"such as u = {vector(g.coordinates(at))}: the map flattens a part of the region, or is not defined there"
        )
    t, x, sign, logdet = t[good], x[good], sign[good], logdet[good]
    fold = find_fold(g, t, sign, logdet)
    if fold is not None:
        here, image = g.coordinates(fold.at), g.geometry(fold.at[None])[0][0]
        story = (
            f"the map folds: det J changes its sign at {place(here, image)}, between "
            f"u = {vector(g.coordinates(fold.plus))} (+) and u = {vector(g.coordinates(fold.minus))} (−)"
        )
        return _told(story, overlaps, "restrict the box to one side of the fold")
    cover = find_cover(g, t, x, seed)
    if cover is not None:
        story = (
            f"the map is not one-to-one although det J keeps its sign: u = {vector(g.coordinates(cover.one))} and "
            f"u = {vector(g.coordinates(cover.other))} both give x = {vector(cover.image)}"
        )
        return _told(story, overlaps, "restrict the box so that each point is met once")
    return f"one-to-one as far as tested: no fold and no second preimage from {len(t)} points"


def _told(story: str, overlaps: str, advice: str) -> str:
    if overlaps == "count":
        return f"{story}; each point counts as often as it is met"
    raise RegionError(f"over: {story}. {advice.capitalize()}, or count points as often as met: overlaps='count'")


def examine_faces(g: Pullback, seed: int) -> tuple[Stretch, list[str]]:
    """A stretch of the unit cube that smooths the faces, and what to tell; raises where the integral diverges."""
    faces = find_faces(g, seed)
    for face in faces:
        if face.divergent:
            raise RegionError(
                f"over: the integral diverges at {_where(g, face)}: f·|det J| goes there as the distance to the power "
                f"{face.power:.3g} (in the coordinates of the unit cube). Keep the region away from it, or mend f"
            )
    low, high = np.ones(g.size), np.ones(g.size)
    for face in faces:
        (high if face.upper else low)[face.axis] = face.stretch
    notes = [_note(g, face) for face in faces]
    return Stretch(g.region.box, low, high), notes


def _note(g: Pullback, face: Face) -> str:
    how = "like no power of" if face.power is None else f"as the power {face.power:.3g} of"
    return f"at {_where(g, face)} f·|det J| goes {how} the distance: the axis is stretched by the power {face.stretch}"


def _where(g: Pullback, face: Face) -> str:
    box = g.region.box
    value = np.ravel(box.upper if face.upper else box.lower)[face.axis]
    return f"u[{face.axis}] = {value:.4g}"
