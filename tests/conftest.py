"""Double precision on the CPU for every test, no silent promotion between dtypes, and programs compiled cheaply.

Most of a run is XLA optimising small programs that are run once, so it is told not to: results may differ in the last
digits, nothing else does. `JACMAP_OPTIMISED=1` compiles everything as a user's programs are.
"""

import os

OPTIMISED = bool(os.environ.get("JACMAP_OPTIMISED"))

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # PyTorch's threads would fight over cores with the other test worker
if not OPTIMISED:
    os.environ["XLA_FLAGS"] = f"--xla_cpu_use_fusion_emitters=false {os.environ.get('XLA_FLAGS', '')}"

import jax  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_disable_most_optimizations", not OPTIMISED)

# Compilation makes the first example slow, and a test that fails must fail again tomorrow.
settings.register_profile("jacmap", deadline=None, derandomize=True)
settings.load_profile("jacmap")


@pytest.fixture(scope="module")
def optimised():
    """For a file about what XLA's optimisation does, its memory or its rounding: compiled as for a user."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # they do not know with which of the two a program was compiled
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()
