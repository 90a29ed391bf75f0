/* The kernel's clock without the C library's detour. */
#ifndef AMBIT_BASE_VDSO_H
#define AMBIT_BASE_VDSO_H

#include <time.h>

/* clock_gettime(), or what the kernel maps into the process for it: two of the five nanoseconds
 * that a coarse reading takes are the way there. Set before main() and constant after. */
extern int (*ambit__clock_gettime)(clockid_t id, struct timespec *time)
    __attribute__((visibility("hidden")));

#endif
