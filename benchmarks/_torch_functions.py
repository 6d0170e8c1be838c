"""Real PyTorch functions in float64: what tracing must read soundly, and small dense ones for the timings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

Tensor = torch.Tensor


@dataclass(frozen=True)
class Real:
    """`f` at `x`; `seed`: f draws random numbers, the same for ours and for the loop that checks it."""

    f: Callable[[Tensor], Any]
    x: Tensor
    seed: bool = False


def draw(seed: int, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    return torch.as_tensor(np.random.default_rng(seed).uniform(low, high, shape))


def _built(seed: int, make: Callable[[], Any]) -> Any:
    torch.manual_seed(seed)
    return make().double()


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


def _encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def _gpt2() -> Callable[[Tensor], Tensor]:
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        n_layer=2, n_head=2, n_embd=16, vocab_size=11, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    model = _built(3, lambda: GPT2Model(config)).eval()
    return lambda x: model(inputs_embeds=x).last_hidden_state


def _flow(name: str, **options: Any) -> Callable[[Tensor], Tensor]:
    import zuko

    flow = _built(4, lambda: getattr(zuko.flows, name)(6, transforms=2, hidden_features=(16, 16), **options))
    transform = flow().transform
    return lambda x: transform(x)


def _coupling() -> Callable[[Tensor], Tensor]:
    import zuko

    flow = _built(4, lambda: zuko.flows.MAF(6, transforms=3, passes=2, hidden_features=(16,)))
    transform = flow().transform
    return lambda x: transform(x)


def _rnn() -> Callable[[Tensor], Tensor]:
    cell = _built(5, lambda: nn.RNNCell(3, 4))

    def run(x: Tensor) -> Tensor:
        h = torch.zeros(4, dtype=x.dtype)
        states = []
        for entry in x:
            h = cell(entry, h)
            states.append(h)
        return torch.stack(states)

    return run


def _lstm() -> Callable[[Tensor], Tensor]:
    lstm = _built(6, lambda: nn.LSTM(3, 4, 2, batch_first=True))
    return lambda x: lstm(x)[0]


def in_place(x: Tensor) -> Tensor:
    y = torch.zeros(8, dtype=x.dtype)
    y[1:5] = x[:4] ** 2
    y[4:].add_(torch.sin(x))
    y.view(2, 4)[1].mul_(x)
    y[::2] -= 1
    return y


INDEX = torch.tensor([3, 0, 0, 2])
MIX = draw(7, 4, 3)


def picked(x: Tensor) -> Tensor:
    """where, indexing, einsum."""
    y = torch.where(x > 0, torch.exp(x), x)
    return torch.einsum("ij,ik->jk", y[INDEX][:, None] * MIX, MIX).sum(0)


SPARSE = torch.sparse_coo_tensor([[0, 1, 2, 2, 4], [1, 0, 3, 4, 2]], [1.0, -2.0, 0.5, 3.0, 1.5], (5, 5)).double()


def with_sparse_constant(x: Tensor) -> Tensor:
    return torch.tanh(torch.mv(SPARSE, x)) * x


def brusselator(size: int) -> Callable[[Tensor], Tensor]:
    """Two chemicals on a periodic size × size grid."""

    def rate(u: Tensor) -> Tensor:
        a, b = u.reshape(2, size, size)

        def laplacian(c: Tensor) -> Tensor:
            return sum((torch.roll(c, s, d) for s in (1, -1) for d in (0, 1)), -4 * c)

        mixed = a * a * b
        return torch.stack([1 + mixed - 4.4 * a + laplacian(a), 3.4 * a - mixed + laplacian(b)]).reshape(-1)

    return rate


def functions() -> dict[str, Real]:
    image, sequence = draw(11, 3, 2, 8, 8), draw(12, 2, 4, 8)
    mlp = _built(0, lambda: nn.Sequential(nn.Linear(7, 12), nn.GELU(), nn.LayerNorm(12), nn.Linear(12, 5)))
    return {
        "MLP, batch": Real(mlp, draw(10, 6, 7)),
        "CNN with batch norm and pooling, eval": Real(_built(1, _cnn).eval(), image),
        "CNN with batch norm and pooling, training": Real(_built(1, _cnn).train(), image),
        "transformer encoder, eval": Real(_built(2, _encoder).eval(), sequence),
        "transformer encoder, training": Real(_built(2, _encoder).train(), sequence, seed=True),
        "GPT-2 from a configuration": Real(_gpt2(), draw(13, 1, 5, 16)),
        "zuko NSF": Real(_flow("NSF"), draw(14, 6)),
        "zuko MAF": Real(_flow("MAF"), draw(14, 6)),
        "zuko coupling (RealNVP)": Real(_coupling(), draw(14, 6)),
        "zuko NICE": Real(_flow("NICE"), draw(14, 6)),
        "RNN as a Python loop": Real(_rnn(), draw(15, 5, 3)),
        "LSTM": Real(_lstm(), draw(16, 2, 4, 3)),
        "in-place code": Real(in_place, draw(17, 4)),
        "where, index, einsum": Real(picked, draw(18, 4)),
        "sparse constant": Real(with_sparse_constant, draw(19, 5)),
        "roll stencil (Brusselator 6×6×2)": Real(brusselator(6), draw(20, 72, low=0.5, high=1.5)),
    }


REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "a branch on the input": lambda x: x if x.sum() > 0 else -x,
    "item": lambda x: x * x.max().item(),
    "a boolean mask": lambda x: x[x > 0],
}


def small() -> dict[str, tuple[Callable[[Tensor], Tensor], Tensor]]:
    """Ten small dense functions, m, n ≤ 50."""
    square, wide, tall = draw(30, 30, 30), draw(31, 8, 50), draw(32, 50, 6)
    layers = nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 24), nn.GELU(), nn.Linear(24, 10)
    net = _built(8, lambda: nn.Sequential(*layers))
    links = draw(33, 6)
    powers = torch.as_tensor(np.random.default_rng(34).integers(0, 4, (12, 5))).double()

    def arm(angles: Tensor) -> Tensor:
        heading = torch.cumsum(angles, 0)
        return torch.stack([links @ torch.cos(heading), links @ torch.sin(heading), heading[-1]])

    def lorenz(s: Tensor) -> Tensor:
        def rate(s: Tensor) -> Tensor:
            x, y, z = s
            return torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

        a = rate(s)
        return s + 0.01 * rate(s + 0.005 * a)

    return {
        "tanh(W x), 30→30": (lambda x: torch.tanh(square @ x), draw(40, 30)),
        "network 16-24-24-10": (net, draw(41, 16)),
        "arm of six links, 6→3": (arm, draw(42, 6)),
        "softmax, 20→20": (lambda x: torch.softmax(x, 0), draw(43, 20)),
        "Lorenz step, 3→3": (lorenz, draw(44, 3)),
        "monomials, 5→12": (lambda x: torch.exp(powers @ torch.log(x)), draw(45, 5, low=0.2, high=0.9)),
        "wide, 50→8": (lambda x: torch.sin(wide @ x) ** 2, draw(46, 50)),
        "tall, 6→50": (lambda x: torch.exp(-((tall @ x) ** 2)), draw(47, 6)),
        "layer norm, 16→16": (lambda x: nn.functional.layer_norm(x, (16,)), draw(48, 16)),
        "attention, 4×5": (lambda x: torch.softmax(x @ x.T, -1) @ x, draw(49, 4, 5)),
    }
