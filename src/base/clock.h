/* The clock as ambit's own rooms read it. */
#ifndef AMBIT_BASE_CLOCK_H
#define AMBIT_BASE_CLOCK_H

#include "ambit/clock.h"

/* True while a program's own clock is in place. */
int ambit__clock_is_custom(void);
/* Another number after each clock put in place: times of before and after do not compare. */
uint32_t ambit__clock_changes(void);
int64_t ambit__clock_now(void);
/* At most ambit__clock_lag() behind ambit__clock_now, never ahead; a quarter of its price. */
int64_t ambit__clock_coarse(void);
/* How far the coarse clock may be behind; 0 under a program's own clock. It moves with the kernel's
 * tick, which comes late on a busy or virtual machine: 11.8 ms behind was seen at a tick of 10 ms,
 * so this is three ticks, and 32 ms at least. */
int64_t ambit__clock_lag(void);

#endif
