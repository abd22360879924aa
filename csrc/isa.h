/* The instruction set that a unit is compiled for.  FR_LEVEL is 3 or 4 for that level of x86-64, or 0 for what the
   compiler targets by default: SSE2 on x86-64, NEON on 64-bit Arm.  A unit includes this first, wraps the rest in
   `#if FR_BUILT` and includes isa_end.h last. */
#ifndef FR_ISA_H
#define FR_ISA_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "target.h"

#define FR_BUILT (FR_LEVEL == 0 || FR_HAVE_X86_TARGETS)

#if !FR_BUILT
typedef int fr_not_built;
#elif FR_LEVEL == 4
#define FR_VBYTES 64
#define FR_ISA_NAME "avx512"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#endif
#elif FR_LEVEL == 3
#define FR_VBYTES 32
#define FR_ISA_NAME "avx2"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#endif
#else
#define FR_VBYTES 16
#define FR_ISA_NAME "base"
#endif

/* A name that the units of one instruction set share. */
#define FR_JOINED(name, level) name##_v##level
#define FR_LEVELLED(name, level) FR_JOINED(name, level)
#define FR_HERE(name) FR_LEVELLED(name, FR_LEVEL)

#endif
