/* Requests served, counted by every worker. Nothing here has heard of ambit. */
#include "counter.h"

#ifndef FIXED
static int counter;

/* A read, an addition, a write: two workers can count as one. */
void counter_add(void) { counter++; }
int counter_read(void) { return counter; }
#else
#include <stdatomic.h>

static atomic_int counter;

void counter_add(void) { atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed); }
int counter_read(void) { return atomic_load_explicit(&counter, memory_order_relaxed); }
#endif
