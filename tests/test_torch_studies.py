"""Studies of functions of PyTorch tensors: the same as of their twins in JAX, and as PyTorch's own derivatives."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_scenarios import MLP, SCENARIOS, StraightThrough, by_rows, draw
from typer.testing import CliRunner

import jacmap as jm
from jacmap._cli import app
from jacmap._torch.to_jax import in_jax
from jacmap._torch.to_jax.table import TABLE

WEIGHTS = {name: p.detach().numpy() for name, p in MLP.named_parameters()}


def mlp(x):
    """The twin of `MLP`, in JAX."""
    return WEIGHTS["2.weight"] @ jnp.tanh(WEIGHTS["0.weight"] @ x + WEIGHTS["0.bias"]) + WEIGHTS["2.bias"]


def alike(ours, theirs, where=""):
    """Two studies as plain data: equal, numbers up to rounding; what they are called may differ."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for key in theirs:
            if key not in ("name", "place", "words", "made", "plan", "directions"):
                alike(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), where
        for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            alike(a, b, f"{where}[{k}]")
    elif isinstance(theirs, (float, np.ndarray)) and ours is not None:
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9, err_msg=where)
    elif not isinstance(theirs, str):
        assert ours == theirs, where


def once(f, *args):
    """f at `args`, compiled without the optimisations that take the time."""
    return jax.jit(f).lower(*args).compile({"xla_backend_optimization_level": 0})(*args)


# -- the translation ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_the_jacobian_of_the_translation(scenario):
    g, arrays = in_jax(scenario.function, scenario.args, scenario.argnums)
    if "stored" in scenario.name:  # AD does not go through what can be recorded
        with pytest.raises(jm.TraceError, match="was stored before f was read"):
            g(*arrays)
        return
    where = np.atleast_1d(scenario.argnums)
    leaves, tree = jax.tree_util.tree_flatten([arrays[k] for k in where])
    sizes = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def flat(vector):
        moved = [part.reshape(leaf.shape) for part, leaf in zip(jnp.split(vector, sizes), leaves, strict=True)]
        given = list(arrays)
        for k, value in zip(where, jax.tree_util.tree_unflatten(tree, moved), strict=True):
            given[k] = value
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree_util.tree_leaves(g(*given))])

    found = once(jax.jacrev(flat), jnp.concatenate([leaf.ravel() for leaf in leaves]))
    np.testing.assert_allclose(found, by_rows(scenario.function, scenario.args, scenario.argnums), atol=1e-10)


def attention(x):
    return F.scaled_dot_product_attention(x, x, x, is_causal=True)


def zuko_flow(name, **options):
    zuko = pytest.importorskip("zuko")
    torch.manual_seed(0)
    flow = getattr(zuko.flows, name)(features=3, transforms=2, hidden_features=(6,), **options).double()
    return lambda x: flow().log_prob(x)


def gpt2():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=20, n_positions=8,
                                     bos_token_id=0, eos_token_id=0)  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).double().eval()
    return lambda x: model(inputs_embeds=x, use_cache=False).logits


def convolutions(training):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2, dilation=2, padding=2), nn.BatchNorm2d(4), nn.SiLU(), nn.MaxPool2d(2),
        nn.ConvTranspose2d(4, 2, 3, 2, 1, 1), nn.GroupNorm(2, 2), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(3),
    )  # fmt: skip
    return net.double().train(training)


def recurrent(kind):
    torch.manual_seed(0)
    net = kind(3, 4, bidirectional=True).double()
    return lambda x: net(x)[0]


