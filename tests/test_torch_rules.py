"""Every row of PyTorch's rule table, checked numerically against autograd. A row without an example fails."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_checks import nonzero, parts, read, replayed, true_jacobian

from jacmap.engine.backends.torch.rules import RULES

POINTS = 16
aten = torch.ops.aten


class Example:
    """A function that emits the operation, and the shapes (or whole tensors) of its arguments.

    Arguments given by shape are drawn from `domain`; tensors stay as they are. `loose` says why an example of an exact
    row does not reach every entry of its pattern.
    """

    def __init__(self, function, *args, domain=(-1.5, 1.5), loose=""):
        self.function, self.args, self.domain, self.loose = function, args, domain, loose

    def point(self, seed):
        rng = np.random.default_rng(seed)
        return [
            torch.from_numpy(np.asarray(rng.uniform(*self.domain, size=a))) if isinstance(a, tuple) else a
            for a in self.args
        ]


def E(function, *args, **options):
    return Example(function, *args, **options)


V, M = (4,), (2, 3)
INDEX = torch.tensor([2, 0, 2])
MASK = torch.tensor([[True, False, True], [False, True, True]])
FIRST = torch.tensor([[True, False, False], [False, False, False]])
SPARSE = torch.tensor([[0.0, 2.0, 0.0, 1.0], [3.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
ZEROS = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
COMPLEX = "an entry of a complex value is two numbers"


def symmetric(x):
    return x @ x.mT + 3 * torch.eye(x.shape[-1], dtype=x.dtype)


def spread(x):
    """Eigenvalues and singular values that stay apart."""
    return x + torch.diag_embed(4.0 * torch.arange(1, x.shape[-1] + 1, dtype=x.dtype))


def move(name, *rest, shape=(2, 3, 4), **options):
    return [E(lambda x: getattr(aten, name)(x, *rest), shape, **options)]


def stochastic(name, *rest):
    def function(x):
        torch.manual_seed(0)
        return getattr(torch, name)(x.sigmoid(), *rest) * 1.0

    return [E(function, M)]


def fractional(x):
    return F.fractional_max_pool2d(x, 2, (2, 2), _random_samples=torch.full((1, 1, 2), 0.4).to(x))


def integers(function):
    return [E(lambda x: torch.ones(2, dtype=x.dtype) * function(x).sum(), M)]


def written(x):
    y = x * 1
    y[0] = y[1] * 2
    return y


def view_after(x):
    y = x * 1
    row = y[1]
    y.mul_(2)
    return row


def unseen(x):
    y = x * 2
    with torch.no_grad():
        y[0] = 3.0
    return y


def training(x, w, b):
    return F.batch_norm(x, torch.zeros(3, dtype=x.dtype), torch.ones(3, dtype=x.dtype), w, b, training=True)


def running(x):
    mean, var = torch.zeros(3, dtype=x.dtype), torch.ones(3, dtype=x.dtype)
    F.batch_norm(x, mean, var, training=True)
    return mean


def twice(x):
    return torch.cat([x, x])


def complex_of(x):
    return torch.complex(x[0], x[1])


def grid(x):
    return x.tanh().reshape(1, 2, 3, 2)


def pool(name, *rest, shape=(1, 2, 5, 6)):
    return [E(lambda x: getattr(F, name)(x, *rest), shape)]


def up(size, mode, **options):
    def function(x):
        return F.interpolate(x, size=size, mode=mode, **options)

    return function


EXAMPLES = {
    # -- entry by entry
    "add": [E(lambda x, y: torch.add(x, y, alpha=2), M, (3,)), E(lambda x: x + 1, M)],
    "sub": [E(lambda x, y: x - y, M, (2, 1))],
    "rsub": [E(lambda x: aten.rsub(x, 2.0), M)],
    "neg": [E(lambda x: -x, M)],
    "clone": [E(lambda x: x.clone(), M)],
    "_to_copy": [E(lambda x: x.to(torch.float32).to(torch.float64), M)],
    "_conj": [E(lambda x: complex_of(x).conj() * 1, M, loose=COMPLEX)],
    "_conj_physical": [E(lambda x: aten._conj_physical(complex_of(x)), M, loose=COMPLEX)],
    "copy": [E(lambda x: torch.empty(2, 3, dtype=x.dtype).copy_(x), (3,))],
    "mul": [
        E(lambda x, y: x * y, M, M),
        E(lambda x, y: x * y, ZEROS, M),
        E(lambda x: x * x.flip(0), M),
    ],
    "div": [E(lambda x, y: x / y, M, M, domain=(0.3, 2)), E(lambda x, y: x / y, ZEROS, M, domain=(0.3, 2))],
    "where": [
        E(lambda x, y: torch.where(MASK, x, y), M, M),
        E(lambda x, y: torch.where(x > 0, x, y), M, (3,)),
    ],
    "masked_fill": [
        E(lambda x: x.masked_fill(MASK, 2.0), M),
        E(lambda x, v: x.masked_fill(MASK, v), M, ()),
        E(lambda x: x.masked_fill(x > 0, 2.0), M),
    ],
    "pow": [
        E(lambda x: x**3, M),
        E(lambda x, y: x**y, M, M, domain=(0.3, 2)),
        E(lambda x: x**0, M),
        E(lambda x: 2.0**x, M),
    ],
    "addcmul": [E(lambda x, y, z: torch.addcmul(x, y, z), M, M, M), E(lambda y, z: torch.addcmul(y, y, z), M, ZEROS)],
    "addcdiv": [
        E(lambda x, y, z: torch.addcdiv(x, y, z), M, M, M, domain=(0.3, 2)),
        E(lambda z: torch.addcdiv(z, ZEROS, z), M, domain=(0.3, 2)),
    ],
    "lerp": [E(lambda x, y, w: torch.lerp(x, y, w), M, M, M), E(lambda x, y: torch.lerp(x, y, 0.3), M, M)],
    "view_as_real": [E(lambda x: torch.view_as_real(complex_of(x)), M)],
    "view_as_complex": [E(lambda x: torch.view_as_complex(x).sin(), (3, 2))],
    "complex": [E(torch.complex, M, M, loose=COMPLEX)],
    "log_sigmoid_forward": [E(F.logsigmoid, M)],
    "_neg_view": [E(lambda x: complex_of(x).conj().imag * 1, M, loose=COMPLEX)],
    "glu": [E(lambda x: F.glu(x, 1), (3, 4))],
    "polar": [E(torch.polar, M, M, loose=COMPLEX, domain=(0.3, 2))],
    "_prelu_kernel": [E(F.prelu, (2, 3), (3,), loose="the slope counts where the input is negative")],
    **{
        name: [
            E(lambda x, f=f: f(x, ZEROS / 4, reduction="none"), M, domain=(0.1, 0.9)),
            E(lambda x, f=f: f(x, ZEROS / 4), M, domain=(0.1, 0.9)),
        ]
        for name, f in {
            "mse_loss": F.mse_loss,
            "smooth_l1_loss": F.smooth_l1_loss,
            "huber_loss": F.huber_loss,
            "binary_cross_entropy": F.binary_cross_entropy,
            "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
        }.items()
    },
    "soft_margin_loss": [E(lambda x: F.soft_margin_loss(x, torch.ones(2, 3).to(x), reduction="none"), M)],
    # -- no derivative
    **{
        name: integers(function)
        for name, function in {
            "sign": torch.sign,
            "sgn": torch.sgn,
            "round": torch.round,
            "floor": torch.floor,
            "ceil": torch.ceil,
            "trunc": torch.trunc,
            "floor_divide": lambda x: torch.floor_divide(x.detach(), 0.3) * x.sign(),
            "heaviside": lambda x: torch.heaviside(x.detach(), x.detach()),
            "detach": lambda x: x.detach(),
            "argmax": lambda x: x.argmax(1),
            "argmin": lambda x: x.argmin(1),
            "bucketize": lambda x: torch.bucketize(x, torch.tensor([0.0, 1.0], dtype=x.dtype)),
            "searchsorted": lambda x: torch.searchsorted(torch.tensor([0.0, 1.0], dtype=x.dtype), x),
            "histc": lambda x: torch.histc(x.detach()),
            "count_nonzero": lambda x: torch.count_nonzero(x),
        }.items()
    },
    "sample": stochastic("bernoulli") + stochastic("multinomial", 2) + stochastic("poisson"),
    "running_statistics": [E(running, (4, 3))],
    # -- movement
    "view": move("view", [4, 6]),
    "_unsafe_view": move("_unsafe_view", [4, 6]),
    "_reshape_alias": move("_reshape_alias", [4, 6], [6, 1]),
    "permute": move("permute", [2, 0, 1]),
    "t": move("t", shape=M),
    "transpose": move("transpose", 0, 2),
    "expand": move("expand", [5, 2, 3], shape=(2, 1)),
    "squeeze": move("squeeze", shape=(2, 1, 3)) + move("squeeze", 1, shape=(2, 1, 3)),
    "unsqueeze": move("unsqueeze", 1),
    "select": move("select", 1, -1),
    "slice": move("slice", 2, 0, 4, 2),
    "diagonal": move("diagonal", 1, 0, 2),
    "unfold": move("unfold", 2, 2, 1),
    "block_diag": [E(lambda x, y: torch.block_diag(x, y), M, (1, 2))],
    "col2im": [E(lambda x: F.fold(x, (3, 4), 2, padding=1), (1, 4, 20))],
    "_pack_padded_sequence": [E(lambda x: nn.utils.rnn.pack_padded_sequence(x, [3, 1])[0], (3, 2, 2))],
    "unfold_backward": [E(lambda x: aten.unfold_backward(x, [5], 0, 3, 1), (3, 3))],
    "unbind": move("unbind", 1),
    "split": move("split", 2, 1),
    "split_with_sizes": move("split_with_sizes", [1, 2], 1),
    "unsafe_split": move("unsafe_split", 2, 1),
    "unsafe_split_with_sizes": move("unsafe_split_with_sizes", [1, 2], 1),
    "cat": [E(lambda x, y: torch.cat([x, y, x]), M, (1, 3))],
    "stack": [E(lambda x, y: torch.stack([x, y], 1), M, M)],
    "roll": move("roll", [1, 2], [0, 2]),
    "flip": move("flip", [0, 2]),
    "rot90": move("rot90", 1, [0, 2]),
    "repeat": move("repeat", [2, 1, 3]),
    "tril": move("tril", 0, shape=(3, 4)),
    "triu": move("triu", 1, shape=(3, 4)),
    "diag_embed": move("diag_embed", 1),
    "constant_pad_nd": move("constant_pad_nd", [1, 2, -1, 0], 3.0),
    "reflection_pad1d": [E(lambda x: F.pad(x, (1, 2), mode="reflect"), (1, 2, 4))],
    "reflection_pad2d": [E(lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"), (1, 3, 4))],
    "reflection_pad3d": [E(lambda x: F.pad(x, (1, 1, 0, 1, 1, 0), mode="reflect"), (1, 2, 3, 2))],
    "replication_pad1d": [E(lambda x: F.pad(x, (1, 2), mode="replicate"), (1, 2, 4))],
    "replication_pad2d": [E(lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"), (1, 3, 4))],
    "replication_pad3d": [E(lambda x: F.pad(x, (1, 1, 0, 1, 1, 0), mode="replicate"), (1, 2, 3, 2))],
    "pixel_shuffle": move("pixel_shuffle", 2, shape=(4, 2, 3)),
    "pixel_unshuffle": move("pixel_unshuffle", 2, shape=(1, 4, 6)),
    "channel_shuffle": move("channel_shuffle", 2, shape=(1, 4, 2, 1)),
    "im2col": [E(lambda x: F.unfold(x, 2), (1, 2, 3, 4))],
    "slice_scatter": [E(lambda x, y: torch.slice_scatter(x, y, 1, 0, 2), M, (2, 2))],
    "select_scatter": [E(lambda x, y: torch.select_scatter(x, y, 1, 1), M, (2,))],
    "diagonal_scatter": [E(lambda x, y: torch.diagonal_scatter(x, y), M, (2,))],
    "slice_backward": move("slice_backward", [2, 7], 1, 0, 6, 2, shape=M),
    "select_backward": move("select_backward", [2, 4], 1, 2, shape=(2,)),
    "diagonal_backward": move("diagonal_backward", [2, 4], 0, 0, 1, shape=(2,)),
    "write": [E(written, M)],
    "unseen write": [E(unseen, M)],
    "read": [E(view_after, M)],
    # -- indexing
    "index": [
        E(lambda x: x[:, INDEX], M),
        E(lambda x: x[MASK], M),
        E(lambda x: x[torch.tensor([1, 0]), :, INDEX[:2]], (2, 3, 4)),
        E(lambda i, x: x[:, i], INDEX, M),
        E(lambda x: x[x.argmax(0)], (3, 2)),
    ],
    "_unsafe_index": [E(lambda x: aten._unsafe_index(x, [None, INDEX]), M)],
    "index_select": [E(lambda x: x.index_select(1, INDEX), M), E(lambda i, x: x.index_select(1, i), INDEX, M)],
    "gather": [
        E(lambda x: x.gather(1, torch.tensor([[0, 0], [2, 1]])), M),
        E(lambda x: x.gather(1, x.argsort(1)), M),
    ],
    "take": [E(lambda x: x.take(INDEX), M), E(lambda x: x.take(x.argmax(1)), M, loose="of the first three entries")],
    "embedding": [E(lambda w: F.embedding(INDEX, w), (4, 2)), E(lambda i, w: F.embedding(i, w), INDEX, (4, 2))],
    "masked_select": [E(lambda x: x.masked_select(MASK), M)],
    "index_put": [
        E(lambda x, v: x.index_put((torch.tensor([1, 0]), INDEX[:2]), v), M, (2,)),
        E(lambda x, v: x.index_put((INDEX,), v, accumulate=True), (3, 2), (3, 2)),
        E(lambda x, v: x.index_put((x < 0,), v), M, ()),
    ],
    "_unsafe_index_put": [E(lambda x, v: aten._unsafe_index_put(x, [None, INDEX[:2]], v), M, (2, 2))],
    "index_add": [E(lambda x, v: x.index_add(1, INDEX, v), M, (2, 3)), E(lambda i, v: v.index_add(1, i, v), INDEX, M)],
    "index_copy": [E(lambda x, v: x.index_copy(1, INDEX[:2], v), M, (2, 2))],
    "index_fill": [E(lambda x: x.index_fill(1, INDEX, 3.0), M), E(lambda x, v: x.index_fill(1, INDEX, v), M, ())],
    "scatter": [
        E(lambda x, v: x.scatter(1, torch.tensor([[0, 2], [1, 0]]), v), M, (2, 2)),
        E(lambda x: x.scatter(1, torch.tensor([[0, 2]]), 2.0), M),
        E(lambda x, v: x.scatter(1, x.argsort(1), v), M, M, loose="few indices are seen"),
    ],
    "scatter_add": [E(lambda x, v: x.scatter_add(1, torch.tensor([[0, 2], [1, 1]]), v), M, (2, 2))],
    "scatter_reduce": [E(lambda x, v: x.scatter_reduce(1, torch.tensor([[0, 2], [1, 1]]), v, "amax"), M, (2, 2))],
    "embedding_dense_backward": [
        E(lambda g: aten.embedding_dense_backward(g, INDEX, 4, -1, False), (3, 2)),
        E(lambda i, g: aten.embedding_dense_backward(g, i, 4, -1, False), INDEX, (3, 2)),
    ],
    # -- reductions
    "sum": [E(lambda x: x.sum((0, 2)), (2, 3, 4)), E(lambda x: x.sum(), M)],
    "mean": [E(lambda x: x.mean(1, keepdim=True), M)],
    "nansum": [E(lambda x: x.nansum(1), M)],
    "prod": [E(lambda x: x.prod(1), M), E(lambda x: x.prod(), M)],
    "amax": [E(lambda x: x.amax(0), M)],
    "amin": [E(lambda x: x.amin(1), M)],
    "max": [E(lambda x: x.max(1), M), E(lambda x: x.max(), M)],
    "min": [E(lambda x: x.min(1), M), E(lambda x: x.min(), M)],
    "aminmax": [E(lambda x: torch.aminmax(x, dim=1), M)],
    "median": [E(lambda x: x.median(1), M)],
    "nanmedian": [E(lambda x: x.nanmedian(1), M)],
    "mode": [E(lambda x: x.mode(1), M, loose="the mode of distinct numbers is the smallest")],
    "kthvalue": [E(lambda x: x.kthvalue(2, 1), M)],
    "var": [E(lambda x: x.var(1), M), E(lambda x: x.var(), M)],
    "std": [E(lambda x: x.std(1), M)],
    "var_mean": [E(lambda x: torch.var_mean(x, 1), M)],
    "std_mean": [E(lambda x: torch.std_mean(x, 1), M)],
    "logsumexp": [E(lambda x: x.logsumexp(1), M)],
    "norm": [E(lambda x: aten.norm(x, 2, [1]), M)],
    "linalg_vector_norm": [E(lambda x: torch.linalg.vector_norm(x, 3, 1), M)],
    "nll_loss_forward": [
        E(lambda x: F.nll_loss(x, INDEX[:2], reduction="none"), M),
        E(lambda x: F.nll_loss(x, INDEX[:2]), M),
    ],
    "nll_loss2d_forward": [E(lambda x: F.nll_loss(x, INDEX[None, :, None], reduction="none"), (1, 3, 3, 1))],
    "trace": [E(torch.trace, M)],
    "cumsum": [E(lambda x: x.cumsum(1), M)],
    "cumprod": [E(lambda x: x.cumprod(1), M)],
    "cummax": [E(lambda x: x.cummax(1), M)],
    "cummin": [E(lambda x: x.cummin(1), M)],
    "logcumsumexp": [E(lambda x: x.logcumsumexp(1), M)],
    "sort": [E(lambda x: x.sort(1), M), E(lambda x: x.sort(dim=1, stable=True), M)],
    "topk": [E(lambda x: x.topk(2, 1), M)],
    "renorm": [E(lambda x: x.renorm(2, 0, 0.5), M)],
    "_softmax": [
        E(lambda x: x.softmax(1), M),
        E(lambda x: x.masked_fill(MASK, -torch.inf).softmax(1), M, loose="one entry alone in its row is always 1"),
    ],
    "_log_softmax": [
        E(lambda x: x.log_softmax(1), M),
        E(lambda x: (x + torch.zeros_like(x).masked_fill(MASK, -torch.inf)).log_softmax(1)[~MASK], M, loose="as above"),
        E(lambda x: x.where(~FIRST, -torch.inf).log_softmax(1), (2, 3)),
    ],
    "_safe_softmax": [E(lambda x: aten._safe_softmax(x, 1), M)],
    "_softmax_backward_data": [E(lambda g, y: aten._softmax_backward_data(g, y, 1, torch.float64), M, M)],
    "_log_softmax_backward_data": [E(lambda g, y: aten._log_softmax_backward_data(g, y, 1, torch.float64), M, M)],
    # -- normalisation
    "native_layer_norm": [E(lambda x, w, b: F.layer_norm(x, (4,), w, b), (2, 3, 4), (4,), (4,))],
    "native_group_norm": [E(lambda x, w, b: F.group_norm(x, 2, w, b), (2, 4, 3), (4,), (4,))],
    "native_batch_norm": [
        E(training, (4, 3), (3,), (3,)),
        E(lambda x, w: F.batch_norm(x, torch.ones(3).to(x), torch.ones(3).to(x), w), (2, 3, 2), (3,)),
    ],
    "_weight_norm_interface": [E(lambda v, g: aten._weight_norm_interface(v, g, 0)[0], (3, 2), (3, 1))],
    # -- contractions
    "mm": [E(torch.mm, M, (3, 2)), E(torch.mm, ZEROS, (3, 2))],
    "_sparse_addmm": [
        E(lambda x: torch.sparse.mm(SPARSE.to_sparse(), x), (4, 2)),
        E(lambda x: torch.sparse.addmm(x[:2], SPARSE.to_sparse(), x), (4, 2)),
    ],
    "bmm": [E(torch.bmm, (2, 2, 3), (2, 3, 1))],
    "mv": [E(torch.mv, M, (3,)), E(torch.mv, SPARSE, (4,))],
    "dot": [E(torch.dot, V, V)],
    "vdot": [E(lambda x, y: aten.vdot(x, y), V, V)],
    "addmm": [E(lambda b, x, y: torch.addmm(b, x, y, beta=2), (2,), M, (3, 2))],
    "baddbmm": [E(torch.baddbmm, (2, 2, 1), (2, 2, 3), (2, 3, 1))],
    "addbmm": [E(torch.addbmm, (2, 1), (2, 2, 3), (2, 3, 1))],
    "addmv": [E(torch.addmv, (2,), M, (3,))],
    "addr": [E(torch.addr, M, (2,), (3,))],
    "_cdist_forward": [E(lambda x, y: torch.cdist(x, y, p=3.0), (2, 2, 3), (2, 4, 3))],
    "_euclidean_dist": [E(lambda x, y: aten._euclidean_dist(x, y), (2, 3), (4, 3))],
    "linalg_cross": [E(torch.linalg.cross, M, M)],
    # -- windows
    "convolution": [
        E(lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), (2, 2, 5, 4), (3, 2, 3, 2), (3,)),
        E(lambda x, w: F.conv1d(x, w, dilation=2, groups=2), (1, 4, 6), (2, 2, 2)),
        E(lambda x, w: F.conv_transpose1d(x, w, stride=2, padding=1, output_padding=1), (1, 2, 3), (2, 3, 3)),
        E(lambda x, w: F.conv_transpose1d(x, w, groups=2, dilation=2), (1, 4, 3), (4, 2, 2)),
        E(lambda x, w: F.conv1d(x, w), (1, 3, 4), ZEROS.reshape(1, 3, 2)),
        E(lambda x, w: F.conv3d(x, w, padding=1), (1, 1, 2, 2, 3), (1, 1, 3, 2, 2)),
    ],
    "avg_pool2d": pool("avg_pool2d", (2, 3), (2, 1), 1),
    "avg_pool3d": pool("avg_pool3d", 2, shape=(1, 1, 2, 3, 4)),
    "max_pool2d_with_indices": [E(lambda x: F.max_pool2d(x, (2, 3), (2, 1), 1), (1, 1, 4, 3))]
    + [E(lambda x: F.max_pool2d(x, 2, dilation=2, stride=1, ceil_mode=True), (1, 4, 5))],
    "max_pool3d_with_indices": pool("max_pool3d", (1, 2, 2), shape=(1, 1, 2, 2, 3)),
    "_adaptive_avg_pool2d": pool("adaptive_avg_pool2d", (2, 4)),
    "_adaptive_avg_pool3d": pool("adaptive_avg_pool3d", (2, 2, 3), shape=(1, 1, 2, 3, 4)),
    "adaptive_max_pool2d": pool("adaptive_max_pool2d", (2, 4), shape=(1, 1, 3, 5)),
    "adaptive_max_pool3d": pool("adaptive_max_pool3d", (2, 2, 1), shape=(1, 1, 2, 3, 2)),
    "fractional_max_pool2d": [E(fractional, (1, 1, 5, 5))],
    "upsample_nearest1d": [E(up((7,), "nearest"), (1, 2, 3))],
    "upsample_nearest2d": [E(up((5, 2), "nearest"), (1, 2, 3, 4))],
    "upsample_nearest3d": [E(up((3, 2, 5), "nearest"), (1, 1, 2, 3, 2))],
    "_upsample_nearest_exact1d": [E(up((7,), "nearest-exact"), (1, 2, 3))],
    "_upsample_nearest_exact2d": [E(up((5, 2), "nearest-exact"), (1, 2, 3, 4))],
    "_upsample_nearest_exact3d": [E(up((3, 2, 5), "nearest-exact"), (1, 1, 2, 3, 2))],
    "upsample_linear1d": [E(up((7,), "linear"), (1, 2, 3))],
    "upsample_bilinear2d": [E(up((5, 7), "bilinear", align_corners=True), (1, 2, 3, 4))],
    "upsample_trilinear3d": [E(up((3, 2, 5), "trilinear"), (1, 1, 2, 3, 2))],
    "upsample_bicubic2d": [E(up((5, 3), "bicubic"), (1, 1, 6, 4))],
    "_upsample_bilinear2d_aa": [E(up((3, 2), "bilinear", antialias=True), (1, 1, 5, 6))],
    "_upsample_bicubic2d_aa": [E(up((3, 2), "bicubic", antialias=True), (1, 1, 5, 6))],
    "grid_sampler_2d": [E(lambda x, g: F.grid_sample(x, grid(g), align_corners=False), (1, 2, 3, 3), (12,))],
    "grid_sampler_3d": [
        E(
            lambda x, g: F.grid_sample(x, g.tanh().reshape(1, 1, 2, 2, 3), align_corners=False),
            (1, 1, 2, 3, 2),
            (12,),
        )
    ],
    # -- linear algebra
    "linalg_cholesky_ex": [E(lambda x: torch.linalg.cholesky(symmetric(x)), (2, 2, 2))],
    "cholesky": [E(lambda x: aten.cholesky(symmetric(x)), (3, 3))],
    "cholesky_inverse": [E(lambda x: torch.cholesky_inverse(spread(x)), (3, 3))],
    "cholesky_solve": [E(lambda b, a: torch.cholesky_solve(b, spread(a)), (3, 2), (3, 3))],
    "linalg_inv_ex": [E(lambda x: torch.linalg.inv(spread(x)), (2, 3, 3))],
    "linalg_qr": [E(lambda x: torch.linalg.qr(x), (2, 4, 3))],
    "_linalg_eigh": [E(lambda x: torch.linalg.eigvalsh(spread(x)), (3, 3))],
    "linalg_eig": [E(lambda x: torch.linalg.eig(spread(x))[0], (3, 3))],
    "_linalg_svd": [E(lambda x: torch.linalg.svdvals(spread(x)), (2, 3, 3))],
    "_linalg_det": [E(lambda x: torch.linalg.det(x), (2, 3, 3))],
    "_linalg_slogdet": [E(lambda x: torch.linalg.slogdet(x)[1], (2, 3, 3))],
    "linalg_lu_factor_ex": [E(lambda x: torch.linalg.lu_factor(spread(x))[0], (3, 3))],
    "linalg_lu": [E(lambda x: torch.linalg.lu(spread(x))[1:], (3, 3))],
    "lu_unpack": [E(lambda x: torch.lu_unpack(x, torch.arange(1, 4, dtype=torch.int32))[1:], (3, 3))],
    "linalg_lu_solve": [
        E(lambda a, b: torch.linalg.lu_solve(spread(a), torch.arange(1, 4, dtype=torch.int32), b), (3, 3), (3, 2))
    ],
    "linalg_matrix_exp": [E(lambda x: torch.linalg.matrix_exp(x), (2, 2, 2))],
    "linalg_householder_product": [E(lambda x, t: torch.linalg.householder_product(x, t), (4, 3), (3,))],
    "linalg_solve_triangular": [
        E(lambda a, b: torch.linalg.solve_triangular(spread(a), b, upper=True), (3, 3), (2, 3, 2))
    ],
    "triangular_solve": [E(lambda b, a: torch.triangular_solve(b, spread(a))[0], (3, 2), (3, 3))],
    "_linalg_solve_ex": [
        E(lambda a, b: torch.linalg.solve(spread(a), b), (2, 3, 3), (2, 3)),
        E(lambda a, b: torch.linalg.solve(spread(a), b), (3, 3), (3, 2)),
        E(lambda a, b: torch.linalg.solve(spread(a), b, left=False), (3, 3), (2, 2, 3)),
    ],
    "_fft_r2c": [E(lambda x: torch.fft.rfft(x), (2, 4))],
    "_fft_c2r": [E(lambda x: torch.fft.irfft(complex_of(x)), (2, 2, 3))],
    "_fft_c2c": [E(lambda x: torch.fft.fft(complex_of(x), dim=0), (2, 3, 2))],
}


def cases():
    for name, examples in EXAMPLES.items():
        for number, example in enumerate(examples):
            for position, value in enumerate(example.point(0)):
                if value.dtype.is_floating_point:
                    yield pytest.param(name, example, position, id=f"{name}-{number}-{position}")


def runs_forward(function, args, position):
    def moving(x):
        return parts(function(*(x if k == position else a for k, a in enumerate(args))))

    try:
        torch.func.jvp(moving, (args[position],), (torch.ones_like(args[position]),))
    except NotImplementedError:
        return False
    return True


def test_every_row_has_an_example():
    assert sorted(RULES) == sorted(name for name, examples in EXAMPLES.items() if examples)


@pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")
@pytest.mark.parametrize("name, example, position", list(cases()))
def test_row(name, example, position):
    rule, function, args = RULES[name], example.function, example.point(0)
    reading, aware = read(function, args, position)
    unaware_reading, unaware = read(function, args, position, aware=False)
    assert name in {node.op for node in unaware_reading.graph.nodes}, "the example does not emit the operation"
    assert not (aware & ~unaware).any(), "knowing more must not add entries"

    assert (reading.graph.forward, reading.graph.reverse) == (runs_forward(function, args, position), True), "modes"

    seen = np.zeros(aware.shape, bool)
    found = []
    for seed in range(POINTS):
        there = example.point(seed)
        assert not (nonzero(true_jacobian(function, there, position)) & ~unaware).any(), "missing, arguments unknown"
        here = [there[i] if i == position else a for i, a in enumerate(args)]
        found.append(true_jacobian(function, here, position))
        seen |= nonzero(found[-1])
    assert not (seen & ~aware).any(), "missing entries, other arguments known"
    if rule.kind == "none":
        assert not aware.any()
    if rule.exact and not example.loose:
        np.testing.assert_array_equal(aware, seen)
    if reading.graph.is_affine:
        np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-12)
    again = true_jacobian(lambda x: replayed(reading, [x]), [args[position]])
    np.testing.assert_allclose(again, true_jacobian(function, args, position), rtol=1e-9, atol=1e-12)
