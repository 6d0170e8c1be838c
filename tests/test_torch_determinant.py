"""log|det J| of functions of tensors: against dense matrices, and against what zuko's authors wrote by hand."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import zuko
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch_scenarios import by_rows, draw, module

import jacmap as jm
from jacmap.engine.backends.torch.rules import hints
from jacmap.engine.graph.hints import Hints
from jacmap.engine.plan.determinant import Stored

D = 6


def flow(kind, **options):
    torch.manual_seed(0)
    return getattr(zuko.flows, kind)(D, **options).double()


NET = {"transforms": 2, "hidden_features": (8, 8)}
FLOWS = {
    "MAF": flow("MAF", **NET),
    "MAF in two passes": flow("MAF", passes=2, **NET),
    "NICE": flow("NICE", **NET),
    "NSF": flow("NSF", **NET),
    "NAF": flow("NAF", **NET),
    "BPF": flow("BPF", **NET),
    "SOSPF": flow("SOSPF", **NET),
    "Gaussianization": flow("GF", transforms=2),
}
LOWER = torch.tril(draw(22, 5, 5)) + 2 * torch.eye(5)
SPIN = draw(20, 4, 4) + 3 * torch.eye(4)
MIX = draw(21, 2, 12), draw(22, 12, 2)
NETWORK = module(5, nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))


def convolved(x):
    """A periodic filter, a scaling, a permutation."""
    return torch.exp((x + 0.3 * torch.roll(x, 1)) * 0.5)[torch.tensor([2, 0, 3, 1])]


FUNCTIONS = {
    "dense": (lambda x: torch.tanh(SPIN @ x), draw(1, 4)),
    "residual network": (lambda x: x + NETWORK(x), draw(2, 4)),
    "triangular": (lambda x: torch.cumsum(x, 0) * torch.exp(x), draw(3, 7)),
    "reversed": (lambda x: torch.flip(x, (0,)) ** 3, draw(4, 5)),
    "low rank": (lambda x: x + MIX[1] @ torch.tanh(MIX[0] @ x), draw(5, 12)),
    "planar": (lambda x: x + MIX[1][:, 0] * torch.tanh(MIX[0][0] @ x), draw(6, 12)),
    "coupling, in place": (lambda x: coupled(x), draw(7, 6)),
    "filter, scaling, permutation": (convolved, draw(8, 4)),
    "turned over": (lambda x: torch.stack([x[1], x[0]]) * x, draw(9, 2)),
    "a batch": (lambda x: torch.sinh(x @ SPIN), draw(10, 5, 4)),
    "a batch, scaled": (lambda x: torch.addmm(x.detach(), x, SPIN, alpha=-3), draw(10, 5, 4)),
    "a matrix for each": (lambda x: torch.einsum("bij,bj->bi", torch.stack([SPIN, SPIN.T, SPIN @ SPIN]), x),
                          draw(11, 3, 4)),
    "products from both sides": (lambda x: SPIN @ torch.sinh(x @ LOWER), draw(12, 4, 5)),
    "a triangular product": (lambda x: x @ LOWER.T, draw(13, 3, 5)),
    "a product in blocks": (lambda x: x @ torch.block_diag(SPIN, LOWER, SPIN).T, draw(14, 2, 13)),
    "a vector": (lambda x: torch.addmv(x.detach(), SPIN, x, alpha=2), draw(15, 4)),
    "an outer product": (lambda x: torch.outer(x, torch.tensor([2.0], dtype=x.dtype)).reshape(-1), draw(16, 3)),
    "weights that depend on the rest": (lambda x: torch.cat([x[:4], (SPIN * torch.exp(x[:4])) @ x[4:]]), draw(17, 8)),
    "a square": (lambda x: (x.view(2, 2) @ x.view(2, 2)).reshape(-1), draw(18, 4)),
    "a product that is scaled and turned": (lambda x: torch.nn.functional.linear(x, SPIN, x.mean() * 0 + 1).flip(1),
                                            draw(19, 3, 4)),
}
  # fmt: skip


def coupled(x):
    y = x.clone()
    y[3:] = x[3:] * torch.exp(torch.sin(x[:3])) + x[:3]
    return y


@pytest.mark.parametrize("name", FUNCTIONS)
def test_equal_to_the_dense_determinant(name):
    f, x = FUNCTIONS[name]
    sign, log = np.linalg.slogdet(by_rows(f, (x,)))
    for answer in (jm.slogdet(f)(x), jm.linearize(f, x).slogdet()):
        found = [float(answer.sign.detach()), float(answer.logabsdet.detach())]
        np.testing.assert_allclose(found, [sign, log], rtol=1e-10)
    y, (again, _) = jm.value_and_slogdet(f)(x)
    torch.testing.assert_close(y, f(x))
    assert float(again.detach()) == sign


@pytest.mark.parametrize("name", FLOWS)
def test_equal_to_what_the_library_has(name):
    transform = FLOWS[name]().transform
    x = draw(11, 4, D)
    expected = transform.log_abs_det_jacobian(x, transform(x)).detach()
    one = jm.slogdet(transform.__call__)
    np.testing.assert_allclose(float(one(x[0]).logabsdet.detach()), float(expected[0]), rtol=1e-8, atol=1e-10)
    assert "probed" in str(one.plan(x[0]))
    whole = jm.slogdet(transform.__call__)(x)
    np.testing.assert_allclose(float(whole.logabsdet.detach()), float(expected.sum()), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["MAF", "NICE", "NSF", "Gaussianization"])
def test_under_vmap(name):
    transform = FLOWS[name]().transform
    x = draw(12, 3, D)
    ours = torch.func.vmap(jm.slogdet(transform.__call__))(x).logabsdet
    torch.testing.assert_close(ours, transform.log_abs_det_jacobian(x, transform(x)), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_trained_through_it(name):
    if name == "SOSPF":
        pytest.skip("zuko's GaussLegendre has no second derivative")
    model = FLOWS[name]
    x = draw(13, D)

    def gradients(loss):
        model.zero_grad()
        loss.backward()
        return [None if p.grad is None else p.grad.clone() for p in model.parameters()]

    ours = gradients(jm.slogdet(model().transform.__call__)(x).logabsdet)
    transform = model().transform
    theirs = gradients(transform.log_abs_det_jacobian(x, transform(x)))
    for a, b in zip(ours, theirs, strict=True):
        a, b = (torch.zeros(1) if g is None else g for g in (a, b))
        torch.testing.assert_close(a.double(), b.double().expand(a.shape), rtol=1e-7, atol=1e-9)


def test_differentiable_in_the_point():
    f, x = FUNCTIONS["coupling, in place"]
    x = x.clone().requires_grad_()
    (ours,) = torch.autograd.grad(jm.slogdet(f)(x).logabsdet, x)
    (theirs,) = torch.autograd.grad(torch.linalg.slogdet(torch.func.jacrev(f)(x)).logabsdet, x)
    torch.testing.assert_close(ours, theirs)


def test_known_zero():
    answer = jm.slogdet(lambda x: x.sum() * torch.ones(4, dtype=x.dtype))(draw(14, 4))
    assert float(answer.sign) == 0 and float(answer.logabsdet) == -np.inf


def test_passes_are_few():
    transform = FLOWS["MAF"]().transform
    assert jm.slogdet(transform.__call__).plan(draw(15, D)).passes == 1


def test_random_functions_fall_back_to_the_matrix():
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).double()
    x = draw(16, 4)
    torch.manual_seed(3)
    ours = jm.slogdet(lambda x: x + net(x))
    ours(x)
    assert "draws random numbers" in str(ours.plan(x))
    torch.manual_seed(4)
    answer = ours(x)
    torch.manual_seed(4)
    J = by_rows(lambda x: x + net(x), (x,))
    np.testing.assert_allclose(float(answer.logabsdet.detach()), np.linalg.slogdet(J)[1], rtol=1e-10)


def test_only_square_ones():
    with pytest.raises(jm.ArgumentError, match="3 outputs and 4 differentiated inputs"):
        jm.slogdet(lambda x: x[:3])(draw(17, 4))


def stored(f, x):
    """The plan's factors that are read from an operand."""
    ask = jm.slogdet(f)
    ask(x)
    return [step for step in ask.plan(x).determinant.steps if isinstance(step, Stored)], str(ask.plan(x))