NETWORKS = {
    "GRU": (lambda: recurrent(nn.GRU), (3, 2, 3)),
    "convolutions, training": (lambda: convolutions(True), (2, 2, 6, 6)),
    "convolutions, eval": (lambda: convolutions(False), (2, 2, 6, 6)),
    "causal attention": (lambda: attention, (2, 2, 4, 3)),
    "masked autoregressive flow": (lambda: zuko_flow("MAF"), (2, 3)),
    "neural spline flow": (lambda: zuko_flow("NSF"), (2, 3)),
    "GPT-2": (gpt2, (1, 4, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    make, shape = NETWORKS[name]
    f, x = make(), draw(1, *shape)
    g, (array,) = in_jax(f, (x,))
    leaf = x.clone().requires_grad_()
    y = f(leaf)
    u = np.random.default_rng(0).standard_normal(tuple(y.shape))
    ours = once(lambda a: jax.vjp(g, a)[1](u)[0], array)
    (theirs,) = torch.autograd.grad(y, leaf, torch.from_numpy(u))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def test_scopes_and_lines_are_kept():
    J = jm.linearize(*(lambda g, a: (g, *a))(*in_jax(MLP, (draw(0, 7),))))
    assert {node.place.scope for node in J._traced.graph.nodes} == {"0", "1", "2"}
    g, (x,) = in_jax(attention, (draw(0, 1, 1, 3, 2),))
    lines = {node.place.line for node in jm.linearize(g, x)._traced.graph.nodes}
    assert len(lines) == 1 and lines.pop().endswith("(attention)")
    flow = jm.gradient_flow(MLP, draw(0, 7))
    assert all(row.place.startswith("test_torch_studies.py") for row in flow.rows), "no line of JAX's"


def test_a_row_that_is_wrong_is_noticed(monkeypatch):
    monkeypatch.setitem(TABLE, "tanh", lambda p: jnp.sin(p.self))
    with pytest.raises(jm.StructureError, match="translation to JAX gives other values"):
        jm.sensitivity(MLP, draw(0, 7))


def test_an_operation_without_a_row_is_named():
    with pytest.raises(jm.TraceError, match=r"cannot translate 'fractional_max_pool2d' at .*test_torch_studies.py"):
        jm.sensitivity(lambda x: F.fractional_max_pool2d(x, 2, (2, 2)), draw(0, 1, 1, 5, 5))


def test_double_precision_must_be_switched_on():
    with jax.enable_x64(False), pytest.raises(jm.ArgumentError, match="jax_enable_x64.*float"):
        jm.sensitivity(MLP, draw(0, 7))


class Doubled(torch.autograd.Function):
    """Its backward mixes entries: what goes back to entry k was at entry k + 1."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return torch.roll(grad, 1) * 3


@pytest.mark.parametrize("function, modes", [(StraightThrough, "both"), (Doubled, "reverse")])
def test_custom_functions(function, modes):
    f = lambda x: function.apply(torch.sin(x))  # noqa: E731
    x = draw(0, 4)
    g, (array,) = in_jax(f, (x,))
    expected = by_rows(f, (x,))
    np.testing.assert_allclose(jax.jacrev(g)(array), expected, atol=1e-12)
    np.testing.assert_allclose(jm.linearize(g, array).dense(), expected, atol=1e-12)
    with pytest.raises(jm.ModeError, match="no derivative in JAX"):
        jm.laplacian(lambda x: f(x).square())(x)  # of several outputs: translated
    loss = lambda x: f(x).square().sum()  # noqa: E731
    torch.testing.assert_close(jm.hessian(loss)(x), torch.autograd.functional.hessian(loss, x))
    if modes == "both":
        assert str(jm.linearize(g, array).structure) == "diagonal"
        np.testing.assert_allclose(jax.jacfwd(g)(array), expected, atol=1e-12)


# -- studies -----------------------------------------------------------------------------------------------------------
def test_geometry_of_a_plane_map():
    def torch_square(z):
        return torch.stack([z[0] ** 2 - z[1] ** 2, 2 * z[0] * z[1]])

    def jax_square(z):
        return jnp.stack([z[0] ** 2 - z[1] ** 2, 2 * z[0] * z[1]])

    z = np.array([1.5, 0.5])
    ours = jm.geometry(jm.linearize(torch_square, torch.from_numpy(z)))
    theirs = jm.geometry(jm.linearize(jax_square, jnp.asarray(z)))
    alike(ours.to_dict(), theirs.to_dict())
    assert ours.det == pytest.approx(10) and ours.orientation == 1
    np.testing.assert_allclose(ours.singular_values, np.sqrt(10))
    assert [kind.name for kind in ours.kinds] == [kind.name for kind in theirs.kinds]


def test_sensitivity():
    x, data = draw(0, 7), draw(1, 40, 7)
    alike(jm.sensitivity(MLP, x).to_dict(), jm.sensitivity(mlp, x.numpy()).to_dict())
    alike(jm.sensitivity(jm.linearize(MLP, x)).to_dict(), jm.sensitivity(mlp, x.numpy()).to_dict())
    ours = jm.sensitivity(MLP, data=data, progress=False, resamples=20)
    alike(ours.to_dict(), jm.sensitivity(mlp, data=data.numpy(), progress=False, resamples=20).to_dict())
    by_module = jm.sensitivity(MLP, data=data.numpy(), progress=False, resamples=20)  # a module tells by itself
    alike(by_module.to_dict(), ours.to_dict())


def test_gradient_flow():
    x, target = draw(0, 6, 7), draw(1, 6, 5)
    ours = jm.gradient_flow(MLP, x, batch=True, loss=F.mse_loss, target=target)
    theirs = jm.gradient_flow(
        mlp, x.numpy(), batch=True, loss=lambda y, t: jnp.mean((y - t) ** 2), target=target.numpy()
    )
    assert len(ours.rows) == len(theirs.rows) == 2
    for a, b in zip(ours.rows, theirs.rows, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose([a.kept, a.gradient, a.own.largest.value], [b.kept, b.gradient, b.own.largest.value])
    moved = ours.at(x + 1)
    assert moved.rows[0].gradient != ours.rows[0].gradient


def test_planted_faults_of_gradient_flow():
    torch.manual_seed(0)
    dead = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).double()
    with torch.no_grad():
        dead[2].bias.fill_(-50.0)
    kinds = {finding.kind for finding in jm.gradient_flow(dead, draw(0, 12, 8), batch=True).diagnosis.findings}
    assert "dead" in kinds
    layers = [layer for _ in range(6) for layer in (nn.Linear(8, 8), nn.Sigmoid())]
    vanishing = jm.gradient_flow(nn.Sequential(*layers).double(), draw(0, 12, 8), batch=True, loss=torch.sum)
    assert "vanishing" in {finding.kind for finding in vanishing.diagnosis.findings}
    healthy = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)).double()
    for layer in healthy[::2]:
        nn.init.orthogonal_(layer.weight)
    assert jm.gradient_flow(healthy, draw(0, 12, 8), batch=True).diagnosis.healthy


def test_backprop_against_autograd():
    params = {name: p.detach() for name, p in MLP.named_parameters()}
    x, target = draw(0, 7), draw(1, 5)

    def network(p, x):
        return torch.func.functional_call(MLP, p, (x,))

    found = jm.backprop(network, params, x, loss=lambda y: F.mse_loss(y, target))
    hidden = torch.tanh(MLP[0](x)).detach().requires_grad_()
    value = F.mse_loss(MLP(x), target)
    expected = torch.autograd.grad(value, list(MLP.parameters()))
    assert found.value == pytest.approx(float(value.detach()))
    for (name, _), gradient in zip(MLP.named_parameters(), expected, strict=True):
        np.testing.assert_allclose(found.gradient[name], gradient, rtol=1e-10)
    (handed,) = torch.autograd.grad(F.mse_loss(MLP[2](hidden), target), hidden)
    cotangents = [made.cotangent for step in found.steps for made in step.makes]
    assert any(c is not None and c.size == 12 and np.allclose(c.ravel(), handed) for c in cotangents)
    assert {step.scope for step in found.steps} >= {"0", "1", "2"}


def loss_of(p, x):
    return torch.func.functional_call(MLP, p, (x,)).pow(2).mean()


def test_memory_and_precision():
    params = {name: p.detach() for name, p in MLP.named_parameters()}
    x = draw(0, 64, 7)
    plan = jm.memory_plan(loss_of, params, x, work="counted", progress=False)
    expected = torch.autograd.grad(MLP(x).pow(2).mean(), list(MLP.parameters()))
    gradient = jax.grad(plan.apply())({k: v.numpy() for k, v in params.items()}, x.numpy())
    for (name, _), theirs in zip(MLP.named_parameters(), expected, strict=True):
        np.testing.assert_allclose(gradient[name], theirs, rtol=1e-9, atol=1e-12)
    lost = jm.precision(loss_of, params, x, dtype="bfloat16")["bfloat16"]
    assert 1e-4 < lost.error < 5e-2
    with pytest.raises(jm.ArgumentError, match="functional_call"):
        jm.precision(lambda x: MLP(x).sum(), x)


# -- second order ------------------------------------------------------------------------------------------------------
def energy(x):
    return torch.sin(x).prod() + (x[1:] * x[:-1]).pow(2).sum()


def test_second_order_gives_tensors():
    x, v = draw(0, 5), draw(1, 5)
    expected = torch.func.hessian(energy)(x)
    found = jm.hessian(energy)(x)
    assert isinstance(found, torch.Tensor)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(jm.hessian(energy, form="sparse")(x).to_dense(), expected)
    torch.testing.assert_close(jm.hvp(energy, x, v), expected @ v)
    (product,) = jm.hvp(energy, (x,), (v,))
    torch.testing.assert_close(product, expected @ v)
    torch.testing.assert_close(jm.laplacian(energy)(x), expected.trace())
    assert "Hessian" in str(jm.hessian(energy).plan(x))
    model = jm.taylor(energy, x, 2)
    torch.testing.assert_close(model(v), energy(x) + torch.func.grad(energy)(x) @ v + v @ expected @ v / 2)
    torch.testing.assert_close(model.value, energy(x))
    assert model.remainder(0.1 * v).order == pytest.approx(3, abs=0.2)


def test_losses_of_second_order():
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    points, v = draw(3, 6, 2), draw(4, 6, 2)
    u = lambda p: net(p).pow(3).sum()  # noqa: E731

    def by_hand(p):
        H = torch.autograd.functional.hessian(u, p, create_graph=True)
        flat = H.reshape(12, 12)
        return flat.trace() + flat.pow(2).sum() + (flat @ v.reshape(12)).pow(2).sum()

    def ours(p):
        H = jm.hessian(u)(p).reshape(12, 12)
        return jm.laplacian(u)(p) + H.pow(2).sum() + jm.hvp(u, p, v).pow(2).sum()

    tracked = points.clone().requires_grad_()
    wanted = [tracked, *net.parameters()]
    for a, b in zip(
        torch.autograd.grad(ours(tracked), wanted, materialize_grads=True),
        torch.autograd.grad(by_hand(tracked), wanted, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    assert jm.laplacian(u).plan(points).chosen.forward + jm.laplacian(u).plan(points).chosen.reverse <= 12
    batch = torch.func.vmap(jm.hessian(u))(points.reshape(3, 2, 2))
    for found, p in zip(batch, points.reshape(3, 2, 2), strict=True):
        torch.testing.assert_close(found, torch.func.hessian(u)(p))


def test_second_order_says_what_it_wants():
    x = draw(0, 3)
    with pytest.raises(jm.ArgumentError, match=r"returned float64\[3\], expected one real number"):
        jm.hessian(lambda x: x**3)(x)
    with pytest.raises(jm.ArgumentError, match="because has_aux=True"):
        jm.hessian(lambda x: x.sum(), has_aux=True)(x)
    with pytest.raises(jm.ArgumentError, match="v: leaf 0"):
        jm.hvp(lambda x: x.pow(3).sum(), x, x[:2])
    with pytest.raises(jm.ArgumentError, match="layout of primals"):
        jm.hvp(lambda x, y: (x * y).sum(), (x, x), (x,))
    value, seen = jm.hessian(lambda x: (x.pow(3).sum(), x.sum()), has_aux=True)(x)
    torch.testing.assert_close(value, torch.diag(6 * x))
    torch.testing.assert_close(seen, x.sum())
    torch.testing.assert_close(jm.laplacian(lambda x: x**3)(x), 6 * x)
    assert not jm.hessian(lambda x: (x * torch.arange(3.0)).sum())(x).any()


def test_hessians_see_new_weights():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    f = lambda x: net(x).sum()  # noqa: E731
    H, x = jm.hessian(f), draw(0, 3)
    torch.testing.assert_close(H(x), torch.func.hessian(f)(x).detach())
    with torch.no_grad():
        net[2].weight.mul_(2)
    torch.testing.assert_close(H(x), torch.func.hessian(f)(x).detach())
    net[2] = nn.Linear(4, 1).double()
    torch.testing.assert_close(H(x), torch.func.hessian(f)(x).detach())
    assert net[2].weight.grad is None


# -- pictures, reports, the command line -------------------------------------------------------------------------------
def plane(z):
    return torch.stack([z[0] ** 2 - z[1] ** 2, 2 * z[0] * z[1]])


def test_pictures():
    plt = pytest.importorskip("matplotlib.pyplot")
    J, z = jm.linearize(MLP, draw(0, 7)), draw(0, 2)
    corners = (torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0]))
    for draw_it in (jm.plot.matrix, jm.plot.pattern, jm.plot.singular_values, jm.plot.gains):
        assert draw_it(J).has_data()
    assert jm.plot.circle_to_ellipse(plane, z).has_data()
    for draw_it in (jm.plot.grid, jm.plot.vector_field, jm.plot.volume_map):
        assert draw_it(plane, *corners).has_data()
    plt.close("all")


def test_report(tmp_path):
    path = jm.report.save(jm.linearize(plane, draw(0, 2)), tmp_path / "plane.html")
    text = path.read_text()
    assert "The Jacobian" in text and "def plane(z)" in text


FILE = """
import torch

net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh())
double = torch.nn.Linear(2, 3).double()
broken = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(4, 1))

def plane(z):
    x, y = z
    return torch.stack([x**2 - y**2, 2 * x * y])

def point():
    return torch.tensor([1.5, 0.5], dtype=torch.float64)
"""


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "functions.py").write_text(FILE)
    (tmp_path / "points.csv").write_text("1,2\n2,1\n0.5,0.25\n")
    for target, at in (("plane", "1.5,0.5"), ("plane", "functions.py:point"), ("net", "1,2"), ("double", "1,2")):
        result = CliRunner().invoke(app, ["explain", f"functions.py:{target}", "--at", at])
        assert result.exit_code == 0, result.output
        assert "plan for 'dense'" in result.output
        if target == "plane":
            assert "Value: [2, 1.5]" in result.output and "det J = 10" in result.output
    words = ["report", "functions.py:plane", "--at", "1.5,0.5", "--data", "points.csv", "-o", "out.html"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "over" in (tmp_path / "out.html").read_text()
    result = CliRunner().invoke(app, ["explain", "functions.py:broken", "--at", "1,2"])
    assert result.exit_code == 1
    assert "the function failed at" in result.output and "cannot be multiplied" in result.output


def test_torch_is_not_imported_for_others():
    code = """
import sys, jax.numpy as jnp, jacmap as jm
x = jnp.arange(3.0)
jm.geometry(jm.linearize(jnp.sin, x)); jm.sensitivity(jnp.sin, x); jm.hessian(lambda x: jnp.sum(x**3))(x)
jm.hvp(lambda x: jnp.sum(x**3), x, x); jm.taylor(jnp.sin, x)(x)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
