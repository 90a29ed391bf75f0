/* Failing on demand. Only in test builds. */
#include "base/fault.h"

#ifdef AMBIT_TESTING
#include "base/atomic.h"

static struct {
    _Atomic(uint64_t) calls;
    _Atomic(uint64_t) after;
    _Atomic(uint32_t) mode; /* 0 off, 1 once, 2 forever */
} faults[AMBIT__FAULTS];

void ambit__fault_arm(ambit__fault kind, uint64_t after, bool forever) {
    ambit__store_relaxed(&faults[kind].calls, 0);
    ambit__store_relaxed(&faults[kind].after, after);
    /* Release pairs with the acquire in ambit__fault_hit(): the numbers stand before the mode. */
    ambit__store_release(&faults[kind].mode, forever ? 2u : 1u);
}

uint64_t ambit__fault_disarm(ambit__fault kind) {
    ambit__store_release(&faults[kind].mode, 0u);
    return ambit__load_relaxed(&faults[kind].calls);
}

bool ambit__fault_hit(ambit__fault kind) {
    uint32_t mode = ambit__load_acquire(&faults[kind].mode);
    if (!mode) return false;
    uint64_t call = ambit__add_relaxed(&faults[kind].calls, 1);
    uint64_t after = ambit__load_relaxed(&faults[kind].after);
    return mode == 2 ? call >= after : call == after;
}
#else
typedef int ambit__fault_is_empty; /* ISO C has no empty file */
#endif
