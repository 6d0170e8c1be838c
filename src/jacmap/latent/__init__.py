"""Latent geometry and diffusion: what a decoder, a denoiser or a score model does to a small change.

Integrals of the likelihood need diffrax (extra ``jacmap[latent]``); everything else needs the core alone.
"""

from .curvature import curvature
from .denoiser import Posterior, posterior
from .directions import Directions, directions
from .divergence import Divergence, divergence
from .geodesic import Geodesic, distance, geodesic
from .likelihood import Likelihood, likelihood
from .metric import log_volume, metric
from .schedules import VarianceExploding, VariancePreserving
from .score import ScoreCheck, check_score

__all__ = [
    "Directions",
    "Divergence",
    "Geodesic",
    "Likelihood",
    "Posterior",
    "ScoreCheck",
    "VarianceExploding",
    "VariancePreserving",
    "check_score",
    "curvature",
    "directions",
    "distance",
    "divergence",
    "geodesic",
    "likelihood",
    "log_volume",
    "metric",
    "posterior",
]
