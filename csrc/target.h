/* Whether this compiler can build functions for several x86-64 levels and tell at run time which one may run. */
#ifndef FR_TARGET_H
#define FR_TARGET_H
#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 14 : defined(__GNUC__) && __GNUC__ >= 11)
#define FR_HAVE_X86_TARGETS 1
#else
#define FR_HAVE_X86_TARGETS 0
#endif
#endif
