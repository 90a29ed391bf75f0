/* What every half of the case book is judged by.
 *
 * A half forces the order of two accesses, does its work, and ends in ORACLE_END, which prints one
 * line and exits with the code that agrees with it:
 *
 *     evidence: caught <text>   exit 3   the bug was there, and was seen
 *     evidence: clean <text>    exit 0   nothing was wrong
 *     evidence: missed <text>   exit 4   the bug should have been seen and was not, or the targeted
 *                                        interleaving never happened: the half proves nothing
 *
 * THE ORDER is forced by a barrier that ThreadSanitizer cannot see: a raw futex system call and
 * __atomic built-ins in functions without instrumentation. The threads do meet in time, but for
 * the sanitizer no edge orders them, so a race is reported every time and not by luck.
 *
 * THE REPORT is asserted in the process: ThreadSanitizer's own hook hands us each report; it must
 * be a data race between exactly the two functions that the half has named. A right half names none
 * and stops at the first report. In the same way AddressSanitizer's callback must name the
 * kind and the function of the bad read.
 *
 * One source of a case is built twice, with WRONG=1 and WRONG=0; oracle.c as well. */
#ifndef STRESS_ORACLE_H
#define STRESS_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ORACLE_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#define ORACLE_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) && !defined(ORACLE_TSAN)
#define ORACLE_TSAN 1
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(ORACLE_ASAN)
#define ORACLE_ASAN 1
#endif

/* No sanitizer looks into a function that is marked so. */
#if defined(__clang__)
#define ORACLE_HIDDEN __attribute__((disable_sanitizer_instrumentation, noinline))
#else
#define ORACLE_HIDDEN __attribute__((no_sanitize("thread"), noinline))
#endif

/* A function that a report must name: it keeps a frame of its own. */
#define ORACLE_NAMED __attribute__((noinline))

/* Reads --seed S (printed; drawn from the clock if absent) and --seconds N; anything else is an
 * error. First thing in main(). */
void oracle_start(int argc, char **argv);
uint64_t oracle_seed(void);
/* How long a torture may last; 1 if not given. */
double oracle_seconds(void);
double oracle_now(void); /* seconds, monotonic */

/* The next number of a stream; any start value will do. */
uint64_t oracle_random(uint64_t *state);

/* Every data race must be between these two functions, in either order; at most 4 such pairs. Under
 * ThreadSanitizer each of them must have been seen by the end. In a right half it expects nothing.
 */
void oracle_expect_race(const char *one, const char *other);
/* AddressSanitizer must stop this process with this kind of error in this function. It ends the
 * half there, as caught. Ignored in other builds. */
void oracle_expect_address_error(const char *kind, const char *function);

/* The stage: a number that only grows. `oracle_reach` raises it, `oracle_wait` waits until it is at
 * least `step`; a wait of more than 20 s ends the half as missed. */
ORACLE_HIDDEN void oracle_reach(uint32_t step);
ORACLE_HIDDEN void oracle_wait(uint32_t step);

/* Counts one more time that the targeted interleaving happened. */
ORACLE_HIDDEN void oracle_hit(void);

/* Bytes of the heap in use, in the whole process. */
size_t oracle_heap_bytes(void);

/* A failed set-up: prints what, and ends the half as missed. */
#define ORACLE_NEED(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) oracle_broken(__FILE__, __LINE__, #condition);                           \
    } while (0)
_Noreturn void oracle_broken(const char *file, int line, const char *what);

/* Ends the half. `as_said` is the half's own figure: for a wrong half that the damage was
 * counted, for a right half that there was none. */
#define ORACLE_END(as_said, ...) oracle_end((as_said), __VA_ARGS__)
_Noreturn void oracle_end(bool as_said, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
