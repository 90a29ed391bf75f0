/* Functions of wrap_*.c that one system call and several functions of the C library lead to. In a
 * schedule only; they answer as the C library does, -1 and errno. */
#ifndef AMBIT_SCHEDULE_WRAPS_H
#define AMBIT_SCHEDULE_WRAPS_H

#include <sys/types.h>
#include <time.h>

#include "schedule/inside.h"

/* What the C library or the kernel reads and writes for the program, which no compiler tells of.
 * Before it is written, so that it can be put back. */
static inline void ambit__will_write(const void *memory, size_t bytes, const void *site) {
    if (memory && bytes) ambit__shadow_access((uintptr_t)memory, bytes, true, false, site);
}
static inline void ambit__will_read(const void *memory, size_t bytes, const void *site) {
    if (memory && bytes) ambit__shadow_access((uintptr_t)memory, bytes, false, false, site);
}

/* wrap_clock.c */
int ambit__clock_gettime_at(clockid_t clock, struct timespec *time, const void *site);

/* wrap_sleep.c */
int ambit__sleep_for(const struct timespec *length, struct timespec *left, const char *name,
                     const void *site);
void ambit__yield_at(const char *name, const void *site);

/* wrap_descriptor.c */
ssize_t ambit__read_at(int descriptor, void *memory, size_t bytes, const void *site);
ssize_t ambit__write_at(int descriptor, const void *memory, size_t bytes, const void *site);
int ambit__close_at(int descriptor, const void *site);
int ambit__eventfd_at(unsigned count, int flags, const void *site);

#endif
