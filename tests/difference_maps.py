"""Functions of NumPy for the tests of black boxes: at module level, so that they can be sent to worker processes."""

import math
import time

import numpy as np


def plane(p):
    return np.array([p[0] ** 2 - p[1] ** 2, 2 * p[0] * p[1]])


def plane_jacobian(p):
    return np.array([[2 * p[0], -2 * p[1]], [2 * p[1], 2 * p[0]]])


def real_plane(p):
    """The same, without the way in for the complex step."""
    return plane(np.asarray(p, float))


def chain(x):
    """Each output reads its input and both neighbours; written in place."""
    x = np.asarray(x, float)
    y = np.sin(x)
    y[1:] += np.exp(-x[:-1]) * x[1:]
    y[:-1] += x[1:] ** 3
    return y


def chain_jacobian(x):
    on = np.cos(x)
    on[1:] += np.exp(-x[:-1])
    return np.diag(on) + np.diag(-np.exp(-x[:-1]) * x[1:], -1) + np.diag(3 * x[1:] ** 2, 1)


def gated(x):
    """Output i reads input i + 1, too, but only where input i is beyond 1.2."""
    x = np.asarray(x, float)
    y = x**2
    y[:-1] += np.where(x[:-1] > 1.2, x[1:], 0.0)
    return y


def slow(x):
    time.sleep(0.02)
    return real_plane(x)


def endless(x):
    """Says that it was called; the calls of a Jacobian take longer than any test waits, one by itself does not."""
    print("called", flush=True)
    time.sleep(5)
    return real_plane(x)


def by_math(x):
    return [math.exp(x[0]) * math.sin(x[1]), math.log(x[0])]
