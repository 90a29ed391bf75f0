/* By the C library's backtrace() and so by unwind tables: frame pointers are missing in most builds,
 * the tables are there by the ABI. It loads libgcc_s when first used, so that programs that never
 * ask for stacks do not link to it. */
#include "base/unwind.h"

#include <execinfo.h>
#include <stddef.h>

enum { MOST = 64 };

void ambit__unwind_prepare(void) {
    uintptr_t frames[2];
    (void)ambit__unwind(frames, 2);
}

__attribute__((noinline)) unsigned ambit__unwind(uintptr_t *frames, unsigned max) {
    void *found[MOST + 1];
    int want = (int)(max < MOST ? max : MOST) + 1; /* the first one is inside this function */
    int count = backtrace(found, want);
    unsigned kept = 0;
    for (int i = 1; i < count; i++) frames[kept++] = (uintptr_t)found[i];
    return kept;
}
