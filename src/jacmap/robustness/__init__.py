"""Robustness: how far a small change can move an answer. Norms, attacks, margins, certified bounds, training."""

from .attacks import Attack, cross_entropy, fgsm, negative_margin, pgd
from .convolution import conv_norm
from .margin import Margin, margin
from .norm import Norm, WorstDirection, operator_norm, worst_direction
from .saliency import jsma, saliency

__all__ = [
    "Attack",
    "Margin",
    "Norm",
    "WorstDirection",
    "conv_norm",
    "cross_entropy",
    "fgsm",
    "jsma",
    "margin",
    "negative_margin",
    "operator_norm",
    "pgd",
    "saliency",
    "worst_direction",
]
