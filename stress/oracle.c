/* Built twice, like the halves: WRONG says whether a report is what we are after. */
#include "oracle.h"

#include <errno.h>
#include <linux/futex.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_CLEAN = 0, EXIT_USAGE = 2, EXIT_CAUGHT = 3, EXIT_MISSED = 4, PAIRS = 4, NAME = 128 };

/* Functions must have names also where LLVM's symbolizer is not installed; addr2line comes with the
 * linker. Debian's clang has the path of the former built in, so the latter must be named. */
#ifdef STRESS_ADDR2LINE
#define SYMBOLIZER "external_symbolizer_path=" STRESS_ADDR2LINE ":"
#else
#define SYMBOLIZER "allow_addr2line=1:"
#endif

/* Set by one thread before the others start, but for what is atomic by built-in. */
static uint64_t seed;
static double seconds = 1;
static struct pair {
    const char *one, *other;
    unsigned seen; /* written in the report hook, which the runtime serialises */
} pairs[PAIRS];
static unsigned pair_count;
static uint32_t stage;
static uint32_t hits;
static uint32_t foreign;            /* reports that no pair explains */
static char foreign_text[2 * NAME]; /* the first of them */

/* ---- The line and the code ------------------------------------------------------------------- */

/* Without stdio: it may be called with a sanitizer's locks held, beside any thread. */
ORACLE_HIDDEN _Noreturn static void leave(int code, const char *text) {
    static uint32_t left; /* only the first one speaks */
    char line[768];
    while (__atomic_exchange_n(&left, 1, __ATOMIC_ACQ_REL)) syscall(SYS_sched_yield);
    const char *word = code == EXIT_CLEAN ? "clean" : code == EXIT_CAUGHT ? "caught" : "missed";
    int length = snprintf(line, sizeof line, "evidence: %s %s\n", word, text);
    if (length >= (int)sizeof line) length = (int)sizeof line - 1;
    if (write(STDOUT_FILENO, line, (size_t)length) != length) code = EXIT_MISSED;
    _exit(code);
}

void oracle_broken(const char *file, int line, const char *what) {
    char text[512];
    snprintf(text, sizeof text, "the set-up failed at %s:%d: %s", file, line, what);
    leave(EXIT_MISSED, text);
}

/* ---- Start ----------------------------------------------------------------------------------- */

void oracle_start(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    seed = (uint64_t)now.tv_nsec ^ ((uint64_t)getpid() << 32);
    for (int at = 1; at < argc; at += 2) {
        bool takes_seed = !strcmp(argv[at], "--seed"),
             takes_seconds = !strcmp(argv[at], "--seconds");
        if (at + 1 >= argc || (!takes_seed && !takes_seconds)) {
            fprintf(stderr, "%s: unknown option or no value: %s\n", argv[0], argv[at]);
            exit(EXIT_USAGE);
        }
        if (takes_seed) seed = strtoull(argv[at + 1], NULL, 0);
        if (takes_seconds) seconds = strtod(argv[at + 1], NULL);
    }
    printf("seed: %llu\n", (unsigned long long)seed);
    fflush(stdout);
}

uint64_t oracle_seed(void) { return seed; }

double oracle_seconds(void) { return seconds; }

double oracle_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

uint64_t oracle_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---- The stage ------------------------------------------------------------------------------- */

