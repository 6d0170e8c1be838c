"""Every row of the table of entrywise tangents, against autograd. A row without an example fails."""

import numpy as np
import pytest
import torch
from torch_scenarios import by_rows, draw

import jacmap as jm
from jacmap._torch.tangents import TABLE

S = draw(0, 6, low=0.5, high=1.5)

COUNTS = torch.arange(1, 7)

# Diagonal functions of six positive entries that emit the operation, one way or another of giving its arguments each.
EXAMPLES = {
    "add": [lambda x: x + S, lambda x: S + x, lambda x: x + 2.0, lambda x: torch.exp(x) + torch.sin(x)],
    "sub": [lambda x: x - S, lambda x: S - x, lambda x: torch.exp(x) - torch.sin(x)],
    "mul": [lambda x: x * S, lambda x: 3.0 * x, lambda x: x * torch.exp(x), lambda x: x * S[0], lambda x: x * COUNTS,
            lambda x: (x.view(2, 3) * S[:3]).view(6), lambda x: (x.view(2, 3) * -S[:1]).view(6), lambda x: x * x],
    "div": [lambda x: x / S, lambda x: S / x, lambda x: x / (1 + x), lambda x: x / 2.0, lambda x: x / COUNTS,
            lambda x: (1 + x) / x, lambda x: torch.exp(x) / x],
    "neg": [lambda x: -x, lambda x: -torch.exp(x)],
    "pow": [lambda x: x**3, lambda x: x**0.5, lambda x: x**2],
    "reciprocal": [lambda x: 3 / x],
    "exp": [torch.exp],
    "log": [torch.log],
    "log1p": [torch.log1p],
    "expm1": [torch.expm1],
    "tanh": [torch.tanh],
    "sigmoid": [torch.sigmoid],
    "sin": [torch.sin],
    "sinh": [torch.sinh],
    "cosh": [torch.cosh],
    "abs": [lambda x: torch.abs(x - 1.01)],
    "erf": [torch.erf, lambda x: torch.erf(S * x)],
    "erfinv": [torch.erfinv],
    "mean": [lambda x: (x[:, None] + S).mean(1), lambda x: (x[:, None] * S).mean(1, keepdim=True)[:, 0],
             lambda x: torch.tanh(x[:, None] * S).mean(-1)],
    "view": [lambda x: (x.view(2, 3) * S.view(2, 3)).view(6)],
    "_unsafe_view": [lambda x: torch.ops.aten._unsafe_view(x * S, [2, 3]) ** 2],
    "permute": [lambda x: (x.view(2, 3).permute(1, 0) * S.view(3, 2)).reshape(6)],
    "t": [lambda x: (x.view(2, 3).t() * S.view(3, 2)).reshape(6)],
    "transpose": [lambda x: (x.view(2, 3).transpose(0, 1) * S.view(3, 2)).reshape(6)],
    "squeeze": [lambda x: (x.view(2, 1, 3) * S.view(2, 1, 3)).squeeze(1).reshape(6)],
    "unsqueeze": [lambda x: (x.unsqueeze(0) * S).view(6)],
    "select": [lambda x: torch.stack([x[0] * S[0], *torch.exp(x[1:])])],
    "slice": [lambda x: torch.cat([x[:2] * S[:2], torch.exp(x[2:])])],
    "flip": [lambda x: torch.flip(x, (0,)) * S],
    "cat": [lambda x: torch.cat([x[:2] * S[:2], x[2:] * torch.sin(x[:4])])],
    "clone": [lambda x: x.clone() * S],
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_the_row(name):
    x = draw(1, 6, low=0.2, high=0.9)
    for f in EXAMPLES[name]:
        ask = jm.slogdet(f)
        found = ask(x)
        assert name in {node.op for node in ask.plan(x).graph.nodes}
        sign, log = np.linalg.slogdet(by_rows(lambda x, f=f: f(x).reshape(-1), (x,)))
        np.testing.assert_allclose([float(found.sign), float(found.logabsdet)], [sign, log], rtol=1e-12, atol=1e-12)


def test_no_tape_is_made_where_all_rows_are_there(monkeypatch):
    monkeypatch.setattr("jacmap._torch.factors.Factors._taped", None)
    x = draw(2, 6, low=0.2, high=0.9)

    def affine(x):
        return torch.cat([x[:3], x[3:] * torch.exp(torch.tanh(x[:3])) + x[:3] ** 2])

    np.testing.assert_allclose(float(jm.slogdet(affine)(x).logabsdet), float(torch.tanh(x[:3]).sum()))


@pytest.mark.parametrize("factor", [-2.0, -1, 0.5, 0.0, float("inf")])
@pytest.mark.parametrize("size", [3, 4])
def test_slopes_that_are_one_number(factor, size):
    """The matrix's diagonal is that number: sign and logarithm by count."""
    found = jm.slogdet(lambda x: (x.view(1, size) * factor).view(size) + 1)(draw(3, size))
    true = torch.linalg.slogdet(torch.diag(torch.full((size,), float(factor), dtype=torch.float64)))
    assert found.logabsdet.dtype == torch.float64
    assert float(found.sign) == np.sign(factor) ** size
    np.testing.assert_allclose(float(found.logabsdet), size * np.log(abs(factor)) if factor else float(true[1]))


def test_a_factor_of_another_type_is_not_rounded_to_it():
    x = torch.full((3,), 2.0, dtype=torch.float32)
    f = lambda x: x * torch.tensor([3, 5, 7])  # noqa: E731
    answer = jm.slogdet(f)(x).logabsdet
    assert answer.dtype == torch.float32
    np.testing.assert_allclose(float(answer), np.log(105), rtol=1e-6)
    half = jm.slogdet(lambda x: x / torch.tensor([3, 5, 7]))(x.double()).logabsdet
    np.testing.assert_allclose(float(half), -np.log(105), rtol=1e-14)


def test_slopes_that_stand_for_several_count_as_often():
    """A scaling by 3 numbers is there once for each example of a batch."""
    x, w = draw(4, 4, 3), torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)
    for batch in (4, 3):
        found = jm.slogdet(lambda x: x * w)(x[:batch])
        np.testing.assert_allclose(float(found.logabsdet), batch * np.log(3.0), rtol=1e-14)
        assert float(found.sign) == (-1) ** batch
