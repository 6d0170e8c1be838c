"""Robustness: how far a small change can move an answer. Norms, attacks, margins, certified bounds, training."""

from .attacks import Attack, cross_entropy, fgsm, negative_margin, pgd
from .certify import Certificate, certified_radius, certify
from .convolution import conv_norm
from .lipschitz import Lipschitz, lipschitz
from .margin import Margin, margin
from .natural import NaturalGradient, NaturalState, natural_gradient
from .norm import Norm, WorstDirection, operator_norm, worst_direction
from .penalty import jacobian_penalty
from .saliency import jsma, saliency
from .spectral import Normalised, spectral_normalise

__all__ = [
    "Attack",
    "Certificate",
    "Lipschitz",
    "Margin",
    "NaturalGradient",
    "NaturalState",
    "Norm",
    "Normalised",
    "WorstDirection",
    "certified_radius",
    "certify",
    "conv_norm",
    "cross_entropy",
    "fgsm",
    "jacobian_penalty",
    "jsma",
    "lipschitz",
    "margin",
    "natural_gradient",
    "negative_margin",
    "operator_norm",
    "pgd",
    "saliency",
    "spectral_normalise",
    "worst_direction",
]
