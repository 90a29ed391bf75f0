/* What a call can answer.
 *
 * Every call that the world can make fail returns an ambit_status, and the compiler warns when it
 * is dropped. Zero is success. Small numbers are outcomes (the call worked, the answer is not the
 * hoped-for one); numbers from 64 are failures (a resource was missing). Values never change
 * between releases. A caller's bug is not a status: it stops the program, see bug.h. */
#ifndef AMBIT_STATUS_H
#define AMBIT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ambit_status {
    AMBIT_OK = 0,

    AMBIT_EXISTS = 1,    /* the key already has a value in this context; the old one stands */
    AMBIT_CANCELLED = 2, /* the context was cancelled or closed */
    AMBIT_TIMED_OUT = 3, /* the context's deadline has passed */
    AMBIT_BUSY = 4,      /* something is still out or in use; nothing was done */

    AMBIT_EMEMORY = 64,  /* the allocator returned nothing */
    AMBIT_EBUDGET = 65,  /* the context's byte budget would be exceeded; nothing was stored */
    AMBIT_ETHREAD = 66,  /* no thread could be started */
    AMBIT_EFILES = 67,   /* no file descriptor was left */
    AMBIT_EINVALID = 68, /* an argument that comes from outside is out of range */
    AMBIT_EWRITE = 69    /* the writer that the caller passed in refused the text */
} ambit_status;

#define AMBIT_MUST_CHECK __attribute__((warn_unused_result))

/* A short English text for any value, also for values that are none of the above.
 * Thread: any. Blocks: no. Owns: the text is static. Cannot fail. */
const char *ambit_strerror(ambit_status status);

#ifdef __cplusplus
}
#endif
#endif
