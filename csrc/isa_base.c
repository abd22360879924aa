/* Build of the kernels for whatever the compiler targets by default: SSE2 on x86-64, NEON on 64-bit Arm. */
#define FR_VBYTES 16
#define FR_ISA fr_isa_base
#define FR_ISA_NAME "base"
#include "isa.h"
