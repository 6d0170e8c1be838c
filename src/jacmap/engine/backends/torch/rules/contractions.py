"""Contractions: matrix products of all kinds; the known zeros of one side thin the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scipy.sparse import csr_array

from ....graph import Pattern, dependence
from ...rule import Rule, reverse_only
from ..call import Call
from .elementwise import each_output

Local = dict[tuple[int, int], Pattern]


@dataclass(frozen=True)
class Product:
    """Two operands by name, and the letter of each of their axes and of the result's: as in einsum."""

    left: str
    right: str
    letters: str
    added: str = ""  # an operand that is added to the product
    factor: str = ""  # the number that the product is multiplied by


def _contracted(product: Product):  # type: ignore[no-untyped-def]
    terms, out = product.letters.split("->")
    letters = dict(zip((product.left, product.right), terms.split(","), strict=True))

    def local(call: Call) -> Local:
        found: Local = {}
        for me, you in ((product.left, product.right), (product.right, product.left)):
            i = call.at(me)
            if i is None or not call.active[i] or call.params.get(product.factor) == 0:
                continue
            mine, yours = letters[me], letters[you]
            j = call.at(you)
            matrix = None if j is None else call.sparse(j)
            if matrix is not None:
                found[0, i] = _with_sparse(call.out, call.inputs[i], matrix, left=you == product.left)
                continue
            mask = None if j is None else call.nonzero(j)
            paired = [(out.index(a), mine.index(a)) for a in out if a in mine]
            summed = [mine.index(a) for a in mine if a not in out]
            other = None
            if mask is not None and j is not None:
                batch = [(yours.index(a), mine.index(a)) for a in yours if a in mine and a in out]
                free = [(yours.index(a), out.index(a)) for a in yours if a not in mine]
                contracted = [yours.index(mine[k]) for k in summed]
                other = (call.inputs[j], mask, contracted, batch, free)
            shape = tuple(_extent(call, a, out, letters, product) for a in out)
            found[0, i] = dependence.contraction(shape, call.inputs[i], paired, summed, other)
        i = call.at(product.added) if product.added else None
        if i is not None and call.active[i]:
            found[0, i] = each_output(call)[0, i]
        return found

    def affine(call: Call) -> bool:
        operands = [call.varying[i] for name in letters if (i := call.at(name)) is not None]
        return sum(operands) <= 1

    def work(call: Call) -> float:
        i = call.at(product.left)
        mine = letters[product.left]
        depth = 1
        for axis, a in enumerate(mine):
            if a not in out and i is not None:
                depth *= call.inputs[i][axis]
        return 2.0 * depth * dependence.size_of(call.out)

    return Rule("contraction", local, affine=affine, work=work)


def _with_sparse(out: tuple[int, ...], shape: tuple[int, ...], matrix: csr_array, left: bool) -> Pattern:
    """The product of a dense matrix (or vector) and a known sparse one, on its left or its right."""
    axis, core = (0, matrix) if left else (1, matrix.T.tocsr())
    return dependence.windows(out, shape, {axis: core}, [(a, a) for a in range(len(out)) if a != axis])


def _extent(call: Call, letter: str, out: str, letters: dict[str, str], product: Product) -> int:
    for name, axes in letters.items():
        i = call.at(name)
        if i is not None and letter in axes:
            return call.inputs[i][axes.index(letter)]
    return call.out[out.index(letter)]


def _distances(call: Call) -> Local:
    """cdist: x1 (…, P, M), x2 (…, R, M) → (…, P, R)."""
    local: Local = {}
    out = call.out
    for name, axis in (("x1", len(out) - 2), ("x2", len(out) - 1)):
        i = call.at(name)
        if i is not None and call.active[i]:
            shape = call.inputs[i]
            same = list(range(len(out) - 2)) if shape[:-2] == out[:-2] else []
            local[0, i] = dependence.by_axes(out, [*same, axis], shape, [*same, len(shape) - 2])
    return local


def _cross(call: Call) -> Local:
    """Component k of a cross product reads the two other components of each side."""
    local: Local = {}
    axis = call.params["dim"] % len(call.out)
    kept = [a for a in range(len(call.out)) if a != axis]
    for i, shape in enumerate(call.inputs):
        if call.active[i]:
            coupled = dependence.by_axes(call.out, kept, call.out, kept)
            local[0, i] = coupled @ dependence.elementwise(call.out, shape)
    return local


PRODUCTS: dict[str, Product] = {
    "mm": Product("self", "mat2", "ij,jk->ik"),
    "_sparse_addmm": Product("mat1", "mat2", "ij,jk->ik", "self", "alpha"),
    "bmm": Product("self", "mat2", "bij,bjk->bik"),
    "mv": Product("self", "vec", "ij,j->i"),
    "dot": Product("self", "tensor", "i,i->"),
    "vdot": Product("self", "other", "i,i->"),
    "addmm": Product("mat1", "mat2", "ij,jk->ik", "self", "alpha"),
    "baddbmm": Product("batch1", "batch2", "bij,bjk->bik", "self", "alpha"),
    "addbmm": Product("batch1", "batch2", "bij,bjk->ik", "self", "alpha"),
    "addmv": Product("mat", "vec", "ij,j->i", "self", "alpha"),
    "addr": Product("vec1", "vec2", "i,j->ij", "self", "alpha"),
}

RULES: dict[str, Rule] = {
    **{name: _contracted(product) for name, product in PRODUCTS.items()},
    "_sparse_addmm": replace(_contracted(PRODUCTS["_sparse_addmm"]), modes=reverse_only),
    "_cdist_forward": Rule("contraction", _distances, exact=False, modes=reverse_only),
    "_euclidean_dist": Rule("contraction", _distances, exact=False, modes=reverse_only),
    "linalg_cross": Rule("contraction", _cross, exact=False, affine=lambda call: sum(call.varying) == 1),
}
