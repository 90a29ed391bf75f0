/* Failing on demand, in test builds only: the n-th fallible call from now on this process fails. */
#ifndef AMBIT_BASE_FAULT_H
#define AMBIT_BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum ambit__fault {
    AMBIT__FAULT_MEMORY = 0,
    AMBIT__FAULT_THREAD = 1,
    AMBIT__FAULT_FILES = 2
} ambit__fault;
#define AMBIT__FAULTS 3

#ifdef AMBIT_TESTING
/* Lets `after` calls of the kind pass, fails the next, and if `forever` all that follow. */
void ambit__fault_arm(ambit__fault kind, uint64_t after, bool forever);
/* Stops failing; returns how many calls of the kind there were since it was armed. */
uint64_t ambit__fault_disarm(ambit__fault kind);
bool ambit__fault_hit(ambit__fault kind);
#else
static inline bool ambit__fault_hit(ambit__fault kind) {
    (void)kind;
    return false;
}
#endif

#endif
