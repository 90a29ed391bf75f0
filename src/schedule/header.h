/* The head of a thread of the kernel's, at FS:0, and going to thread-local variables by it: see host.c. */
#ifndef AMBIT_SCHEDULE_HEADER_H
#define AMBIT_SCHEDULE_HEADER_H

#include <stdbool.h>
#include <stdint.h>

/* As the C library lays it out (x86-64's ABI for thread-local storage has the first word). */
typedef struct ambit__header {
    uintptr_t pointer; /* the address of this, or of the thread's that is borrowed */
    void *vector;      /* of its dynamic thread-local variables */
    void *self;        /* which thread it is; is never borrowed */
} ambit__header;

/* header.c: whether the program goes by it. */
bool ambit__host_header_works(void);

/* errno.c: the runner's, NULL where nothing is borrowed by it. */
extern ambit__header *ambit__host_header;
/* Its errno, at one address for all that borrow: what is there is each one's own nevertheless. Where nothing
 * is borrowed by the header, one that nobody has. */
extern int *ambit__host_error;
/* This thread is the runner, and nothing is borrowed. */
void ambit__host_header_is(ambit__header *header);

#endif
