"""Questions about functions of PyTorch tensors, each against an oracle that shares no code with jacmap."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as tree
from torch_scenarios import AUTOENCODER, MLP, SCENARIOS, by_rows, draw, heat

import jacmap as jm

TOLERANCE = dict(rtol=1e-10, atol=1e-12)


@pytest.fixture(params=SCENARIOS, ids=str)
def scenario(request):
    return request.param


def flat(blocks, scenario):
    """The blocks of a Jacobian pytree as one m×n NumPy matrix."""
    outputs = tree.tree_leaves(scenario.function(*scenario.args))
    where = (scenario.argnums,) if isinstance(scenario.argnums, int) else scenario.argnums
    inputs = [leaf for k in where for leaf in tree.tree_leaves(scenario.args[k])]
    found = iter(tree.tree_leaves(blocks))
    rows = [[next(found).reshape(out.numel(), x.numel()) for x in inputs] for out in outputs]
    assert next(found, None) is None
    return torch.cat([torch.cat(row, 1) for row in rows]).detach().numpy()


def test_dense(scenario):
    answer = jm.jacobian(scenario.function, scenario.argnums)(*scenario.args)
    np.testing.assert_allclose(flat(answer, scenario), scenario.expected(), **TOLERANCE)


def test_sparse(scenario):
    answer = jm.jacobian(scenario.function, scenario.argnums, form="sparse")(*scenario.args)
    assert answer.layout == torch.sparse_coo and answer.is_coalesced()
    np.testing.assert_allclose(answer.detach().to_dense().numpy(), scenario.expected(), **TOLERANCE)


def test_diagonal_and_trace(scenario):
    expected = np.diagonal(scenario.expected())
    diagonal = jm.diagonal(scenario.function, scenario.argnums)(*scenario.args)
    np.testing.assert_allclose(diagonal.detach(), expected, **TOLERANCE)
    trace = jm.trace(scenario.function, scenario.argnums)(*scenario.args)
    np.testing.assert_allclose(trace.detach(), expected.sum(), **TOLERANCE)


def test_the_object(scenario):
    J = jm.linearize(scenario.function, *scenario.args, argnums=scenario.argnums)
    expected = scenario.expected()
    m, n = expected.shape
    assert J.shape == (m, n)
    np.testing.assert_allclose(J.dense().detach(), expected, **TOLERANCE)
    assert not (expected != 0)[~J.pattern.todense()].any()
    v, u = draw(98, n, 2), draw(99, m, 2)
    np.testing.assert_allclose((J @ v).detach(), expected @ v.numpy(), **TOLERANCE)
    np.testing.assert_allclose((J.T @ u).detach(), expected.T @ u.numpy(), **TOLERANCE)
    np.testing.assert_allclose(J.row(m - 1).detach(), expected[-1], **TOLERANCE)
    np.testing.assert_allclose(J.column(0).detach(), expected[:, 0], **TOLERANCE)
    corners = J.entries([0, m - 1], [n - 1, 0]).detach()
    np.testing.assert_allclose(corners, [expected[0, -1], expected[-1, 0]], **TOLERANCE)
    np.testing.assert_allclose(J.norm("fro").detach(), np.linalg.norm(expected), **TOLERANCE)
    np.testing.assert_allclose(J.svd().S.detach(), np.linalg.svd(expected, compute_uv=False), rtol=1e-8, atol=1e-12)
    assert str(J.structure).startswith(scenario.structure)
    assert "probed against plain AD" in str(J.explain())


def test_another_point_plans_nothing(monkeypatch):
    J = jm.linearize(heat, draw(0, 30))
    J.sparse()
    monkeypatch.setattr("jacmap._torch.transforms.make_plan", None)
    x = draw(1, 30)
    np.testing.assert_allclose(J.at(x).sparse().to_dense(), by_rows(heat, (x,)), **TOLERANCE)


def test_layout_is_that_of_jacrev():
    def f(p, x):
        return {"a": p["w"] @ x, "b": (x * p["s"], x.sum())}

    p, x = {"w": draw(0, 2, 3), "s": draw(1, 1)}, draw(2, 3)
    ours, theirs = jm.jacobian(f, argnums=(0, 1))(p, x), torch.func.jacrev(f, argnums=(0, 1))(p, x)
    assert tree.tree_structure(ours) == tree.tree_structure(theirs)
    for a, b in zip(tree.tree_leaves(ours), tree.tree_leaves(theirs), strict=True):
        torch.testing.assert_close(a, b)


def test_parameters_by_functional_call():
    params = {name: p.detach() for name, p in MLP.named_parameters()}
    x = draw(3, 7)

    def f(p):
        return torch.func.functional_call(MLP, p, (x,))

    ours, theirs = jm.jacobian(f)(params), torch.func.jacrev(f)(params)
    assert ours.keys() == theirs.keys()
    for name in params:
        torch.testing.assert_close(ours[name], theirs[name])


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_what_comes_beside_the_output(form):
    def f(x, k=1.0):
        return torch.sin(x) * k, {"sum": x.sum()}

    x = draw(29, 5)
    J, aux = jm.jacobian(f, form=form, has_aux=True)(x, k=3.0)
    torch.testing.assert_close(J if form == "dense" else J.to_dense(), torch.diag(3 * torch.cos(x)))
    torch.testing.assert_close(aux, {"sum": x.sum()})


@pytest.mark.parametrize("plan", ["model", "measure", "plain"])
def test_each_way_of_planning(plan):
    x = draw(30, 20)
    ask = jm.jacobian(heat, plan=plan)
    np.testing.assert_allclose(ask(x), by_rows(heat, (x,)), **TOLERANCE)
    assert plan != "plain" or ask.plan(x).chosen.name.startswith("plain")


def test_products_without_a_plan():
    x, v = draw(22, 6), draw(23, 6)
    y, pushed = jm.jvp(heat, (x,), (v,))
    z, pull = jm.vjp(heat, x)
    J = torch.as_tensor(by_rows(heat, (x,)))
    torch.testing.assert_close((y, pushed, z, pull(v)[0]), (heat(x), J @ v, heat(x), v @ J))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_told(dtype):
    x = draw(24, 12).to(dtype)
    answer = jm.jacobian(heat)(x)
    assert answer.dtype == dtype
    np.testing.assert_allclose(answer.float(), by_rows(heat, (x.double(),)), atol=0.05)
    assert f"computed in {str(dtype)[6:]}: about" in str(jm.plan(heat, x))


def test_memory_bounds_the_batches():
    x = draw(25, 40)
    plan = jm.plan(torch.softmax, x, 0, memory=8000)
    assert 0 < plan.chosen.chunk < 40 and "seeds at a time" in str(plan)
    torch.testing.assert_close(plan(x, 0), torch.func.jacrev(lambda x: torch.softmax(x, 0))(x))


def test_attention_without_a_forward_rule_is_still_pushed():
    def attend(x):
        return nn.functional.scaled_dot_product_attention(x, x, x)

    x = draw(26, 1, 3, 4)
    J = jm.linearize(attend, x)
    v = draw(27, 12)
    np.testing.assert_allclose(J @ v, by_rows(attend, (x,)) @ v.numpy(), **TOLERANCE)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_planned_in_inference_mode_and_differentiated_later(form):
    ask = jm.jacobian(heat, form=form)
    with torch.inference_mode():
        x = draw(28, 25).clone()
        answer = ask(x)
        answer = answer if form == "dense" else answer.to_dense()
    np.testing.assert_allclose(answer.clone(), by_rows(heat, (x.clone(),)), **TOLERANCE)
    z = x.clone().requires_grad_()
    answer = ask(z)
    (answer if form == "dense" else answer.coalesce().values()).pow(2).sum().backward()
    expected = torch.func.grad(lambda z: torch.func.jacrev(heat)(z).pow(2).sum())(x.clone())
    torch.testing.assert_close(z.grad, expected)


# -- the answer is part of a larger computation --------------------------------------------------------------------
def test_a_penalty_on_the_jacobian_trains_the_weights():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x = draw(4, 4)
    jm.jacobian(net)(x).pow(2).sum().backward()
    ours = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    torch.func.jacrev(net)(x).pow(2).sum().backward()
    theirs = [p.grad for p in net.parameters() if p.grad is not None]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_the_answer_is_differentiable_in_the_point(form):
    x = draw(5, 12).requires_grad_()
    answer = jm.jacobian(heat, form=form)(x)
    (answer if form == "dense" else answer.coalesce().values()).pow(3).sum().backward()
    expected = torch.func.grad(lambda z: torch.func.jacrev(heat)(z).pow(3).sum())(x.detach())
    torch.testing.assert_close(x.grad, expected)


def test_no_graph_where_nothing_requires_grad():
    assert not jm.jacobian(heat)(draw(6, 8)).requires_grad
    with torch.no_grad():
        assert not jm.jacobian(MLP)(draw(6, 7)).requires_grad


def test_under_vmap_and_grad():
    f = jm.jacobian(AUTOENCODER)
    batch = draw(7, 3, 24)
    torch.testing.assert_close(torch.func.vmap(f)(batch), torch.func.vmap(torch.func.jacrev(AUTOENCODER))(batch))
    g = jm.jacobian(heat)
    x = draw(8, 10)
    ours = torch.func.grad(lambda z: g(z).pow(3).sum())(x)
    torch.testing.assert_close(ours, torch.func.grad(lambda z: torch.func.jacrev(heat)(z).pow(3).sum())(x))


# -- nothing is left behind ----------------------------------------------------------------------------------------
def test_training_mode_leaves_buffers_and_flags_and_samples_alone():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2)).double()
    buffers = [b.clone() for b in net.buffers()]
    x = draw(9, 8, 5)
    state = torch.get_rng_state()
    plan = jm.plan(net, x)
    assert torch.equal(state, torch.get_rng_state())
    assert "plan for 'dense'" in str(plan)
    assert all(torch.equal(a, b) for a, b in zip(buffers, net.buffers(), strict=True))
    assert not x.requires_grad and all(p.requires_grad and p.grad is None for p in net.parameters())
    answer = jm.jacobian(net)
    assert answer.plan(x).chosen.forward == 0  # forward mode would draw otherwise than the function by itself
    torch.manual_seed(5)
    ours = answer(x)
    torch.manual_seed(5)
    y = net(x.requires_grad_())
    rows = [torch.autograd.grad(entry, x, retain_graph=True)[0] for entry in y.reshape(-1)]
    torch.testing.assert_close(ours, torch.stack(rows).reshape(8, 2, 8, 5))


def test_an_error_in_the_function_leaves_everything_as_it_was():
    net = nn.Sequential(nn.BatchNorm1d(3)).double().train()
    before = net[0].running_mean.clone()

    def fails(x):
        raise KeyError(net(x).sum())

    x = draw(10, 4, 3)
    state = torch.get_rng_state()
    with pytest.raises(KeyError):
        jm.jacobian(fails)(x)
    assert torch.equal(before, net[0].running_mean) and torch.equal(state, torch.get_rng_state())


# -- what changes under our feet -----------------------------------------------------------------------------------
def test_new_weights_are_seen():
    net = nn.Sequential(nn.Linear(12, 2), nn.Linear(2, 12)).double()  # a bottleneck: run from the graph
    f, x = jm.jacobian(net), draw(11, 12)
    f(x)
    with torch.no_grad():
        net[0].weight.mul_(2)
    torch.testing.assert_close(f(x), net[1].weight @ net[0].weight)
    net[1] = nn.Linear(2, 12).double()
    torch.testing.assert_close(f(x), net[1].weight @ net[0].weight)


def test_a_mask_that_changes_is_read_again():
    mask = torch.eye(4, dtype=torch.float64)
    weight = draw(12, 4, 4)
    f, x = jm.jacobian(lambda x: torch.tanh((mask * weight) @ x)), draw(13, 4)
    assert torch.count_nonzero(f(x)) == 4
    mask.fill_(1)
    np.testing.assert_allclose(f(x), by_rows(lambda x: torch.tanh(weight @ x), (x,)), **TOLERANCE)


def test_a_mask_that_is_replaced_is_read_again():
    masks = {"now": torch.eye(4, dtype=torch.float64)}
    weight = draw(12, 4, 4)
    f, x = jm.jacobian(lambda x: torch.tanh((masks["now"] * weight) @ x)), draw(13, 4)
    f(x)
    kept = masks["now"]
    masks["now"] = torch.ones(4, 4, dtype=torch.float64)
    np.testing.assert_allclose(f(x), by_rows(lambda x: torch.tanh(weight @ x), (x,)), **TOLERANCE)
    assert torch.count_nonzero(kept) == 4  # the old one still lives, so it is not its end that was noticed


def test_a_flag_of_a_module_is_looked_at():
    class Gate(nn.Module):
        wide = False

        def forward(self, x):
            return torch.cumsum(x, 0) if self.wide else torch.sin(x)

    gate, x = Gate(), draw(16, 40)
    gate.wide = False
    f = jm.jacobian(lambda x: gate(x), form="sparse")
    assert f(x)._nnz() == 40
    gate.wide = True
    np.testing.assert_allclose(f(x).to_dense(), np.tril(np.ones((40, 40))), **TOLERANCE)


def test_plans_are_not_kept_without_end():
    scale = torch.ones(1, dtype=torch.float64)

    def f(x):
        return torch.sin(x) * scale

    ask, x = jm.jacobian(f), draw(17, 3)
    for _ in range(80):
        scale = torch.ones(1, dtype=torch.float64)
        ask(x)
    (face,) = ask.plan.__self__._others.values()
    assert len(face.entries) == 64


def test_an_argument_that_f_branches_on_is_looked_at_again():
    def f(x, power):
        return x ** int(power) if power > 0 else torch.cumsum(x, 0)

    ask, x = jm.jacobian(f), draw(15, 4)
    for power in (2, 3, -1, 2):
        power = torch.tensor(power)
        np.testing.assert_allclose(ask(x, power), by_rows(f, (x, power)), **TOLERANCE)


def test_training_mode_is_another_function():
    net = nn.Sequential(nn.BatchNorm1d(3)).double()
    f, x = jm.jacobian(net), draw(14, 4, 3)
    for mode in (True, False):
        net.train(mode)
        expected = by_rows(net.train(mode), (x,)).reshape(4, 3, 4, 3)
        np.testing.assert_allclose(f(x).detach(), expected, **TOLERANCE)


# -- bad input -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("function", "args", "said"),
    [
        (torch.sin, (torch.arange(3),), "got dtype torch.int64"),
        (torch.sin, (torch.zeros(3, dtype=torch.complex64),), "got dtype torch.complex64"),
        (torch.sin, (torch.zeros(0),), "no entries to differentiate"),
        (lambda x: x > 0, (draw(0, 3),), "returned dtype torch.bool"),
        (lambda x: None, (draw(0, 3),), "returned"),
        (lambda x: x * x.sum().item(), (draw(0, 3),), "a Python number is read"),
        (lambda x: x[x > 0], (draw(0, 3),), "torch.where"),
    ],
)
def test_bad_input_gets_one_clear_error(function, args, said):
    with pytest.raises(jm.JacmapError, match=said):
        jm.jacobian(function)(*args)


def test_a_file_without_torch_says_so():
    with pytest.raises(jm.ArgumentError, match="expected an array of floats|expected a tensor"):
        jm.jacobian(lambda x, y: x, argnums=(0, 1))(draw(0, 3), "text")
