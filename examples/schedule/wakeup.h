#ifndef WAKEUP_H
#define WAKEUP_H
/* Ready, once and for all: wakeup_wait() returns after wakeup_set(), from whichever threads. */
void wakeup_wait(void);
void wakeup_set(void);
#endif