def test_equal_blocks_are_read_once():
    (step,), text = stored(lambda x: torch.tanh(x @ SPIN), draw(23, 600, 4))
    assert [(group.at.shape, group.times.tolist()) for group in step.groups] == [((1, 4, 4), [600])]
    assert step.forward == step.reverse == 0
    assert "block triangular: 600 of 4×4, read from an operand" in text
    three, _ = stored(lambda x: torch.bmm(torch.stack([SPIN, LOWER[:4, :4], SPIN.T]), x), draw(24, 3, 4, 2))
    assert sorted((g.at.shape[-1], times) for g in three[0].groups for times in g.times) == [(1, 2)] * 4 + [(4, 2)] * 2


@pytest.mark.parametrize("seed", range(12))
def test_signs_of_products_with_known_zeros(seed):
    """Whatever rows and columns are matched with each other in the blocks."""
    rng = np.random.default_rng(seed)
    weights = torch.from_numpy(rng.standard_normal((6, 6)) * (rng.random((6, 6)) < 0.45))
    sign, log = np.linalg.slogdet(weights.numpy())
    answer = jm.slogdet(lambda x: x @ weights)(draw(seed, 3, 6))
    assert float(answer.sign) == sign**3
    np.testing.assert_allclose(float(answer.logabsdet), 3 * log, rtol=1e-12)


