"""Vision: warps of images, and what a small change of their parameters does (extra ``jacmap[vision]``)."""

from .sampling import grid, sample
from .warps import Affine, Euclidean, Flow, Homography, Lens, Similarity, ThinPlate, Translation

__all__ = [
    "Affine",
    "Euclidean",
    "Flow",
    "Homography",
    "Lens",
    "Similarity",
    "ThinPlate",
    "Translation",
    "grid",
    "sample",
]
