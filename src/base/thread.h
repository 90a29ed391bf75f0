/* Threads: a record for each thread that uses ambit, and the starting of ambit's own.
 *
 * A record is made at a thread's first use and handed to the next thread when that one ends, with
 * its dense index; what is counted in it carries over, so sums stay exact. Records are as many as
 * threads were ever alive at once. */
#ifndef AMBIT_BASE_THREAD_H
#define AMBIT_BASE_THREAD_H

#include <stddef.h>

#include "ambit/status.h"
#include "base/atomic.h"

#define AMBIT__CACHE_KINDS 5
/* The controlled scheduler's build makes this, and other sizes that loops run through, small. */
#ifndef AMBIT__CACHE_ITEMS
#define AMBIT__CACHE_ITEMS 64
#endif

/* A stack of free objects of one kind, in the hands of one thread. */
typedef struct ambit__cache {
    uint32_t count;
    void *items[AMBIT__CACHE_ITEMS];
} ambit__cache;

typedef struct ambit__thread {
    /* owner thread only */
    ambit__cache caches[AMBIT__CACHE_KINDS];
    void *timer_wheel; /* of this record; stays with it */
    void *rcu_reader;  /* liburcu's reader while registered; after a fork also read by the child */
    /* fixed once the record is made */
    uint32_t index;             /* dense, from 0 */
    struct ambit__thread *next; /* all records, newest first */
    /* under the registry's lock */
    struct ambit__thread *next_free;
    /* any thread; 0 as well for a thread that did not come along in a fork() */
    _Atomic(uint32_t) alive;
} ambit__thread;

extern _Thread_local ambit__thread *ambit__thread_record
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Registers this thread. NULL when there is no memory. */
ambit__thread *ambit__thread_register(void);

static inline ambit__thread *ambit__thread_self(void) {
    ambit__thread *self = ambit__thread_record;
    return ambit__likely(self != NULL) ? self : ambit__thread_register();
}

/* A number that no other living thread of this process has, never 0, and the same before and after
 * fork(); works without memory. */
uint32_t ambit__thread_id(void);

/* All records, to be followed by `next`. */
ambit__thread *ambit__thread_records(void);

/* False if no living thread has the record of that index; then what the last one did comes
 * before. */
bool ambit__thread_is_alive(uint32_t index);

/* Called on a thread that ends, before its record is handed on, newest hook first. At most 8. Two
 * rounds of pthread destructors have passed by then, so those of the program come before it. What
 * uses ambit later registers again, and is told again; but a record taken in the last of the C
 * library's four rounds, which a destructor sees that has set its value three times, may stay. */
void ambit__thread_on_exit(void (*hook)(ambit__thread *thread));

/* Starts a thread that blocks all signals, without allocating. `name` has at most 15 letters. The
 * struct stays where it is until the thread was joined, or runs. AMBIT_OK, AMBIT_ETHREAD. */
typedef struct ambit__worker {
    unsigned long handle;
    void (*run)(void *);
    void *argument;
} ambit__worker;
ambit_status ambit__worker_start(ambit__worker *worker, const char *name, void (*run)(void *),
                                 void *argument);
void ambit__worker_join(ambit__worker *worker);
void ambit__worker_detach(ambit__worker *worker);

/* One more in each child of a fork(): what belongs to the process alone remembers it.
 * Constant while there is more than one thread. */
uint32_t ambit__process_epoch(void);

/* Runs `child` in the child of every fork() from now on. At most 8. */
void ambit__on_fork(void (*child)(void));

/* Whether this kernel has the heavy barrier. Asked before relying on it. */
bool ambit__heavy_barrier_works(void);
/* A full barrier on every running thread of the process, so that the others need only the light one
 * (membarrier(2), private expedited). Stops the program if it is refused after it has worked, as by
 * a system call filter that was set up too late. */
void ambit__heavy_barrier(void);
/* The other side of it. A macro, so that each place of it is one of its own for the controlled scheduler. */
#define ambit__light_barrier() atomic_signal_fence(memory_order_seq_cst)

#endif
