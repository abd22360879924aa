"""Builds the extension module and the C library; everything that does not depend on a C compiler is in pyproject.toml.

The compiler is tried before any work starts, so that a machine without one gets a single clear line.
It compiles many files at once, on all processors, and says so in one line, since that takes a while.
Every build is complete, because file times do not show the switches in the environment:
FASTRECOVER_NO_EXTENSION=1 (pure Python, Numba kernels), FASTRECOVER_DEBUG=1 (bounds and assertions checked),
FASTRECOVER_SANITIZE=address,undefined or thread (needs the sanitizer's library preloaded: see `make sanitize`).
"""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PURE = os.environ.get("FASTRECOVER_NO_EXTENSION", "0") not in ("", "0")
DEBUG = os.environ.get("FASTRECOVER_DEBUG", "0") not in ("", "0")
SANITIZE = os.environ.get("FASTRECOVER_SANITIZE", "")
INSTRUMENT = ["-g", "-fno-omit-frame-pointer", f"-fsanitize={SANITIZE}"] if SANITIZE else []
# Without -ffp-contract=fast GCC's strict C11 mode never fuses a product with a sum.
C_FLAGS = ["-std=c11", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden"]
C_FLAGS += ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g0"]
WRAPPER_FLAGS = ["-O1"]  # it only translates, and takes the compiler long
DIRECTIVES = dict.fromkeys(("boundscheck", "initializedcheck"), DEBUG) | {
    "language_level": 3,
    "wraparound": False,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
}
LIBRARY_FOLDER = "fastrecover/lib"
MISSING = (
    "fastrecover needs {} to build its kernels: install {}, or set FASTRECOVER_NO_EXTENSION=1 "
    "to build without it and use the Numba kernels"
)
VECTORS = "#include <math.h>\ntypedef double v4 __attribute__((vector_size(32)));\nv4 *pointer;\n"
PROBES = (
    (VECTORS, "a C compiler (gcc or clang)", "one (the package gcc or clang)"),
    ("#include <Python.h>\n", "Python's C headers", "them (the package python3-dev or python3-devel)"),
)


class BuildKernels(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.force = True

    def build_extension(self, ext):
        for source, *names in PROBES:
            if not self.compiles(source):
                raise SystemExit(MISSING.format(*names))
        from Cython.Build import cythonize

        sys.path.insert(0, "csrc")
        from units import LIBRARY, UNITS, Unit, notice, processors

        options = {"compiler_directives": DIRECTIVES, "build_dir": "build/cython", "include_path": ["csrc"]}
        wrapper = cythonize(ext, force=True, quiet=True, **options)[0].sources[0]

        def compiled(unit, flags=()):
            folder = Path(self.build_temp, unit.folder)
            folder.mkdir(parents=True, exist_ok=True)
            return self.compiler.compile(
                [unit.source],
                output_dir=str(folder),
                macros=list(unit.macros.items()),
                include_dirs=ext.include_dirs,
                extra_postargs=[*ext.extra_compile_args, *flags],
            )

        print(notice(), flush=True)
        with ThreadPoolExecutor(processors()) as pool:
            waiting = [pool.submit(compiled, unit) for unit in UNITS]
            translated = pool.submit(compiled, Unit(wrapper, {}), WRAPPER_FLAGS)
            library = [pool.submit(compiled, unit) for unit in LIBRARY]
            kernels = [name for each in waiting for name in each.result()]
            ext.extra_objects = kernels + translated.result()
            self.link_library(kernels + [name for each in library for name in each.result()])
        ext.sources = []
        super().build_extension(ext)

    def link_library(self, objects):
        """A plain shared library of the same objects, which knows nothing of Python, beside its header."""
        mac = sys.platform == "darwin"
        name = "libfastrecover" + (".dylib" if mac else ".so")
        kind = ["-dynamiclib", f"-Wl,-install_name,@rpath/{name}"] if mac else ["-shared", f"-Wl,-soname,{name}"]
        folders = [Path(self.build_lib, LIBRARY_FOLDER)]
        if self.inplace or getattr(self, "editable_mode", False):
            folders.append(Path(LIBRARY_FOLDER))
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.unlink(missing_ok=True)  # a program may be running it
            self.spawn([*self.compiler.compiler_so, *kind, *objects, "-o", str(path), "-pthread", "-lm", *INSTRUMENT])
            self.libraries_made.append(str(path))

    libraries_made = []

    def get_outputs(self):
        return super().get_outputs() + self.libraries_made

    def compiles(self, source):
        compiler = getattr(self.compiler, "compiler_so", None)  # MSVC, which lacks vector types, has none
        if not compiler:
            return False
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "probe.c").write_text(source)
            includes = [f"-I{path}" for path in self.compiler.include_dirs]
            command = [*compiler, *C_FLAGS, *INSTRUMENT, *includes, "-c", "probe.c", "-o", "probe.o"]
            try:
                return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0
            except OSError:
                return False


KERNELS = Extension(
    "fastrecover.kernels._compiled",
    sources=["csrc/_compiled.pyx", *sorted(glob("csrc/*.c"))],
    depends=[*sorted(glob("csrc/*.h")), "fastrecover/include/fastrecover.h", "csrc/units.py"],
    include_dirs=["csrc", "fastrecover/include"],
    extra_compile_args=C_FLAGS + INSTRUMENT,
    extra_link_args=["-pthread", *INSTRUMENT],
)
setup(ext_modules=[] if PURE else [KERNELS], cmdclass={"build_ext": BuildKernels})
