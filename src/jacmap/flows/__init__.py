"""Normalizing flows (extra ``jacmap[flows]``): densities from any invertible function, with no log-determinant by hand."""

try:
    import equinox  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("jacmap.flows needs equinox: pip install 'jacmap[flows]'") from error

from ._autoregressive import MADE, Autoregressive, maf
from ._base import Normal
from ._chain import Chain, Inverted, Permutation
from ._coupling import Coupling, neural_spline, real_nvp
from ._elementwise import Affine, Spline
from ._fit import Fit, fit
from ._flow import DIRECTIONS, Flow, LogProb
from ._glow import ActNorm, Conv1x1, ConvCoupling, MultiScale, Squeeze, glow
from ._inverse import Inverse

__all__ = [
    "ActNorm",
    "Affine",
    "Autoregressive",
    "Chain",
    "Conv1x1",
    "ConvCoupling",
    "Coupling",
    "DIRECTIONS",
    "Fit",
    "Flow",
    "Inverse",
    "Inverted",
    "LogProb",
    "MADE",
    "MultiScale",
    "Normal",
    "Permutation",
    "Spline",
    "Squeeze",
    "fit",
    "glow",
    "maf",
    "neural_spline",
    "real_nvp",
]
