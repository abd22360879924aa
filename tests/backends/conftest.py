"""Tests of what needs other packages or languages: collected where these are installed, see ``make test-backends``."""

import shutil
from importlib.util import find_spec

NEEDS = {
    "test_torch.py": ("torch",),
    "test_jax.py": ("jax",),
    "test_export.py": ("torch", "onnx", "onnxruntime"),
    "test_victims.py": ("torch", "onnx", "onnxruntime"),
    "test_zarr.py": ("zarr",),
    "test_hdf5.py": ("h5py",),
    "test_cython.py": ("Cython",),
    "test_dask.py": ("dask", "distributed", "pandas"),
}
PROGRAMS = {"test_r.py": "Rscript"}

collect_ignore = [name for name, needs in NEEDS.items() if None in map(find_spec, needs)]
collect_ignore += [name for name, program in PROGRAMS.items() if shutil.which(program) is None]
