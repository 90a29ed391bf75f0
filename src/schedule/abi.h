/* Between abi_plain.c and abi_annotation.c. */
#ifndef AMBIT_SCHEDULE_ABI_H
#define AMBIT_SCHEDULE_ABI_H

#include "schedule/inside.h"

/* A thread whose plain accesses are left unchecked, as the program asked for: so many times within
 * each other, and in which schedule it began. */
typedef struct ambit__ignored {
    uint32_t schedule;
    unsigned depth;
} ambit__ignored;
extern ambit__ignored ambit__ignoring[AMBIT__THREADS];
static inline bool ambit__ignores(void) { return ambit__ignoring[ambit__self->index].depth != 0; }

#endif
