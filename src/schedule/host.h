/* The threads of the kernel's under those of a schedule: see host.c. */
#ifndef AMBIT_SCHEDULE_HOST_H
#define AMBIT_SCHEDULE_HOST_H

#include <stdbool.h>
#include <stdint.h>

/* Makes sure that `count` are there; false (and errno) if they cannot be had. */
bool ambit__host_prepare(unsigned count);
/* Runs `entry` on the stack and with the thread-local memory of thread `index`, from the top. */
void ambit__host_begin(unsigned index, void (*entry)(void));
/* From this thread to another that has begun; returns when somebody comes back. */
void ambit__host_switch(unsigned from, unsigned to);
/* From the runner into a schedule, with thread `first`; returns when ambit__host_leave() is
 * called. */
void ambit__host_enter(unsigned first);
/* Ends a schedule, from any of its threads: what is on their stacks is forgotten. */
void ambit__host_leave(void) __attribute__((noreturn));
/* The stack and the thread-local memory of a thread. */
void ambit__host_bounds(unsigned index, uintptr_t *stack_low, uintptr_t *stack_high);
/* Where its thread-local memory ends; 0 if that is not known. */
uintptr_t ambit__host_thread_pointer(unsigned index);

#endif
