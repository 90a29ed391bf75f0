/* liburcu's header, for tests under the controlled scheduler: without _LGPL_SOURCE its
 * rcu_dereference() is a plain read and a call. It may be a copy of what others publish at the same
 * time, so here it is the atomic read that it is with _LGPL_SOURCE. */
#ifndef AMBIT_SCHEDULE_LIBURCU_POINTER_H
#define AMBIT_SCHEDULE_LIBURCU_POINTER_H
#include_next <urcu/pointer.h>

#undef rcu_dereference
#define rcu_dereference(p)                                                                         \
    __extension__({                                                                                \
        __typeof__(__extension__({ (p); })) ambit__pointer;                                        \
        __atomic_load(&(p), &ambit__pointer, __ATOMIC_CONSUME);                                    \
        ambit__pointer;                                                                            \
    })
#endif
