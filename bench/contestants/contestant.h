/* What every contestant shares: one row of work is repeated until its time is over, on one thread
 * or on several at once, and the cost of one operation is printed.
 *
 *     contestant --list                                     the rows it can run, one a line
 *     contestant --about                                    what it is, with its version
 *     contestant --row ROW --threads N --milliseconds M     prints two numbers: the nanoseconds for
 *                                                           an operation, and the part of its time
 *                                                           for which others had its processors
 *
 * A contestant is a table of rows handed to bench_main(). bench/compare starts it afresh for each
 * round, so that no contestant keeps a lucky or unlucky placing in memory over all of them. Every
 * thread warms up for a tenth of the time, then all start together, and each goes on until all have
 * their time in: none measures while another has stopped already. The figure is the sum of the
 * threads' times over the sum of their operations: what an operation costs as one thread sees it.
 * Time for which a single thread was ready and others had its processor is taken off.
 *
 * For all contestants alike: allocation and clean-up stand inside of `run`, results go through
 * BENCH_KEEP, and only what the row's line in rows.txt calls shared or pending is set up before. */
#ifndef BENCH_CONTESTANT_H
#define BENCH_CONTESTANT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bench_thread {
    unsigned index; /* from 0 */
    uint64_t random;
    void *own; /* the row's, from its set_up */
} bench_thread;

typedef struct bench_row {
    const char *name;
    /* Does the work `iterations` times. */
    void (*run)(bench_thread *thread, uint64_t iterations);
    /* On each thread, before it warms up; may be NULL. */
    void (*set_up)(bench_thread *thread);
    /* How many operations an iteration is. */
    unsigned operations;
} bench_row;

/* The sizes of the eight owned values: 608 bytes together. */
enum { BENCH_VALUES = 8 };
static const size_t bench_value_bytes[BENCH_VALUES] = {16, 24, 32, 48, 64, 96, 128, 200};

/* How many timers are pending in the rows that say so. They are 10 to 50 s away, so that what is
 * armed for 30 s comes in their midst: a heap would have to lift the soonest to its top. None
 * fires, since bench/run lets nothing run for longer than 5 s. */
enum { BENCH_PENDING = 100000, BENCH_SOONEST_MS = 10000, BENCH_LATEST_MS = 50000 };
#define BENCH_TIMEOUT_MS 30000
/* Where a timer is armed at an absolute or cached time, it is read again after so many. */
enum { BENCH_CLOCK_EVERY = 1024 };

/* The value is needed and memory is changed, for all that the compiler knows. */
#define BENCH_KEEP(value) __asm__ volatile("" : : "r"(value) : "memory")

#define BENCH_REQUIRE(condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) bench_fail(__FILE__, __LINE__, #condition);                              \
    } while (0)

__attribute__((noreturn)) static inline void bench_fail(const char *file, int line,
                                                        const char *condition) {
    fprintf(stderr, "%s:%d: %s does not hold\n", file, line, condition);
    exit(1);
}

/* xorshift64 (Marsaglia, 2003). */
static inline uint64_t bench_random(bench_thread *thread) {
    uint64_t x = thread->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return thread->random = x;
}
static inline unsigned bench_random_index(bench_thread *thread) {
    return (unsigned)(bench_random(thread) % BENCH_PENDING);
}
static inline uint64_t bench_random_ms(bench_thread *thread) {
    return BENCH_SOONEST_MS + bench_random(thread) % (BENCH_LATEST_MS - BENCH_SOONEST_MS);
}

/* Memory for a contestant's own tables, zero at first. */
static inline void *bench_allocate(size_t count, size_t bytes) {
    void *memory = calloc(count, bytes);
    BENCH_REQUIRE(memory);
    return memory;
}

/* `rows` ends with one without a name. */
int bench_main(int argc, char **argv, const char *about, const bench_row *rows);

#ifdef __cplusplus
}
#endif
#endif
