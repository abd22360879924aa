/* x86-64-v4 build of the kernels, chosen at run time by dispatch.c. */
#include "target.h"
#if FR_HAVE_X86_TARGETS
#include <stdlib.h>
#include <string.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#endif
#define FR_VBYTES 64
#define FR_ISA fr_isa_v4
#define FR_ISA_NAME "avx512"
#include "isa.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int fr_isa_v4_not_built;
#endif
