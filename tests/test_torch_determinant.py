"""log|det J| of functions of tensors: against dense matrices, and against what zuko's authors wrote by hand."""

import numpy as np
import pytest
import torch
import zuko
from torch import nn
from torch_scenarios import by_rows, draw, module

import jacmap as jm

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
}


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
