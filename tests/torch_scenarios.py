"""Functions of PyTorch tensors with known Jacobians: what every question and transform is tried on.

`known` is a closed form in NumPy, outputs × inputs; where there is none, a loop of `torch.autograd.grad`, one output at
a time, is the oracle: neither batching nor `torch.func` has a part in it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as tree


@dataclass(frozen=True, eq=False)
class Scenario:
    """`args`: the point; `argnums`: what is differentiated; `known(*args)`: the m×n Jacobian, or None."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    argnums: int | tuple[int, ...] = 0
    known: Callable[..., np.ndarray] | None = None
    structure: str = ""  # how the name of what is found begins, where it is certain

    def __str__(self):
        return self.name

    def expected(self, *args):
        """J at `args` as one NumPy matrix, m×n."""
        args = args or self.args
        if self.known is not None:
            return np.asarray(self.known(*args))
        return by_rows(self.function, args, self.argnums)


def by_rows(function, args, argnums=0):
    """J by one `torch.autograd.grad` per output."""
    where = (argnums,) if isinstance(argnums, int) else argnums
    fresh = [
        tree.tree_map_only(torch.Tensor, lambda t: t.detach().clone().requires_grad_(), a) if k in where else a
        for k, a in enumerate(args)
    ]
    inputs = [leaf for k in where for leaf in tree.tree_leaves(fresh[k])]
    flat = torch.cat([leaf.reshape(-1) for leaf in tree.tree_leaves(function(*fresh))])
    rows = []
    for entry in flat:
        found = torch.autograd.grad(entry, inputs, retain_graph=True, allow_unused=True) if entry.requires_grad else [
            None for _ in inputs
        ]
        rows.append(torch.cat([torch.zeros_like(x).reshape(-1) if g is None else g.reshape(-1)
                               for x, g in zip(inputs, found, strict=True)]))  # fmt: skip
    return torch.stack(rows).numpy()


def draw(seed, *shape, low=-1.0, high=1.0):
    return torch.as_tensor(np.random.default_rng(seed).uniform(low, high, shape))


def module(seed, *layers):
    torch.manual_seed(seed)
    return nn.Sequential(*layers).double().eval()


# -- entrywise and linear ----------------------------------------------------------------------------------------
ORDER = torch.tensor([3, 0, 4, 1, 2])
W = draw(10, 4, 6)


def permuted_tanh(x):
    return torch.tanh(x[ORDER])


def permuted_tanh_known(x):
    J = np.zeros((5, 5))
    J[np.arange(5), ORDER] = 1 - np.tanh(x.numpy()[ORDER]) ** 2
    return J


def affine(x):
    return W @ x + 1


def softmax(x):
    return torch.softmax(x, 0)


def softmax_known(x):
    s = np.exp(x.numpy()) / np.exp(x.numpy()).sum()
    return np.diag(s) - np.outer(s, s)


# -- stencils and in-place code ----------------------------------------------------------------------------------
def heat(x):
    return torch.roll(x, 1) - 2 * x + torch.roll(x, -1) + x**3


def heat_known(x):
    x = x.numpy()
    n = x.size
    eye = np.eye(n)
    return np.roll(eye, 1, 0) + np.roll(eye, -1, 0) - 2 * eye + np.diag(3 * x**2)


def in_place(x):
    y = torch.zeros(6, dtype=x.dtype)
    y[1:4] = x * x
    y[2:] += torch.sin(y[:4].clone())
    y.view(2, 3)[0].mul_(2)
    return y


def brusselator(u):
    """Two chemicals on a periodic 6×5 grid."""
    a, b = u

    def laplacian(c):
        return sum(torch.roll(c, s, d) for s in (1, -1) for d in (0, 1)) - 4 * c

    return torch.stack([1 + a * a * b - 4 * a + laplacian(a), 3 * a - a * a * b + laplacian(b)])


# -- networks ----------------------------------------------------------------------------------------------------
MLP = module(0, nn.Linear(7, 12), nn.Tanh(), nn.Linear(12, 5))
AUTOENCODER = module(1, nn.Linear(24, 10), nn.Tanh(), nn.Linear(10, 2), nn.Tanh(), nn.Linear(2, 10), nn.Tanh(),
                     nn.Linear(10, 24))  # fmt: skip
CNN = module(2, nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
             nn.Linear(27, 4))  # fmt: skip
LSTM = nn.LSTM(3, 4, batch_first=True).double()
torch.manual_seed(3)
ENCODER = nn.TransformerEncoder(
    nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.1), 1, enable_nested_tensor=False
).double().eval()  # fmt: skip


def causal(x):
    """Self-attention under a causal mask: position i reads positions j ≤ i."""
    scores = (x @ x.T).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    return torch.softmax(scores, -1) @ x


# -- trees, several arguments, odd calls -------------------------------------------------------------------------
def of_a_dict(p):
    return {"y": torch.sigmoid(p["w"] @ p["x"]), "z": p["x"].sum() ** 2}


def two_arguments(x, k, y):
    return torch.outer(x, y).sum(0) * k


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


def shared_inner(x):
    def g(a, b):
        return a * b

    return g(x, torch.zeros_like(x)) + g(x, x)


SCENARIOS = [
    Scenario("permuted tanh", permuted_tanh, (draw(0, 5),), known=permuted_tanh_known),
    Scenario("affine", affine, (draw(1, 6),), known=lambda x: W.numpy()),
    Scenario("softmax", softmax, (draw(2, 6),), known=softmax_known, structure="dense"),
    Scenario("heat, periodic", heat, (draw(3, 40),), known=heat_known),
    Scenario("in-place writes", in_place, (draw(4, 3),)),
    Scenario("Brusselator", brusselator, (draw(5, 2, 6, 5, low=0.5, high=1.5),)),
    Scenario("MLP", MLP, (draw(6, 7),), structure="dense"),
    Scenario("a batch through an MLP", MLP, (draw(7, 9, 7),), structure="block-diagonal: 9 blocks of 5×7"),
    Scenario("autoencoder", AUTOENCODER, (draw(8, 24),)),
    Scenario("CNN, eval", CNN, (draw(9, 2, 1, 6, 6),), structure="block-diagonal: 2 blocks of 4×36"),
    Scenario("LSTM", lambda x: LSTM(x)[0], (draw(11, 1, 4, 3),)),
    Scenario("transformer encoder", ENCODER, (draw(12, 2, 3, 8),)),
    Scenario("causal attention", causal, (draw(13, 5, 4),)),
    Scenario("a dict in, a dict out", of_a_dict, ({"w": draw(14, 3, 4), "x": draw(15, 4)},)),
    Scenario("two arguments", two_arguments, (draw(16, 4), 2, draw(17, 3)), argnums=(0, 2)),
    Scenario("straight-through, stored", StraightThrough.apply, (draw(18, 5),), known=lambda x: np.eye(5)),
    Scenario("straight-through, stored beforehand", lambda x, stored=StraightThrough.apply: stored(x) * x,
             (draw(18, 5),)),
    Scenario("straight-through", lambda x: StraightThrough.apply(x), (draw(18, 5),), known=lambda x: np.eye(5)),
    Scenario("shared inner function", shared_inner, (draw(19, 4),), known=lambda x: np.diag(2 * x.numpy())),
    Scenario("scalar out", lambda x: (x * x).sum(), (draw(20, 3, 2),), known=lambda x: 2 * x.numpy().reshape(1, -1)),
    Scenario("half is detached", lambda x: x * x.detach(), (draw(21, 4),), known=lambda x: np.diag(x.numpy())),
]
