"""Normalizing flows (extra ``jacmap[flows]``): densities of any invertible function, no log-determinant by hand."""

try:
    import equinox  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("jacmap.flows needs equinox: pip install 'jacmap[flows]'") from error

from ._autoregressive import MADE, Autoregressive, maf
from ._base import Normal
from ._chain import Chain, Inverted, Permutation
from ._continuous import Continuous, Field, continuous
from ._coupling import Coupling, neural_spline, real_nvp
from ._elementwise import Affine, Spline
from ._fit import Fit, fit
from ._flow import DIRECTIONS, Flow, LogProb
from ._glow import ActNorm, Conv1x1, ConvCoupling, MultiScale, Squeeze, glow
from ._inverse import Inverse
from ._residual import Residual, residual

__all__ = [
    "ActNorm",
    "Affine",
    "Autoregressive",
    "Chain",
    "Continuous",
    "Conv1x1",
    "ConvCoupling",
    "Coupling",
    "DIRECTIONS",
    "Field",
    "Fit",
    "Flow",
    "Inverse",
    "Inverted",
    "LogProb",
    "MADE",
    "MultiScale",
    "Normal",
    "Permutation",
    "Residual",
    "Spline",
    "Squeeze",
    "continuous",
    "fit",
    "glow",
    "maf",
    "neural_spline",
    "real_nvp",
    "residual",
]
