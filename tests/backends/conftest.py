"""Tests of what needs PyTorch or JAX: collected where these are installed, as ``make test-backends`` does."""

from importlib.util import find_spec

collect_ignore = [f"test_{name}.py" for name in ("torch", "jax") if find_spec(name) is None]
