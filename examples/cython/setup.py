"""How a project of your own is compiled against fastrecover's C library."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

import fastrecover

folder = str(Path(fastrecover.get_library()).parent)
packages = str(Path(fastrecover.__file__).parents[1])  # where Cython does not look if that is a working copy
extension = Extension(
    "sweep",
    ["sweep.pyx"],
    include_dirs=[fastrecover.get_include()],
    library_dirs=[folder],
    runtime_library_dirs=[folder],
    libraries=["fastrecover"],
)
setup(name="sweep", ext_modules=cythonize([extension], include_path=[packages]))
