/* The time for those to whom even the coarse clock is dear: a word, `ambit__stamp` (ambit/entry.h), that
 * the timer thread renews ten times a second. Only while somebody wants it: after a second it is 0 for
 * once, and who finds that reads the clock and wants the next second. */
#ifndef AMBIT_TIMER_STAMP_H
#define AMBIT_TIMER_STAMP_H

#include "ambit/entry.h"

/* The coarse clock, for who has found no stamp; and there will be one soon, if the timer service can be
 * had. Thread: any, with no lock. Blocks: no. */
int64_t ambit__stamp_wake(void);

/* The service ends: nobody renews it. */
void ambit__stamp_stop(void);
/* In the child of a fork(), alone. */
void ambit__stamp_renewal_forked(void);

#endif
