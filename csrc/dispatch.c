/* The widest instruction set this processor has, unless the caller asks for a narrower one by name. */
#include <stddef.h>
#include <string.h>

#include "kernels.h"
#include "target.h"

extern const fr_isa fr_isa_v0;
#if FR_HAVE_X86_TARGETS
extern const fr_isa fr_isa_v3, fr_isa_v4;
#endif

static const fr_isa *_Atomic chosen; /* any number of threads may ask first */

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

#define FR_FIELD(name) {#name, offsetof(fr_op, name), sizeof(((fr_op *)0)->name)}
const fr_field fr_op_fields[] = {
    FR_FIELD(op), FR_FIELD(activation), FR_FIELD(slope), FR_FIELD(user),
    FR_FIELD(loss), FR_FIELD(group), FR_FIELD(reps), FR_FIELD(k),
    FR_FIELD(linear), FR_FIELD(v), FR_FIELD(c), FR_FIELD(grad),
    FR_FIELD(newton), FR_FIELD(dv), FR_FIELD(dc), FR_FIELD(free_w),
    FR_FIELD(free_v), FR_FIELD(free_c), FR_FIELD(m), FR_FIELD(order),
    FR_FIELD(unit_response), FR_FIELD(alpha2), FR_FIELD(pair), FR_FIELD(single),
    FR_FIELD(n_features), FR_FIELD(factors), FR_FIELD(outputs), FR_FIELD(delta),
    {NULL, 0, 0},
};

const fr_isa *fr_current_isa(void)
{
    const fr_isa *isa = chosen;
    if (!isa) chosen = isa = find(NULL);
    return isa;
}

int fr_select_isa(const char *name)
{
    const fr_isa *isa = find(name);
    if (!isa) return -1;
    chosen = isa;
    return 0;
}
