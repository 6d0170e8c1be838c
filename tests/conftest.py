"""Double precision on the CPU for every test, and no silent promotion between dtypes."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Compilation makes the first example slow, and a test that fails must fail again tomorrow.
settings.register_profile("jacmap", deadline=None, derandomize=True)
settings.load_profile("jacmap")
