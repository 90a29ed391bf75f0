/* The clock as ambit's own rooms read it. */
#ifndef AMBIT_BASE_CLOCK_H
#define AMBIT_BASE_CLOCK_H

#include "ambit/clock.h"

/* True while a program's own clock is in place. */
int ambit__clock_is_custom(void);
int64_t ambit__clock_now(void);
/* At most one tick behind ambit__clock_now, never ahead; a quarter of its price. */
int64_t ambit__clock_coarse(void);
/* How far the coarse clock may be behind; 0 under a program's own clock. */
int64_t ambit__clock_tick(void);

#endif
