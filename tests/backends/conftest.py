"""Tests of what needs large packages: a file is collected where these are installed, as by ``make test-backends``."""

from importlib.util import find_spec

NEEDS = {
    "test_torch.py": ("torch",),
    "test_jax.py": ("jax",),
    "test_export.py": ("torch", "onnx", "onnxruntime"),
    "test_victims.py": ("torch", "onnx", "onnxruntime"),
}

collect_ignore = [name for name, needs in NEEDS.items() if None in map(find_spec, needs)]
