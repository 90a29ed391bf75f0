/* In the place of src/base/vdso.c: the clock of the C library, which the scheduler stands in for, and not
 * the kernel's, which it cannot. */
#include "base/vdso.h"

int (*ambit__clock_gettime)(clockid_t, struct timespec *) = clock_gettime;
