"""Vision: warps of images, and what a small change of their parameters does (extra ``jacmap[vision]``)."""

from .alignment import Alignment, align
from .camera import Camera, Projection, ProjectionJacobians, project, projection_jacobians
from .dense import Registration, register
from .derivatives import area, by_parameters, by_points, orientation
from .folds import Folds, folds
from .invert import Inverse, invert
from .sampling import grid, sample
from .warps import Affine, Euclidean, Flow, Homography, Lens, Similarity, ThinPlate, Translation

__all__ = [
    "Affine",
    "Alignment",
    "Camera",
    "Euclidean",
    "Flow",
    "Folds",
    "Homography",
    "Inverse",
    "Lens",
    "Projection",
    "ProjectionJacobians",
    "Registration",
    "Similarity",
    "ThinPlate",
    "Translation",
    "align",
    "area",
    "by_parameters",
    "by_points",
    "folds",
    "grid",
    "invert",
    "orientation",
    "project",
    "projection_jacobians",
    "register",
    "sample",
]
