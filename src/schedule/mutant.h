/* Order mutants: which memory orders the program's tests have met, and one of them weakened at a
 * time.
 *
 * A site is a place in a source, file:line:column, whatever number of times the compiler has put it
 * into the program. What is noted lives in memory that forked children share with their parent. */
#ifndef AMBIT_SCHEDULE_MUTANT_H
#define AMBIT_SCHEDULE_MUTANT_H

#include "schedule/report.h"

typedef struct ambit__mutant {
    ambit__place place;
    ambit__operation_kind kind;
    uint8_t from, to; /* orders */
    const void *site; /* one of the return addresses */
} ambit__mutant;

/* From now on every site that is met is noted. False: no memory. */
bool ambit__mutants_watch(void);
/* Makes the list from what was noted: places in files whose path has one of `covers` (parts of
 * paths, spaces between; empty: all) and whose order is more than relaxed. With `halves` also one
 * for each half of acq_rel, and for seq_cst without its total order. Returns how many. */
unsigned ambit__mutants_list(const char *covers, bool halves, const ambit__mutant **mutants);
/* The mutant is in force; NULL: none is. */
void ambit__mutants_weaken(const ambit__mutant *mutant);

#endif