ORACLE_HIDDEN void oracle_reach(uint32_t step) {
    uint32_t now = __atomic_load_n(&stage, __ATOMIC_ACQUIRE);
    while (now < step && !__atomic_compare_exchange_n(&stage, &now, step, false, __ATOMIC_ACQ_REL,
                                                      __ATOMIC_ACQUIRE)) {
    }
    syscall(SYS_futex, &stage, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

ORACLE_HIDDEN void oracle_wait(uint32_t step) {
    const struct timespec cap = {20, 0};
    uint32_t now;
    while ((now = __atomic_load_n(&stage, __ATOMIC_ACQUIRE)) < step) {
        long got = syscall(SYS_futex, &stage, FUTEX_WAIT_PRIVATE, now, &cap, NULL, 0);
        if (got && errno == ETIMEDOUT) leave(EXIT_MISSED, "a step of the order never came (20 s)");
    }
}

ORACLE_HIDDEN void oracle_hit(void) { __atomic_fetch_add(&hits, 1, __ATOMIC_RELAXED); }

/* ---- ThreadSanitizer's reports --------------------------------------------------------------- */

void oracle_expect_race(const char *one, const char *other) {
    if (!WRONG) return; /* a right half has no race to expect */
    ORACLE_NEED(pair_count < PAIRS);
    pairs[pair_count++] = (struct pair){one, other, 0};
}

#ifdef ORACLE_TSAN
int __tsan_get_report_data(void *report, const char **description, int *count, int *stacks,
                           int *mops, int *locs, int *mutexes, int *threads, int *unique_tids,
                           void **sleep_trace, unsigned long trace_size);
int __tsan_get_report_mop(void *report, unsigned long index, int *tid, void **addr, int *size,
                          int *write, int *atomic, void **trace, unsigned long trace_size);
void __sanitizer_symbolize_pc(void *pc, const char *format, char *out, size_t size);
void __tsan_on_report(void *report);
const char *__tsan_default_options(void);

/* Every access is to be reported, also the second at one address: the pairs are counted. */
ORACLE_HIDDEN const char *__tsan_default_options(void) {
    return "suppress_equal_stacks=0:suppress_equal_addresses=0:exitcode=66:"
           "history_size=4:atexit_sleep_ms=0:" SYMBOLIZER
#ifdef STRESS_SUPPRESSIONS
           "suppressions=" STRESS_SUPPRESSIONS ":"
#endif
           "halt_on_error="
#if WRONG
           "0";
#else
           "1";
#endif
}

ORACLE_HIDDEN static void name_access(void *report, unsigned long index, char *name) {
    void *trace[8] = {NULL}, *addr;
    int tid, size, is_write, is_atomic;
    snprintf(name, NAME, "?");
    if (__tsan_get_report_mop(report, index, &tid, &addr, &size, &is_write, &is_atomic, trace, 8) &&
        trace[0])
        __sanitizer_symbolize_pc(trace[0], "%f", name, NAME);
}

ORACLE_HIDDEN void __tsan_on_report(void *report) {
    const char *kind = "?";
    int count, stacks, mops = 0, locs, mutexes, threads, unique;
    void *sleep_trace[1];
    char first[NAME] = "?", second[NAME] = "?";
    __tsan_get_report_data(report, &kind, &count, &stacks, &mops, &locs, &mutexes, &threads,
                           &unique, sleep_trace, 1);
    if (mops > 0) name_access(report, 0, first);
    if (mops > 1) name_access(report, 1, second);
    for (unsigned at = 0; mops == 2 && !strcmp(kind, "data-race") && at < pair_count; at++) {
        struct pair *pair = &pairs[at];
        if ((!strcmp(first, pair->one) && !strcmp(second, pair->other)) ||
            (!strcmp(first, pair->other) && !strcmp(second, pair->one))) {
            __atomic_fetch_add(&pair->seen, 1, __ATOMIC_RELAXED);
            return;
        }
    }
    if (!__atomic_fetch_add(&foreign, 1, __ATOMIC_RELAXED))
        snprintf(foreign_text, sizeof foreign_text, "%s in %s / %s", kind, first, second);
#if !WRONG
    leave(EXIT_CAUGHT, foreign_text); /* the report itself is on stderr */
#endif
}
#endif

/* ---- AddressSanitizer's reports -------------------------------------------------------------- */

static const char *address_kind, *address_function;

#ifdef ORACLE_ASAN
const char *__asan_get_report_description(void);
void *__asan_get_report_pc(void);
void __asan_set_error_report_callback(void (*callback)(const char *));
void __sanitizer_symbolize_pc(void *pc, const char *format, char *out, size_t size);
int __lsan_do_recoverable_leak_check(void);

const char *__asan_default_options(void);

ORACLE_HIDDEN const char *__asan_default_options(void) { return SYMBOLIZER; }

ORACLE_HIDDEN static void on_address_error(const char *report) {
    const char *kind = __asan_get_report_description();
    char name[NAME] = "?", text[3 * NAME];
    (void)report;
    __sanitizer_symbolize_pc(__asan_get_report_pc(), "%f", name, NAME);
    bool expected = address_kind && !strcmp(kind, address_kind) && !strcmp(name, address_function);
    snprintf(text, sizeof text, "%s in %s%s", kind, name,
             expected ? "" : ", which nobody expected");
    if (expected && !__atomic_load_n(&hits, __ATOMIC_RELAXED))
        leave(EXIT_MISSED, "the targeted interleaving never happened");
    leave(expected || !WRONG ? EXIT_CAUGHT : EXIT_MISSED, text);
}
#endif

void oracle_expect_address_error(const char *kind, const char *function) {
    address_kind = kind;
    address_function = function;
}

__attribute__((constructor)) static void watch_addresses(void) {
#ifdef ORACLE_ASAN
    __asan_set_error_report_callback(on_address_error);
#endif
}

/* ---- Memory ---------------------------------------------------------------------------------- */

#if defined(ORACLE_TSAN) || defined(ORACLE_ASAN)
size_t __sanitizer_get_current_allocated_bytes(void);
#endif

size_t oracle_heap_bytes(void) {
#if defined(ORACLE_TSAN) || defined(ORACLE_ASAN)
    return __sanitizer_get_current_allocated_bytes();
#else
    return mallinfo2().uordblks;
#endif
}

/* ---- End ------------------------------------------------------------------------------------- */

/* NULL if all that was expected was reported and nothing else. */
static const char *reports_differ(char *text, size_t size) {
    if (__atomic_load_n(&foreign, __ATOMIC_ACQUIRE)) {
        snprintf(text, size, "a report that is not the expected one: %s", foreign_text);
        return text;
    }
#if defined(ORACLE_TSAN) && WRONG
    for (unsigned at = 0; at < pair_count; at++) {
        if (pairs[at].seen) continue;
        snprintf(text, size, "no race reported of %s and %s", pairs[at].one, pairs[at].other);
        return text;
    }
#endif
#if defined(ORACLE_ASAN) && WRONG
    if (address_kind) return "AddressSanitizer did not stop it";
#endif
#if defined(ORACLE_ASAN) && !WRONG
    if (__lsan_do_recoverable_leak_check()) return "LeakSanitizer found leaks";
#endif
    return NULL;
}

void oracle_end(bool as_said, const char *format, ...) {
    char text[640], own[320], differ[3 * NAME], race[3 * NAME] = "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(own, sizeof own, format, arguments);
    va_end(arguments);
    fflush(NULL);
    uint32_t times = __atomic_load_n(&hits, __ATOMIC_RELAXED);
    const char *other = reports_differ(differ, sizeof differ);
    if (pair_count && pairs[0].seen)
        snprintf(race, sizeof race, "race of %s and %s; ", pairs[0].one, pairs[0].other);
    if (!times) leave(EXIT_MISSED, "the targeted interleaving never happened");
    snprintf(text, sizeof text, "%s%s%s%s (interleaved %u times)", other ? other : "",
             other ? "; " : "", race, own, times);
    bool good = as_said && !other;
    if (WRONG) leave(good ? EXIT_CAUGHT : EXIT_MISSED, text);
    leave(good ? EXIT_CLEAN : EXIT_CAUGHT, text);
}
