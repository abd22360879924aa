"""What the gallery asks of the examples: each is run as a user runs it, in its folder, with a path for its picture."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

_PICTURE = "picture.png"
_ORDER = (
    "recover_relu",
    "classify",
    "three_classes",
    "neuron_subunits",
    "phase_retrieval",
    "covariance_sketch",
    "extract",
    "extract_torch",
    "extract_onnx",
    "phase_diagram",
    "own_activation",
    "sklearn_pipeline",
    "scipy_solvers",
    "torch_module",
    "jax_sets",
    "dask_cluster",
    "gather_mpi",
    "gather_torch",
    "gather_ray",
)


def arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """The arguments of an example: where its picture goes, which those that draw none do not read."""
    return [_PICTURE]


def pictures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Take the picture that an example has drawn into its page."""
    drawn = Path(block_vars["src_file"]).parent / _PICTURE
    if not drawn.is_file():
        return ""
    kept = next(block_vars["image_path_iterator"])
    shutil.move(drawn, kept)
    return figure_rst([kept], gallery_conf["src_dir"])


class Order:
    """Sort key of the gallery: what most people come for first; an example without a place is an error."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, filename: str) -> int:
        return _ORDER.index(Path(filename).stem)

    def __repr__(self) -> str:
        return "Order"
