"""Double precision on the CPU for every test, no silent promotion between dtypes, and programs compiled cheaply.

Most of a run is XLA optimising small programs that are run once, so it is told not to: results may differ in the last
digits, nothing else does. `JACMAP_OPTIMISED=1` compiles everything as a user's programs are.
"""

import gc
import os
import tempfile
from collections.abc import Generator

OPTIMISED = bool(os.environ.get("JACMAP_OPTIMISED"))

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # PyTorch's threads would fight over cores with the other test worker
if not OPTIMISED:
    # No fused loops; no program cut into up to 32 that are compiled side by side, where the other worker has the core.
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}"

import jax  # noqa: E402
import one_context  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_disable_most_optimizations", not OPTIMISED)
jax.config.update("jax_include_full_tracebacks_in_locations", False)  # in the compiled text, which nobody reads
jax.config.update("jax_traceback_in_locations_limit", 0)
if not OPTIMISED:
    one_context.share()

# Compilation makes the first example slow, and a test that fails must fail again tomorrow.
settings.register_profile("jacmap", deadline=None, derandomize=True)
settings.load_profile("jacmap")


def pytest_configure(config: pytest.Config) -> None:
    """What many tests compile is compiled once. Every worker has a folder of its own: JAX's writes are not atomic."""
    programs = tempfile.TemporaryDirectory(prefix="jacmap-programs-")
    config.add_cleanup(programs.cleanup)
    jax.config.update("jax_compilation_cache_dir", programs.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All that is imported lives as long as the run: it is never looked through for garbage."""
    gc.disable()
    collected = yield
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)  # tracing makes objects by the thousand that live on
    gc.enable()
    return collected


@pytest.fixture(scope="module")
def optimised():
    """For a file about what XLA's optimisation does, its memory or its rounding: compiled as for a user."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # they do not know with which of the two a program was compiled
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()
