"""Real PyTorch functions read into the graph: sound patterns, known structures, replays, and nothing left changed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_checks import check, nonzero, read, replayed, true_jacobian

from jacmap._errors import TraceError
from jacmap.engine.backends.torch.trace import graph_of
from jacmap.engine.graph import jacobian_pattern


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def blocks(pattern, count):
    """Is the pattern block diagonal with so many blocks?"""
    m, n = pattern.shape[0] // count, pattern.shape[1] // count
    return not (pattern & ~np.kron(np.eye(count, dtype=bool), np.ones((m, n), bool))).any()


def mlp():
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3), nn.LayerNorm(3))


def cnn():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 2, 2, groups=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 2),
    )


def encoder(dropout=0.0):
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=dropout, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


# -- networks --------------------------------------------------------------------------------------------------------


def test_mlp_keeps_the_batch_apart():
    reading, pattern = check(mlp(), torch.randn(4, 5))
    assert blocks(pattern, 4)
    assert not reading.constant and len(reading.externals) == 6
    assert any(node.place.scope == "3" for node in reading.graph.nodes)


def test_cnn_in_evaluation_and_in_training():
    network, x = cnn(), torch.randn(2, 2, 6, 6)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    versions = {name: value._version for name, value in network.state_dict().items()}
    _, training = read(network, [x])
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
        assert value._version == versions[name], name
    check(network, x)
    _, evaluating = check(network.eval(), x)
    assert blocks(evaluating, 2) and not blocks(training, 2)


def test_transformer_encoder():
    _, pattern = check(encoder().eval(), torch.randn(2, 3, 4))
    assert blocks(pattern, 2)


def test_dropout_is_frozen_and_the_random_state_put_back():
    network, x = encoder(0.3).train(), torch.randn(1, 3, 4)
    before = torch.get_rng_state()
    reading, pattern = read(network, [x])
    assert torch.equal(before, torch.get_rng_state())
    assert reading.samples > 0 and pattern.all()
    jacobian = true_jacobian(network, [x])
    assert not (nonzero(jacobian) & ~pattern).any()
    torch.set_rng_state(before)
    again = true_jacobian(lambda y: replayed(reading, [y]), [x])
    torch.set_rng_state(before)
    np.testing.assert_allclose(again, true_jacobian(network, [x]), rtol=1e-9, atol=1e-12)


def test_causal_attention_is_block_lower_triangular():
    x = torch.randn(1, 1, 5, 2)
    _, pattern = check(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), x)
    allowed = np.kron(np.tril(np.ones((5, 5), bool)), np.ones((2, 2), bool))
    np.testing.assert_array_equal(pattern, allowed)


def test_a_masked_softmax_thins_what_it_weighs_and_no_more():
    mask = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)

    def function(x):
        scores, values = x[:3], x[3:]
        return scores.masked_fill(mask, -torch.inf).softmax(1) @ values

    _, pattern = check(function, torch.randn(6, 3))
    by_values = np.kron(np.tril(np.ones((3, 3), bool)), np.eye(3, dtype=bool))
    np.testing.assert_array_equal(pattern[:, 9:], by_values)
    assert pattern[:, :9].sum() == 3 * 6


def test_a_mask_built_in_place_is_known():
    def function(x):
        mask = torch.full((4, 4), -torch.inf)
        mask.triu_(1)
        mask[3, 0] = -torch.inf
        weights = torch.zeros(4, 4)
        weights[1:, 1:] += torch.eye(3)
        return (x @ x.T + mask).softmax(-1) @ x + weights @ x

    _, pattern = check(function, torch.randn(4, 2))
    allowed = np.tril(np.ones((4, 4), bool))
    allowed[3, 0] = False
    np.testing.assert_array_equal(pattern, np.kron(allowed, np.ones((2, 2), bool)))


def test_gpt2_from_a_configuration():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=4, vocab_size=7, n_positions=8, resid_pdrop=0, attn_pdrop=0, embd_pdrop=0
    )
    network = transformers.GPT2LMHeadModel(config).double().eval()
    x = torch.randn(1, 4, 4)
    _, pattern = check(lambda x: network(inputs_embeds=x, use_cache=False).logits, x)
    allowed = np.kron(np.tril(np.ones((4, 4), bool)), np.ones((7, 4), bool))
    np.testing.assert_array_equal(pattern, allowed)


def test_zuko_flows():
    zuko = pytest.importorskip("zuko")
    x = torch.randn(4)
    for flow in (zuko.flows.NSF(4, transforms=1, hidden_features=[8]), zuko.flows.MAF(4, transforms=1)):
        _, pattern = check(lambda x, flow=flow: flow().transform(x), x)
        assert pattern.sum() == 10, "triangular, after the transform's own order"
    flow = zuko.flows.RealNVP(4, transforms=2, hidden_features=[8])
    check(lambda x: flow().transform(x), x)
    check(lambda x: flow().log_prob(x).reshape(1), x)


def test_recurrent_networks():
    cell = nn.RNNCell(3, 4)

    def loop(x):
        h = torch.zeros(1, 4)
        states = []
        for step in x:
            h = cell(step[None], h)
            states.append(h)
        return torch.cat(states)

    _, pattern = check(loop, torch.randn(5, 3))
    np.testing.assert_array_equal(pattern, np.kron(np.tril(np.ones((5, 5), bool)), np.ones((4, 3), bool)))
    for network in (nn.LSTM(3, 4), nn.GRU(3, 4)):
        _, pattern = check(lambda x, network=network: network(x)[0], torch.randn(4, 2, 3))
        apart = np.kron(np.tril(np.ones((4, 4), bool)), np.kron(np.eye(2, dtype=bool), np.ones((4, 3), bool)))
        np.testing.assert_array_equal(pattern, apart)


# -- in-place code ---------------------------------------------------------------------------------------------------


def slices(x):
    y = torch.zeros(3, 4)
    y[0] = x[0] * 2
    y[1:, 1:3] = x[1:, :2]
    y[2] += x[0].sin()
    return y


def through_views(x):
    y = x.clone()
    middle = y.view(12)[2:9]
    inner = middle[1:4]
    inner.mul_(3).add_(x[1, :3])
    return y + middle.sum()


def overwritten(x):
    y = x * 2
    z = y[:, 0]
    y.zero_()
    y[1] = x[0]
    return torch.cat([y.reshape(-1), z])


def with_out(x):
    y = torch.empty(3, 4)
    with torch.no_grad():
        torch.mul(x, 2, out=y)
    return y + x


def input_changed(x):
    x += 1
    x[:, 0] = 0
    return x * x.flip(0)


def made_without_gradient(x):
    with torch.no_grad():
        y = x * 2
    y += x
    y[0] *= 3
    z = torch.zeros(3, 4)
    with torch.no_grad():
        z.copy_(x)
    return y + z


def noisy(x):
    torch.manual_seed(1)
    return F.rrelu(x, training=True) + F.rrelu_(x * 1, training=True)


def switched_off(x):
    y = x * 2
    with torch.no_grad():
        z = y * x
        y[0] = 0
    y.detach()[1] = 5
    return y + z


def by_index(x):
    y = x.clone()
    y[[0, 2]] = y[[2, 0]]
    y[x > 10] = 0
    y.index_add_(0, torch.tensor([1, 1]), x[:2])
    y.masked_fill_(torch.eye(3, 4, dtype=torch.bool), 1.0)
    y.scatter_(1, torch.tensor([[0], [1], [2]]), x[:, 3:])
    return y.clamp_(min=-1)


IN_PLACE = [slices, through_views, overwritten, with_out, input_changed, switched_off, by_index, made_without_gradient]


@pytest.mark.parametrize("function", IN_PLACE)
def test_in_place(function):
    check(function, torch.randn(3, 4))


def test_random_operations_that_follow_their_input():
    _, pattern = check(noisy, torch.randn(3, 4), replay=False)
    assert pattern.diagonal().all()


def test_slices_are_exact():
    check(slices, torch.randn(3, 4), exact=True)
    check(overwritten, torch.randn(3, 4), exact=True)


def test_an_outside_buffer_is_written_and_put_back():
    buffer = torch.zeros(3)
    part = buffer[1:]

    def function(x):
        part.copy_(x[:2].detach())
        part.mul_(2)
        return x * buffer

    reading, _ = read(function, [torch.randn(3)])
    assert torch.equal(buffer, torch.zeros(3)) and part._version == 0
    values = reading.outputs[0]
    assert values[0] == 0 and values[1] != 0


@st.composite
def programs(draw):
    steps = st.sampled_from(["view", "slice", "add", "mul", "write", "scale", "flip", "sum", "select", "transpose"])
    return draw(st.lists(st.tuples(steps, st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=9))


def run(program, x):
    """A random program on 2×3 tensors and views of them; every step makes one more."""
    made = [x * 1.0, x.flip(1) * 2.0]
    for step, i, j in program:
        a, b = made[i % len(made)], made[j % len(made)]
        if step == "view":
            made.append(a.view(2, 3) if a.is_contiguous() else a.clone())
        elif step == "slice":
            made.append(a[:, ::2].repeat(1, 2)[:, :3])
        elif step == "add":
            a.add_(b.detach().clone() if j % 3 == 0 else b.clone())
        elif step == "mul":
            made.append(a.clone() * b.clone())
        elif step == "write":
            a[:, j % 3] = b[:, i % 3].clone()
        elif step == "scale":
            a[j % 2].mul_(2.0)
        elif step == "flip":
            made.append(a.flip(0))
        elif step == "sum":
            a[:, i % 3].add_(b.sum(1))
        elif step == "select":
            a.select(1, j % 3).copy_(b.clone()[:, 0])
        else:
            made.append(a.t().contiguous().view(2, 3))
    return torch.cat(made)


@settings(max_examples=60)
@given(programs())
def test_random_programs_with_views_and_writes(program):
    x = torch.arange(1.0, 7.0, dtype=torch.float64).reshape(2, 3) / 7
    check(lambda x: run(program, x), x)


# -- indexing, stencils, sparse matrices -----------------------------------------------------------------------------


def test_packed_sequences():
    network = nn.LSTM(2, 3)
    check(lambda x: network(nn.utils.rnn.pack_padded_sequence(x, [3, 2]))[0].data, torch.randn(3, 2, 2))


def test_where_index_einsum():
    w = torch.randn(3, 4, 2)
    check(lambda x: torch.where(x > 0, x.roll(1, 1), x[:, [3, 0, 0, 1]]), torch.randn(3, 4))
    check(lambda x: torch.einsum("bi,bij->bj", x, w), torch.randn(3, 4), exact=True)
    check(lambda x: x.gather(1, x.argsort(1)).cumsum(1), torch.randn(2, 3))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_sparse_constant(layout):
    matrix = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    matrix = matrix.to_sparse() if layout == "coo" else matrix.to_sparse_csr()
    check(lambda x: torch.sparse.mm(matrix, x.sin()), torch.randn(3, 2), exact=True, replay=True)
    check(lambda x: (matrix @ x[:, None])[:, 0] ** 2, torch.randn(3), exact=True)


def test_a_write_into_a_sparse_tensor_is_refused():
    with pytest.raises(TraceError, match="returns a new tensor"):
        read(lambda x: torch.sparse.mm(torch.eye(3).to_sparse().mul_(2), x), [torch.randn(3, 2)])


def brusselator(u):
    x, y = u

    def laplacian(z):
        return z.roll(1, 0) + z.roll(-1, 0) + z.roll(1, 1) + z.roll(-1, 1) - 4 * z

    return torch.stack([1 + x**2 * y - 4 * x + laplacian(x), 3 * x - x**2 * y + laplacian(y)])


def test_brusselator_has_exactly_its_stencil():
    reading, pattern = read(brusselator, [torch.rand(2, 5, 6)])
    assert pattern.sum() == 2 * 30 * 6
    np.testing.assert_array_equal(pattern, nonzero(true_jacobian(brusselator, [torch.rand(2, 5, 6)])))


def test_a_shared_inner_function_is_read_at_each_call():
    def product(a, b):
        return a * b

    zeros = torch.zeros(3)
    check(lambda x: product(x, zeros) + product(x, x), torch.randn(3), exact=True)


def test_linear_functions_are_affine():
    w = torch.randn(3, 4)
    reading, _ = read(lambda x: F.linear(x, w).roll(1) * 2 + 1, [torch.randn(4)])
    assert reading.graph.is_affine and reading.constant
    reading, _ = read(lambda x: F.linear(x, w).tanh(), [torch.randn(4)])
    assert not reading.graph.is_affine


# -- custom functions, derivatives inside f --------------------------------------------------------------------------


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return torch.zeros_like(g)


class Matrix(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mask):
        ctx.save_for_backward(x, mask)
        return (x * mask).sum(1)

    @staticmethod
    def backward(ctx, g):
        x, mask = ctx.saved_tensors
        return g[:, None] * mask * x.flip(0), None


class Undecided(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g.flip(0) if x.sum() > 0 else g


def test_custom_functions_are_read_by_their_backward():
    x = torch.randn(2, 3)
    reading, pattern = check(lambda x: Rounded.apply(x) * x, x, exact=True)
    assert not reading.graph.forward and reading.graph.reverse
    check(lambda x: Reversed.apply(x) + x, x, exact=True)
    mask = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    check(lambda x: Matrix.apply(x, mask), x, exact=True)
    reading, pattern = check(lambda x: Undecided.apply(x), x)
    assert pattern.all() and "could not be read" in reading.graph.notes()[0]


def test_a_derivative_from_elsewhere_is_taken_in_full():
    # What a C++ extension does: the forward runs without AD, the result has a derivative all the same.
    def function(x):
        return super(torch.autograd.Function, Rounded).apply(x).sin() * 2

    reading, pattern = check(function, torch.randn(3), replay=False)
    assert pattern.all() and "outside of Python" in reading.graph.notes()[0]


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_scripted_functions():
    @torch.jit.script
    def scripted(x: torch.Tensor) -> torch.Tensor:
        return x.sin() * x.tanh() + x.flip(0)

    for _ in range(4):  # by then it runs a graph with a derivative of its own
        check(lambda x: scripted(x), torch.randn(3), replay=False)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.func.grad(lambda a: (a**3 * a.roll(1)).sum())(x),
        lambda x: torch.func.vmap(lambda r: r.sin().cumsum(0))(x),
        lambda x: torch.func.jacrev(lambda a: a**2 * a.flip(0))(x).sum(0),
        lambda x: torch.func.jvp(lambda a: a**3, (x,), (torch.ones_like(x),))[1],
        lambda x: torch.func.hessian(lambda a: (a**3 * a.roll(1)).sum())(x[0, :3]),
        lambda x: torch.func.jacfwd(lambda a: a**3 * a.roll(1))(x[0]),
        lambda x: torch.func.jacrev(torch.func.jacrev(lambda a: (a**3 * a.roll(1)).sum()))(x[0]),
        lambda x: torch.autograd.functional.jacobian(lambda a: a**2, x[0], create_graph=True, vectorize=True),
        lambda x: torch.autograd.functional.hessian(lambda a: (a**3 * a.roll(1)).sum(), x[0], create_graph=True),
        lambda x: torch.func.vmap(torch.func.grad(lambda r: (r**3).sum()))(x),
        lambda x: torch.autograd.grad((x**3 * x.roll(1)).sum(), x, create_graph=True)[0],
        lambda x: torch.autograd.grad((x**3).sum(), x)[0] * x,
        lambda x: torch.utils.checkpoint.checkpoint(lambda y: y.sin() * y.flip(0), x, use_reentrant=False),
        lambda x: torch.view_as_real(torch.fft.fft(x).conj() * 2),
        lambda x: torch.complex(x, x.flip(0)).conj().imag.contiguous(),
    ],
)
def test_derivatives_and_transforms_inside(function):
    reading, _ = check(function, torch.randn(3, 4), replay=False)
    assert not reading.graph.notes(), "followed to the end, not given up"


def test_jacobian_of_a_gradient_is_as_sparse_as_it_is():
    check(lambda x: torch.func.grad(lambda a: (a**3).sum())(x), torch.randn(4), exact=True)
    check(lambda x: x.detach() * x + x.data, torch.randn(4), exact=True)


# -- what is refused, and how ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function, said",
    [
        (lambda x: x if x.sum() > 0 else -x, "torch.where"),
        (lambda x: x * x.max().item(), "number"),
        (lambda x: x[x > 0], "shape"),
        (lambda x: x.nonzero() * 1.0, "shape"),
        (lambda x: torch.unique(x), "shape"),
        (lambda x: x * x.tolist()[0], "Tensor.tolist"),
        (lambda x: x * torch.from_numpy(x.detach().numpy()), "Tensor.numpy"),
        (lambda x: x * float(np.asarray(x.detach()).sum()), "Tensor.numpy"),
        (lambda x: x.masked_select(x > 0), "shape"),
    ],
)
def test_branching_on_the_input_is_refused(function, said):
    x = torch.randn(4, requires_grad=True)
    state, numpy, apply = torch.get_rng_state(), torch.Tensor.numpy, torch.autograd.Function.__dict__["apply"]
    with pytest.raises(TraceError, match=said) as raised:
        read(function, [x])
    assert "test_torch_trace.py" in str(raised.value)
    assert torch.equal(state, torch.get_rng_state()) and torch.Tensor.numpy is numpy
    assert torch.autograd.Function.__dict__["apply"] is apply and x.grad is None and x.requires_grad


def test_branching_on_constants_is_fine_and_watched():
    flag = torch.tensor([1.0, 0.0])

    def function(x):
        return x.flip(0) if flag[0] > 0 and x.shape[0] == int(flag.numel()) else x

    reading, pattern = read(function, [torch.randn(2)])
    np.testing.assert_array_equal(pattern, [[False, True], [True, False]])
    assert reading.fresh()
    flag[0] = -1
    assert not reading.fresh()


def test_branching_on_another_argument_is_told():
    def call(moving, others):
        return [moving[0].flip(0) if others[1].sum() > 0 else moving[0] * others[0]]

    reading = graph_of(call, [torch.randn(2)], [torch.ones(2), torch.ones(2)])
    assert reading.steering == (1,)


def test_masks_are_known_while_they_stay_as_they_are():
    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(3, 3)
            self.register_buffer("mask", torch.tril(torch.ones(3, 3)))

        def forward(self, x):
            return F.linear(x, self.mask * self.weight, self.bias)

    network = Masked()
    reading, pattern = check(network, torch.randn(3))
    np.testing.assert_array_equal(pattern, np.tril(np.ones((3, 3), bool)))
    assert reading.fresh()
    with torch.no_grad():
        network.weight.mul_(2)
    assert reading.fresh(), "weights are generic, whatever they are"
    network.mask.fill_(1)
    assert not reading.fresh()


def test_what_the_code_makes_is_no_outside_tensor():
    def function(x):
        return x * torch.from_numpy(np.array([1.0, 0.0])) + x[[1, 0]] * torch.tensor([0.0, 1.0])

    reading, pattern = read(function, [torch.randn(2)])
    np.testing.assert_array_equal(pattern, [[True, False], [True, False]])
    assert reading.fresh() and reading.constant


def test_a_buffer_that_is_replaced_is_noticed():
    network = nn.Module()
    network.register_buffer("mask", torch.tensor([1.0, 0.0]))
    reading, pattern = read(lambda x: x * network.mask, [torch.randn(2)])
    assert pattern.sum() == 1 and reading.fresh()
    network.mask = torch.ones(2)
    assert not reading.fresh()


def test_zeros_of_parameters_never_count():
    network = nn.Linear(3, 2)
    with torch.no_grad():
        network.weight.zero_()
    _, pattern = read(network, [torch.randn(3)])
    assert pattern.all()


def test_gradients_and_flags_are_put_back_after_an_error():
    network = nn.Linear(3, 3)

    def function(x):
        network(x).sum().backward()
        network.bias.requires_grad_(False)
        return x if x.sum() > 0 else -x

    with pytest.raises(TraceError):
        read(function, [torch.randn(3)])
    assert network.weight.grad is None and network.bias.requires_grad


def test_replay_sees_todays_weights():
    network, x = nn.Linear(3, 2), torch.randn(3)
    reading, _ = read(network, [x])
    with torch.no_grad():
        network.weight.add_(1)
    torch.testing.assert_close(replayed(reading, [x])[0], network(x))


def test_replay_runs_under_torch_func():
    reading, _ = read(through_views, [torch.randn(3, 4)])
    xs = torch.randn(2, 3, 4)
    stacked = torch.func.vmap(lambda x: replayed(reading, [x])[0])(xs)
    torch.testing.assert_close(stacked, torch.stack([through_views(x) for x in xs]))
    tangent = torch.func.jvp(lambda x: replayed(reading, [x])[0], (xs[0],), (torch.ones(3, 4),))[1]
    torch.testing.assert_close(tangent, torch.func.jvp(through_views, (xs[0],), (torch.ones(3, 4),))[1])


def test_several_inputs_and_outputs():
    def call(moving, others):
        a, b = moving
        return [a * others[0], (b @ a)[None], torch.ones(2)]

    reading = graph_of(call, [torch.randn(3), torch.randn(3)], [torch.randn(3)])
    pattern = jacobian_pattern(reading.graph).todense()
    assert reading.graph.shape == (6, 6)
    assert pattern[:3, :3].sum() == 3 and pattern[3].all() and not pattern[4:].any()


def test_where_a_node_stands():
    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Tanh()))
    reading, _ = read(lambda x: network(x) * 2, [torch.randn(3)])
    places = {node.op: node.place for node in reading.graph.nodes}
    assert places["tanh"].scope == "1.0" and "test_torch_trace.py" in places["mul"].line
