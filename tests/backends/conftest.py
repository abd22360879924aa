"""Tests of what needs an optional package: collected where that is installed, as ``make test-backends`` does."""

from importlib.util import find_spec

NEEDS = {"torch": "torch", "jax": "jax", "zarr": "zarr", "hdf5": "h5py"}

collect_ignore = [f"test_{name}.py" for name, module in NEEDS.items() if find_spec(module) is None]
