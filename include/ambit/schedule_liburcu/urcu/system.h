/* liburcu's header, for tests under the controlled scheduler: there what it takes for shared
 * accesses are volatile ones, which to C are plain, and to a race detector races. A store may give
 * on what was published by others, under the lock of those that write, which is why it releases. */
#ifndef AMBIT_SCHEDULE_LIBURCU_SYSTEM_H
#define AMBIT_SCHEDULE_LIBURCU_SYSTEM_H
#include_next <urcu/system.h>

#undef CMM_LOAD_SHARED
#undef CMM_STORE_SHARED
#define CMM_LOAD_SHARED(p)                                                                         \
    __extension__({                                                                                \
        __typeof__(__extension__({ (p); })) ambit__value;                                          \
        __atomic_load(&(p), &ambit__value, __ATOMIC_RELAXED);                                      \
        ambit__value;                                                                              \
    })
#define CMM_STORE_SHARED(x, v)                                                                     \
    __extension__({                                                                                \
        __typeof__(__extension__({ (x); })) ambit__stored = (v);                                   \
        __atomic_store(&(x), &ambit__stored, __ATOMIC_RELEASE);                                    \
        ambit__stored;                                                                             \
    })
#endif
