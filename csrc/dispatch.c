/* The widest instruction set this processor has, unless the caller asks for a narrower one by name. */
#include <string.h>

#include "fastrecover.h"
#include "target.h"

extern const fr_isa fr_isa_v0;
#if FR_HAVE_X86_TARGETS
extern const fr_isa fr_isa_v3, fr_isa_v4;
#endif

static const fr_isa *chosen;

static const fr_isa *find(const char *name)
{
#if FR_HAVE_X86_TARGETS
    __builtin_cpu_init();
    const int v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
    const int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (v4 && v3 && (!name || !strcmp(name, fr_isa_v4.name))) return &fr_isa_v4;
    if (v3 && (!name || !strcmp(name, fr_isa_v3.name))) return &fr_isa_v3;
#endif
    return !name || !strcmp(name, fr_isa_v0.name) ? &fr_isa_v0 : NULL;
}

const fr_isa *fr_current_isa(void)
{
    if (!chosen) chosen = find(NULL);
    return chosen;
}

int fr_select_isa(const char *name)
{
    const fr_isa *isa = find(name);
    if (!isa) return -1;
    chosen = isa;
    return 0;
}