def test_read_from_what_the_operand_is_now():
    weights = SPIN.clone().requires_grad_()
    ask = jm.slogdet(lambda x: x @ weights)
    x = draw(25, 7, 4)
    ask(x)
    with torch.no_grad():
        weights.copy_(SPIN.T @ SPIN)
    answer = ask(x)
    true = torch.linalg.slogdet(SPIN.T @ SPIN).logabsdet
    torch.testing.assert_close(answer.logabsdet.detach(), 7 * true)
    (ours,) = torch.autograd.grad(answer.logabsdet, weights)
    torch.testing.assert_close(ours, 7 * torch.linalg.inv(SPIN.T @ SPIN).T)


def test_a_sparse_operand():
    matrix = (SPIN * (SPIN.abs() > 0.5)).to_sparse()
    true = torch.linalg.slogdet(matrix.to_dense()).logabsdet * 3
    x = draw(26, 4, 3)
    torch.testing.assert_close(jm.slogdet(lambda x: torch.sparse.mm(matrix, x))(x).logabsdet, true)
    torch.testing.assert_close(jm.slogdet(lambda x, m: torch.sparse.mm(m, x))(x, matrix).logabsdet, true)


LIES = {
    "moved on by a column": lambda e: replace(e, columns=np.roll(e.columns, 1)),
    "scaled": lambda e: replace(e, scale=1.5),
}


@pytest.mark.parametrize("batch", [5, 300])  # the probe forms the matrix, or compares products
@pytest.mark.parametrize("lie", LIES)
def test_a_hint_that_lies_is_found(monkeypatch, batch, lie):
    true = hints.TABLE["mm"]

    def lying(call):
        entries = true(call).entries
        return Hints(entries={i: LIES[lie](e) for i, e in entries.items()})

    monkeypatch.setitem(hints.TABLE, "mm", lying)
    with pytest.raises(jm.StructureError, match="No result is returned"):
        jm.slogdet(lambda x: torch.sinh(x @ SPIN))(draw(27, batch, 4))


class Counted(TorchDispatchMode):
    """How often each operation is called inside."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def asinh_couplings(x):
    """Shift and scale from one product, in factors that autograd tapes: `asinh` has no row among the tangents."""
    for weights in (SPIN, SPIN.T):
        a, b = x[:, :2], x[:, 2:]
        shift, scale = (a @ weights[:2]).split(2, 1)
        x = torch.cat([torch.asinh(b * torch.exp(scale)) + shift, a], 1)
    return x


@pytest.mark.parametrize("name", ["MAF in two passes", "NICE", "NSF", "Gaussianization", "asinh"])
def test_nothing_is_worked_out_twice(name):
    """No more of the operations that cost most than the transform itself takes."""
    f = asinh_couplings if name == "asinh" else FLOWS[name]().transform.__call__
    x = draw(28, 40, 4 if name == "asinh" else D)
    ask = jm.slogdet(f)
    with torch.no_grad():
        ask(x)
        counts = []
        for run in (ask, f):
            with Counted() as seen:
                run(x)
            counts.append(sum(seen.calls[name] for name in ("addmm", "mm", "bmm", "erf", "asinh")))
    assert 0 < counts[0] <= counts[1]


def test_the_value_beside_it_after_the_answer_alone():
    """Both are asked of one plan, which is probed by the answer alone."""
    f, x = FUNCTIONS["residual network"]
    both = jm.value_and_slogdet(f)
    for point in (x, 2 * x):
        y, answer = both(point)
        torch.testing.assert_close(y, f(point))
        np.testing.assert_allclose(float(answer.logabsdet.detach()), np.linalg.slogdet(by_rows(f, (point,)))[1])
