"""Functions that do not behave: noise, kinks, jumps, edges of the domain, NaN, outputs that change shape."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from difference_maps import by_math, plane, real_plane, slow

import jacmap as jm

X = np.array([1.5, 0.5])


def looked(f, x=X, **options):
    """The Jacobian and what was warned of."""
    J = jm.linearize(f, x, differences=jm.Differences(**options))
    return J


def test_noise_is_told_and_the_estimate_holds():
    rng = np.random.default_rng(3)
    J = looked(lambda x: np.sin(x) + 1e-6 * rng.normal(size=2))
    with pytest.warns(jm.NotSmoothWarning, match=r"noisy \(y\[0\] wavers by"):
        found = J.dense()
    assert (np.abs(found - np.diag(np.cos(X))) <= J.error).all()
    np.testing.assert_allclose(found, np.diag(np.cos(X)), atol=2e-3)
    assert "noisy" in str(J.explain())


def test_a_smooth_function_is_silent():
    for f in (plane, real_plane, by_math):
        looked(f).dense()


def test_a_kink_at_the_point():
    J = looked(lambda x: np.array([np.abs(float(x[0]) - 1.5), x[1] ** 2]))
    with pytest.warns(jm.NotSmoothWarning, match=r"kink.*\(y\[0\] by x\[0\]\)"):
        found = J.dense()
    assert J.error[0, 0] >= 1 - 1e-6 and J.error[1].max() < 1e-9
    np.testing.assert_allclose(found[1], [0.0, 1.0], atol=1e-9)


def test_a_kink_beside_the_point_is_stepped_around():
    for offset in (1e-1, 1e-3, 1e-5):
        found = looked(lambda x, o=offset: np.maximum(np.asarray(x, float) - 1.5 + o, 0.0) ** 1).dense()
        np.testing.assert_allclose(found, [[1.0, 0.0], [0.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("step", [lambda x: np.floor(x * 2.0) + x, lambda x: np.where(x >= 1.5, 2.0, 0.0) + x])
def test_a_jump_at_the_point(step):
    J = looked(lambda x: step(np.asarray(x, float))[:1])
    with pytest.warns(jm.NotSmoothWarning, match=r"jumps at the point.*y\[0\] by x\[0\]"):
        J.dense()
    assert J.error[0, 0] > 1


def test_a_staircase_is_not_taken_for_smooth():
    J = looked(lambda x: np.round(np.asarray(x, float) * 1e4 + 0.3) * 1e-4)
    with pytest.warns(jm.NotSmoothWarning):
        found = J.dense()
    assert (np.abs(found - np.eye(2)) <= J.error + 1e-3).all()


def test_one_side_only():
    def f(x):
        if x[0] < 1.5:
            raise ValueError("below the wall")
        return np.array([math.sin(x[0]), float(x[1])])

    J = looked(f)
    true = np.diag([np.cos(1.5), 1.0])
    np.testing.assert_allclose(J.dense(), true, atol=1e-8)
    assert (np.abs(J.dense() - true) <= J.error + 1e-15).all()
    assert "one side" in str(J.explain())


def test_no_derivative_at_the_edge():
    J = looked(lambda x: np.sqrt(np.asarray(x, float)[:1] - 1.5))
    with pytest.warns(jm.NotSmoothWarning, match="do not settle"):
        J.dense()
    assert J.error[0, 0] > 1


def test_values_that_are_not_finite():
    def f(x):
        with np.errstate(all="ignore"):
            return np.array([np.log(np.asarray(x[0], float) - 2.0), x[1] ** 2])

    J = looked(f)
    with pytest.warns(jm.NotFiniteWarning, match=r"y\[0\] = nan"):
        found = J.dense()
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], [0.0, 1.0], atol=1e-9)


def test_f_may_change_what_it_is_given():
    def f(x):
        x *= 2.0
        return x

    x = X.copy()
    np.testing.assert_allclose(jm.jacobian(f, differences=jm.Differences())(x), 2 * np.eye(2), atol=1e-12)
    np.testing.assert_array_equal(x, X)


def test_f_may_return_the_same_array_each_time():
    out = np.zeros(2)

    def f(x):
        out[:] = np.asarray(x, float) ** 2
        return out

    np.testing.assert_allclose(jm.jacobian(f, differences=jm.Differences())(X), np.diag(2 * X), atol=1e-10)


def test_outputs_that_change_shape():
    with pytest.raises(jm.ArgumentError, match="returned arrays of shape"):
        looked(lambda x: np.ones(2 if x[0] == 1.5 else 3)).dense()


def test_errors_of_the_function_itself():
    def broken(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        looked(broken).dense()
    with pytest.raises(jm.ArgumentError, match="returned dtype int"):
        looked(lambda x: np.array([1, 2])).dense()
    with pytest.raises(jm.ArgumentError, match="complex"):
        looked(lambda x: np.asarray(x) * 1j).dense()


# -- worker processes ------------------------------------------------------------------------------------------
def test_workers_give_the_same_answer():
    alone = jm.jacobian(real_plane, differences=jm.Differences())(X)
    together = jm.jacobian(real_plane, differences=jm.Differences(workers=2))(X)
    np.testing.assert_array_equal(alone, together)
    assert not multiprocessing.active_children()


def test_a_function_that_cannot_be_sent():
    with pytest.raises(jm.ArgumentError, match="workers: got 2.*pickled"):
        jm.jacobian(lambda x: plane(x), differences=jm.Differences(workers=2))(X)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_no_process_behind():
    code = (
        "import jacmap as jm, numpy as np\nfrom difference_maps import endless\n"
        "if __name__ == '__main__':\n"
        "    jm.jacobian(endless, differences=jm.Differences(workers=2, tolerance=1e-15))(np.ones(2) * 1.5)\n"
    )
    tests = Path(__file__).parent
    script = f"import sys; sys.path[:0] = {[str(tests), *sys.path]!r}\n{code}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    run = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, start_new_session=True,
    )  # fmt: skip
    assert run.stdout is not None and run.stdout.readline() == "called\n"
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode != 0 and "KeyboardInterrupt" in said
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        for _ in range(50):
            os.killpg(run.pid, 0)
            time.sleep(0.1)


def test_progress_is_shown_on_stderr_when_asked(capsys):
    jm.jacobian(slow, differences=jm.Differences(progress=True))(X)
    captured = capsys.readouterr()
    assert "differences" in captured.err and not captured.out
