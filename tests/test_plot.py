"""What the plots show and say, read back from the axes and held against closed forms and plain NumPy."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from plot_cases import CASES, POINT, TRUST, bottleneck, rod, square
from scipy import sparse

import jacmap as jm


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def words(ax):
    """All that is written on the axes, and beside them."""
    figure = ax.figure
    figure.draw_without_rendering()
    return " | ".join(text.get_text() for text in figure.findobj(plt.Text) if text.get_text())


def image(ax, k=0):
    return np.ma.filled(np.ma.asarray(ax.images[k].get_array(), float), np.nan)


@pytest.mark.parametrize("name", CASES)
def test_without_axes_a_figure_is_made_whose_words_lie_inside(name):
    ax = CASES[name]()
    assert plt.get_fignums() == [ax.figure.number]
    figure = ax.figure
    figure.canvas.draw()
    inside = figure.bbox.padded(1.0)
    found = figure.get_tightbbox()
    low, high = found.get_points() * figure.dpi
    assert inside.contains(*low) and inside.contains(*high)
    assert ax.get_title() and ax.get_xlabel() and (ax.get_ylabel() or name in ("bars", "gains", "sensitivity_map"))


def test_axes_of_another_kind_are_refused():
    with pytest.raises(jm.ArgumentError, match="^ax: got ndarray, expected one matplotlib Axes"):
        jm.plot.bars([1.0], ax=np.array([1.0]))


# -- pattern ---------------------------------------------------------------------------------------------------
def brute_shares(dense, cells):
    m, n = dense.shape
    held, size = np.zeros(cells), np.zeros(cells)
    for i in range(m):
        for j in range(n):
            at = i * cells[0] // m, j * cells[1] // n
            size[at] += 1
            held[at] += dense[i, j] != 0
    return held / size


@pytest.mark.parametrize("shape", [(300, 7), (259, 300)])
def test_a_cell_of_a_large_pattern_is_the_share_of_its_entries(shape):
    dense = sparse.random_array(shape, density=0.02, rng=np.random.default_rng(1)).toarray()
    expected = brute_shares(dense, tuple(min(k, 256) for k in shape))
    for J in (dense, sparse.coo_array(dense), jm.Pattern.from_csr(sparse.csr_array(dense))):
        assert np.nan_to_num(image(jm.plot.pattern(J))) == pytest.approx(expected)


def test_a_pattern_that_shares_rows_and_columns_counts_as_its_matrix_does():
    def batch(x):
        return jnp.concatenate([jnp.ones((90, 90)) @ x[:90], x[90:] * jnp.sum(x[:3])])

    J = jm.linearize(batch, jnp.ones(300))
    shown = np.nan_to_num(image(jm.plot.pattern(J)))
    assert shown == pytest.approx(brute_shares(np.asarray(jax.jacfwd(batch)(jnp.ones(300))), (256, 256)))


def test_one_entry_among_400_million_is_seen():
    one = sparse.coo_array(([1.0], ([12_345], [678])), shape=(20_000, 20_000))
    ax = jm.plot.pattern(one)
    shown = image(ax)
    assert shown.shape == (256, 256)
    assert np.argwhere(np.isfinite(shown)).tolist() == [[12_345 * 256 // 20_000, 678 * 256 // 20_000]]
    assert "1 entry can be nonzero (2.5e−7 %)" in words(ax)


def test_a_full_pattern_is_not_unfolded():
    J = jm.linearize(lambda x: jnp.sum(x) * x, jnp.ones(20_000))
    ax = jm.plot.pattern(J)
    assert (image(ax) == 1).all() and "400,000,000 entries" in words(ax) and "dense" in ax.get_title()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (5, 2)])
def test_long_and_tiny_patterns(shape):
    ax = jm.plot.pattern(np.ones(shape))
    assert ax.get_xlim() == (-0.5, shape[1] - 0.5) and ax.get_ylim() == (shape[0] - 0.5, -0.5)


# -- matrix ----------------------------------------------------------------------------------------------------
def test_a_small_matrix_can_be_read():
    ax = jm.plot.matrix(jm.linearize(square, POINT), rows=["u", "v"], columns=["x", "y"])
    assert {t.get_position(): t.get_text() for t in ax.texts} == {(0, 0): "3", (1, 0): "−1", (0, 1): "1", (1, 1): "3"}
    assert [t.get_text() for t in ax.get_xticklabels()] == ["x", "y"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["u", "v"]
    assert "2×2, outputs × inputs" in ax.get_title()
    norm = ax.images[0].norm
    assert (norm.vmin, norm.vmax) == (-3, 3)


def test_what_is_not_finite_is_hatched_and_said():
    ax = jm.plot.matrix([[1.0, np.nan, np.inf]])
    assert ax.patch.get_hatch() and "2 cells not finite" in words(ax)
    assert [t.get_text() for t in ax.texts] == ["1"]
    assert not jm.plot.matrix([[1.0]]).patch.get_hatch()


def test_a_large_matrix_shows_the_largest_entry_of_each_cell_in_any_form():
    dense = sparse.random_array((300, 257), density=0.1, rng=np.random.default_rng(0)).toarray() - 0.01
    dense[5, 7], dense[299, 256] = np.nan, -9.0
    expected = np.zeros((256, 256))
    for (i, j), value in np.ndenumerate(dense):
        at = i * 256 // 300, j * 256 // 257
        if not abs(value) <= abs(expected[at]):
            expected[at] = value if not np.isnan(expected[at]) else np.nan
    for J in (dense, sparse.csr_array(dense), jax.experimental.sparse.BCOO.fromdense(jnp.asarray(dense))):
        ax = jm.plot.matrix(J)
        assert image(ax) == pytest.approx(expected, nan_ok=True)
    assert "largest of its entries" in ax.get_title()


def test_a_large_sparse_jacobian_is_drawn_without_a_dense_one():
    ax = jm.plot.matrix(jm.linearize(rod, jnp.linspace(0.0, 1.0, 50_000)))
    assert image(ax).shape == (256, 256) and "50,000×50,000" in ax.get_title()


# -- singular values and gains ---------------------------------------------------------------------------------
def test_singular_values_of_everything_that_has_some():
    J = jm.linearize(lambda x: jnp.array([[3.0, 1.0, 0.0], [1.0, 2.0, -1.0]]) @ x, jnp.ones(3))
    expected = np.linalg.svd(np.asarray(J.dense()), compute_uv=False)
    for given in (J, np.asarray(J.dense()), SimpleNamespace(singular_values=expected, shape=(2, 3)), expected[::-1]):
        ax = jm.plot.singular_values(given)
        assert ax.lines[0].get_ydata() == pytest.approx(expected)
        assert "rank 2 of 2" in ax.get_title() and f"{expected[0] / expected[1]:.3g}" in ax.get_title()


def test_zero_singular_values_are_shown_and_counted():
    ax = jm.plot.singular_values(np.diag([3.0, 1.0, 0.2, 1e-18, 0.0]))
    assert "rank 3 of 5" in ax.get_title() and "∞" in ax.get_title()
    assert "count as zero: 2, exactly zero: 1" in words(ax)
    assert (ax.lines[1].get_ydata() > ax.get_ylim()[0]).all()
    assert "rank 0 of 2" in jm.plot.singular_values(np.zeros((2, 2))).get_title()


def test_of_a_large_jacobian_the_largest_singular_values(monkeypatch):
    monkeypatch.setattr("jacmap.plot._singular.ALL", 60)
    monkeypatch.setattr("jacmap.plot._singular.FEW", 5)
    u = jnp.linspace(0.0, 1.0, 61)
    ax = jm.plot.singular_values(jm.linearize(rod, u))
    exact = np.linalg.svd(np.asarray(jax.jacfwd(rod)(u)), compute_uv=False)[:5]
    assert ax.lines[0].get_ydata() == pytest.approx(exact, rel=1e-8)
    assert "5 largest of 61" in ax.get_title()


def test_gains_of_a_chain():
    J = jm.linearize(bottleneck, jax.random.normal(jax.random.key(0), 12))
    assert [link.shape for link in J.chain] == [(3, 12), (12, 3)]
    ax = jm.plot.gains(J)
    for link, bar, diamond in zip(J.chain, ax.patches, ax.lines, strict=False):
        dense = np.asarray(jax.jacfwd(link.f)(*link.args))
        s = np.linalg.svd(dense, compute_uv=False)
        assert bar.get_x() <= s[-1] * (1 + 1e-12) and bar.get_x() + bar.get_width() >= s[0] * (1 - 1e-12)
        if s[0] > 1.05 * s[-1]:
            assert [bar.get_x(), bar.get_x() + bar.get_width()] == pytest.approx([s[-1], s[0]])
        assert diamond.get_xdata() == pytest.approx([np.linalg.norm(dense) / dense.shape[1] ** 0.5])
    assert "1. " in words(ax) and "12 → 3" in words(ax)


def test_a_segment_that_loses_directions_is_told():
    ax = jm.plot.gains([jm.linearize(lambda x: jnp.stack([x[0], x[0]]), jnp.ones(2))])
    assert "directions are lost" in words(ax)


# -- sensitivities ---------------------------------------------------------------------------------------------
def test_channels_are_summed_with_their_signs_and_said():
    values = np.zeros((4, 5, 3))
    values[1, 2], values[3, 4] = [1.0, 2.0, -0.5], [-4.0, 1.0, 1.0]
    ax = jm.plot.sensitivity_map(values, percentile=100)
    assert image(ax) == pytest.approx(values.sum(axis=2))
    assert "3 channels summed" in words(ax) and "± 2.5, the largest" in words(ax)


def test_over_an_image_strong_pixels_are_opaque_and_others_bare():
    values = np.zeros((3, 3))
    values[0, 0], values[2, 2] = 2.0, -2.0
    ax = jm.plot.sensitivity_map(values, np.arange(27.0).reshape(3, 3, 3))
    grey, layer = (np.asarray(shown.get_array()) for shown in ax.images)
    assert grey.min() == pytest.approx(0.6) and grey.max() == 1.0
    assert layer[..., 3].round().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_a_few_large_values_do_not_hide_the_rest():
    values = np.ones((20, 20))
    values[0, 0] = 1e6
    ax = jm.plot.sensitivity_map(values)
    assert ax.images[0].norm.vmax == 1.0 and "99 % of pixels" in words(ax)
    assert "no sensitivity" in words(jm.plot.sensitivity_map(np.zeros((2, 2))))


def test_bars_are_sorted_and_say_what_they_leave_out():
    values = np.array([0.1, -3.0, 2.0, 0.2])
    ax = jm.plot.bars(values, list("abcd"), np.stack([values - 1, values + 1], axis=1), most=2, label="∂y/∂x, 1/K")
    assert [bar.get_width() for bar in ax.patches] == [-3.0, 2.0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b", "c"]
    assert [tuple(line[:, 0]) for line in ax.collections[0].get_segments()] == [(-4.0, -2.0), (1.0, 3.0)]
    assert "2 more, each at most 0.2 in size, together 5.7 %" in ax.get_xlabel() and "1/K" in ax.get_xlabel()
    assert [t.get_text() for t in jm.plot.bars([1.0, 2.0]).get_yticklabels()] == ["x[1]", "x[0]"]


# -- trust -----------------------------------------------------------------------------------------------------
def test_trust_shows_the_worst_direction_the_order_and_the_radius():
    ax = jm.plot.trust(TRUST)
    lines = {line.get_label(): line for line in ax.lines}
    assert np.asarray(lines["worst direction"].get_ydata()) == pytest.approx(TRUST.radii**2)
    (fitted,) = (line for label, line in lines.items() if label.startswith("slope 2"))
    x, y = fitted.get_data()
    assert np.polyfit(np.log(x), np.log(y), 1)[0] == pytest.approx(2.0)
    assert "radius of 0.02" in ax.get_title() and "error under 1 %" in words(ax)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"remainders": 0 * TRUST.radii, "order": np.inf, "radius": np.inf}, "exact up to rounding"),
        ({"order": np.nan, "radius": 0.0}, "What the linear model leaves out"),
        ({"order": None, "radius": np.inf}, "at every radius"),
        ({"radii": TRUST.radii[::-1], "remainders": TRUST.radii[::-1] ** 2}, "up to a radius of 0.02"),
    ],
)
def test_trust_at_its_limits(changed, said):
    assert said in jm.plot.trust(SimpleNamespace(**{**vars(TRUST), **changed})).get_title()


# -- loading ---------------------------------------------------------------------------------------------------
def test_matplotlib_is_loaded_when_plot_is_used_and_not_before():
    code = "import sys, jacmap; assert 'matplotlib' not in sys.modules; jacmap.plot; assert 'matplotlib' in sys.modules"
    subprocess.run([sys.executable, "-c", code + "; assert 'matplotlib.pyplot' not in sys.modules"], check=True)


def test_a_missing_matplotlib_names_the_extra():
    code = "import sys; sys.modules['matplotlib'] = None; import jacmap; jacmap.plot"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: jacmap.plot needs matplotlib: pip install 'jacmap[plot]'" in run.stderr


def test_other_names_are_still_missing():
    with pytest.raises(AttributeError, match="no attribute 'plots'"):
        jm.plots  # noqa: B018
