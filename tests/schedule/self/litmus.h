/* Litmus programs: a few threads, a few atomics, and what the threads have seen at the end.
 *
 * A program is text, as "Wx1 Wy1 | Ry Rx": threads are parted by bars, and an operation is a letter with
 * the object (x, y, z) and its numbers:
 *     Rx load   Wx1 store 1   Ax1 add 1   Ex1 exchange for 1   Cx12 compare with 1, exchange for 2   F fence
 *     L light barrier, as a signal fence is   H heavy barrier, membarrier(2)
 * A second text of the same form, as "ab|cd", has a letter for each operation: those with the same
 * letter have the same order, and every choice of orders for the letters makes a variant. An order that
 * does not vary: '-' relaxed (no fence), 'A' acquire, 'R' release, 'B' both, 'S' sequentially consistent.
 *
 * An outcome is the values that the reads have got, in the order of the text, and, where the program asks
 * for it, what the objects hold when all is over. Schedules forget all that instrumented code has written,
 * so outcomes are counted by code that is not instrumented, in memory that no other code touches. */
#ifndef AMBIT_TESTS_LITMUS_H
#define AMBIT_TESTS_LITMUS_H

#include <inttypes.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ambit/schedule.h"

/* What the scheduler is not told of. */
#ifdef __clang__
#define HIDDEN __attribute__((disable_sanitizer_instrumentation, unused))
#else
#define HIDDEN __attribute__((no_sanitize("thread"), unused))
#endif

enum { LITMUS_THREADS = 4, LITMUS_OPERATIONS = 5, LITMUS_PLACES = 3, LITMUS_OUTCOMES = 512 };

typedef struct litmus_operation {
    char kind, group;
    uint8_t place, value, desired;
    uint8_t reads; /* the number of its result */
    int order, failure;
} litmus_operation;

typedef struct litmus_program {
    unsigned threads, reads;
    unsigned count[LITMUS_THREADS];
    bool finals; /* what the objects hold at the end is part of the outcome */
    litmus_operation operations[LITMUS_THREADS][LITMUS_OPERATIONS];
} litmus_program;

/* An outcome is packed: four bits for each value, from the first on. */
typedef struct litmus_outcome {
    uint64_t key;
    uint64_t seen;
    unsigned verdict; /* of c11.h */
} litmus_outcome;
typedef struct litmus_outcomes {
    unsigned count;
    litmus_outcome list[LITMUS_OUTCOMES];
} litmus_outcomes;

HIDDEN static litmus_outcome *litmus_outcome_of(litmus_outcomes *all, uint64_t key) {
    for (unsigned i = 0; i < all->count; i++)
        if (all->list[i].key == key) return &all->list[i];
    if (all->count == LITMUS_OUTCOMES) abort();
    litmus_outcome *made = &all->list[all->count++];
    made->key = key;
    made->seen = 0;
    made->verdict = 0;
    return made;
}

/* Release sequences are C++20's. */
static bool litmus_cxx20;

/* ---- Programs -------------------------------------------------------------------------------- */

HIDDEN static litmus_program litmus_parse(const char *text, const char *groups, bool finals) {
    litmus_program program = {.threads = 1, .finals = finals};
    for (; *text; text++) {
        if (*text == ' ') continue;
        while (*groups == ' ') groups++;
        unsigned thread = program.threads - 1;
        if (*text == '|') {
            program.threads++;
            if (*groups++ != '|') abort();
            continue;
        }
        litmus_operation *made = &program.operations[thread][program.count[thread]++];
        made->kind = *text;
        made->group = *groups++;
        if (strchr("FLH", *text)) continue;
        made->place = (uint8_t)(*++text - 'x');
        if (made->kind != 'R') made->value = (uint8_t)(*++text - '0');
        if (made->kind == 'C') made->desired = (uint8_t)(*++text - '0');
        if (made->kind != 'W') made->reads = (uint8_t)program.reads++;
    }
    return program;
}

/* The orders that an operation may have; -1 after the last. A fence that is relaxed is none. */
HIDDEN static int litmus_order(char kind, unsigned choice, int *failure) {
    static const int loads[] = {0, 2, 5, -1}, stores[] = {0, 3, 5, -1},
                     changes[] = {0, 2, 3, 4, 5, -1},
                     exchanges[][2] = {{0, 0}, {2, 2}, {3, 0}, {4, 2},
                                       {4, 0}, {5, 5}, {5, 0}, {-1, 0}};
    *failure = exchanges[0][1];
    if (kind == 'R') return loads[choice];
    if (kind == 'W') return stores[choice];
    if (kind != 'C') return changes[choice];
    *failure = exchanges[choice][1];
    return exchanges[choice][0];
}

/* Gives the orders that are chosen: one choice for each letter. */
HIDDEN static void litmus_choose(litmus_program *program, const unsigned choices[26]) {
    for (unsigned thread = 0; thread < program->threads; thread++)
        for (unsigned i = 0; i < program->count[thread]; i++) {
            litmus_operation *operation = &program->operations[thread][i];
            static const char by_order[] = "-.ARBS";
            const char *fixed = strchr(by_order, operation->group);
            operation->order = fixed
                                   ? (int)(fixed - by_order)
                                   : litmus_order(operation->kind, choices[operation->group - 'a'],
                                                  &operation->failure);
        }
}
/* The next choice; false after the last. */
HIDDEN static bool litmus_next(litmus_program *program, unsigned choices[26]) {
    for (char group = 'a'; group <= 'z'; group++) {
        char kind = 0;
        for (unsigned thread = 0; thread < program->threads; thread++)
            for (unsigned i = 0; i < program->count[thread]; i++)
                if (program->operations[thread][i].group == group)
                    kind = program->operations[thread][i].kind;
        if (!kind) return false;
        int failure;
        unsigned *choice = &choices[group - 'a'];
        if (litmus_order(kind, ++*choice, &failure) >= 0) {
            litmus_choose(program, choices);
            return true;
        }
        *choice = 0;
    }
    return false;
}

static const char *const litmus_orders[] = {"rlx", "con", "acq", "rel", "acq_rel", "sc"};

typedef struct litmus_text {
    char text[400];
} litmus_text;
__attribute__((format(printf, 2, 3))) static inline void litmus_add(litmus_text *to,
                                                                    const char *format, ...) {
    size_t used = strlen(to->text);
    va_list list;
    va_start(list, format);
    (void)vsnprintf(to->text + used, sizeof to->text - used, format, list);
    va_end(list);
}
static inline void litmus_add_operation(litmus_text *to, const litmus_operation *operation) {
    const char *order = litmus_orders[operation->order];
    char place = (char)('x' + operation->place);
    switch (operation->kind) {
    case 'R':
        litmus_add(to, "r%d=%c.%s", operation->reads, place, order);
        break;
    case 'W':
        litmus_add(to, "%c.%s=%d", place, order, operation->value);
        break;
    case 'A':
        litmus_add(to, "r%d=%c.%s+=%d", operation->reads, place, order, operation->value);
        break;
    case 'E':
        litmus_add(to, "r%d=swap(%c.%s,%d)", operation->reads, place, order, operation->value);
        break;
    case 'C':
        litmus_add(to, "r%d=cas(%c.%s/%s,%d,%d)", operation->reads, place, order,
                   litmus_orders[operation->failure], operation->value, operation->desired);
        break;
    case 'L':
        litmus_add(to, "light");
        break;
    case 'H':
        litmus_add(to, "heavy");
        break;
    default:
        litmus_add(to, "fence.%s", order);
        break;
    }
}
/* With its orders, for people. */
static inline litmus_text litmus_show(const litmus_program *program) {
    litmus_text made = {""};
    for (unsigned thread = 0; thread < program->threads; thread++) {
        const char *between = thread ? " \u2225 " : ""; /* a bar would end the table's column */
        for (unsigned i = 0; i < program->count[thread]; i++) {
            const litmus_operation *operation = &program->operations[thread][i];
            if (operation->kind == 'F' && !operation->order) continue;
            litmus_add(&made, "%s", between);
            litmus_add_operation(&made, operation);
            between = "; ";
        }
    }
    return made;
}
static inline litmus_text litmus_show_outcome(const litmus_program *program, uint64_t key) {
    litmus_text made = {""};
    for (unsigned i = 0; i < program->reads; i++, key >>= 4)
        litmus_add(&made, "%sr%u=%d", i ? " " : "", i, (int)(key & 15));
    for (unsigned i = 0; program->finals && i < LITMUS_PLACES; i++, key >>= 4)
        if (i < 2 || key & 15)
            litmus_add(&made, "%s%c=%d", made.text[0] ? " " : "", 'x' + (char)i, (int)(key & 15));
    return made;
}
/* "10": the values, in the same order. */
HIDDEN static uint64_t litmus_key(const char *digits) {
    uint64_t key = 0;
    for (unsigned i = 0; digits[i]; i++) key |= (uint64_t)(digits[i] - '0') << (4 * i);
    return key;
}

/* ---- Running --------------------------------------------------------------------------------- */

/* What is told. Clang takes code into one that is not told of, and then it is not either. */
#define TOLD static __attribute__((noinline, unused))

/* Compilers pass the orders on as they stand here, one call site for each. */
#define LITMUS_BY_ORDER(order, DO)                                                                 \
    switch (order) {                                                                               \
    case memory_order_relaxed:                                                                     \
        DO(memory_order_relaxed);                                                                  \
        break;                                                                                     \
    case memory_order_acquire:                                                                     \
        DO(memory_order_acquire);                                                                  \
        break;                                                                                     \
    case memory_order_release:                                                                     \
        DO(memory_order_release);                                                                  \
        break;                                                                                     \
    case memory_order_acq_rel:                                                                     \
        DO(memory_order_acq_rel);                                                                  \
        break;                                                                                     \
    default:                                                                                       \
        DO(memory_order_seq_cst);                                                                  \
        break;                                                                                     \
    }

typedef struct litmus_cell {
    _Alignas(64) _Atomic(uint32_t) value;
} litmus_cell;
static litmus_cell litmus_cells[LITMUS_PLACES];

TOLD uint32_t litmus_load(unsigned place, int order) {
    _Atomic(uint32_t) *at = &litmus_cells[place].value;
    switch (order) {
    case memory_order_relaxed:
        return atomic_load_explicit(at, memory_order_relaxed);
    case memory_order_acquire:
        return atomic_load_explicit(at, memory_order_acquire);
    default:
        return atomic_load_explicit(at, memory_order_seq_cst);
    }
}
TOLD void litmus_store(unsigned place, uint32_t value, int order) {
    _Atomic(uint32_t) *at = &litmus_cells[place].value;
    switch (order) {
    case memory_order_relaxed:
        atomic_store_explicit(at, value, memory_order_relaxed);
        break;
    case memory_order_release:
        atomic_store_explicit(at, value, memory_order_release);
        break;
    default:
        atomic_store_explicit(at, value, memory_order_seq_cst);
        break;
    }
}
TOLD uint32_t litmus_add_to(unsigned place, uint32_t value, int order) {
    _Atomic(uint32_t) *at = &litmus_cells[place].value;
    uint32_t before = 0;
#define LITMUS_DO(constant) before = atomic_fetch_add_explicit(at, value, constant)
    LITMUS_BY_ORDER(order, LITMUS_DO)
#undef LITMUS_DO
    return before;
}
TOLD uint32_t litmus_exchange(unsigned place, uint32_t value, int order) {
    _Atomic(uint32_t) *at = &litmus_cells[place].value;
    uint32_t before = 0;
#define LITMUS_DO(constant) before = atomic_exchange_explicit(at, value, constant)
    LITMUS_BY_ORDER(order, LITMUS_DO)
#undef LITMUS_DO
    return before;
}
TOLD uint32_t litmus_compare_exchange(unsigned place, uint32_t expected, uint32_t desired,
                                      int order, int failure) {
    _Atomic(uint32_t) *at = &litmus_cells[place].value;
    switch (order * 8 + failure) {
#define LITMUS_CASE(success, otherwise)                                                            \
    case success * 8 + otherwise:                                                                  \
        (void)atomic_compare_exchange_strong_explicit(at, &expected, desired, success, otherwise); \
        break;
        LITMUS_CASE(memory_order_relaxed, memory_order_relaxed)
        LITMUS_CASE(memory_order_acquire, memory_order_acquire)
        LITMUS_CASE(memory_order_release, memory_order_relaxed)
        LITMUS_CASE(memory_order_acq_rel, memory_order_acquire)
        LITMUS_CASE(memory_order_acq_rel, memory_order_relaxed)
        LITMUS_CASE(memory_order_seq_cst, memory_order_seq_cst)
        LITMUS_CASE(memory_order_seq_cst, memory_order_relaxed)
#undef LITMUS_CASE
    default:
        abort();
    }
    return expected;
}
TOLD void litmus_fence(int order) {
#define LITMUS_DO(constant) atomic_thread_fence(constant)
    if (order) LITMUS_BY_ORDER(order, LITMUS_DO)
#undef LITMUS_DO
}

TOLD void litmus_light(void) { atomic_signal_fence(memory_order_seq_cst); }
TOLD void litmus_heavy(void) {
    /* Who has not registered gets an error, and no barrier. */
    ambit_schedule_assert(!syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
}

static const litmus_program *litmus_playing;
static uint64_t litmus_got[16]; /* by number of the read */
static litmus_outcomes *litmus_seen;

HIDDEN static void litmus_play_thread(void *argument) {
    unsigned thread = (unsigned)(uintptr_t)argument;
    for (unsigned i = 0; i < litmus_playing->count[thread]; i++) {
        const litmus_operation *now = &litmus_playing->operations[thread][i];
        switch (now->kind) {
        case 'R':
            litmus_got[now->reads] = litmus_load(now->place, now->order);
            break;
        case 'W':
            litmus_store(now->place, now->value, now->order);
            break;
        case 'A':
            litmus_got[now->reads] = litmus_add_to(now->place, now->value, now->order);
            break;
        case 'E':
            litmus_got[now->reads] = litmus_exchange(now->place, now->value, now->order);
            break;
        case 'C':
            litmus_got[now->reads] = litmus_compare_exchange(now->place, now->value, now->desired,
                                                             now->order, now->failure);
            break;
        case 'L':
            litmus_light();
            break;
        case 'H':
            litmus_heavy();
            break;
        default:
            litmus_fence(now->order);
            break;
        }
    }
}
HIDDEN static void litmus_scenario(void *argument) {
    (void)argument;
    ambit_schedule_thread threads[LITMUS_THREADS];
    for (unsigned i = 0; i < litmus_playing->threads; i++)
        threads[i] = ambit_schedule_spawn(litmus_play_thread, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < litmus_playing->threads; i++) ambit_schedule_join(threads[i]);
    uint64_t key = 0;
    unsigned shift = 0;
    for (unsigned i = 0; i < litmus_playing->reads; i++, shift += 4) key |= litmus_got[i] << shift;
    for (unsigned i = 0; litmus_playing->finals && i < LITMUS_PLACES; i++, shift += 4) {
        uint32_t last = litmus_load(i, memory_order_relaxed);
        ambit_schedule_assert(*(const uint32_t *)&litmus_cells[i] == last); /* as it is in memory */
        key |= (uint64_t)last << shift;
    }
    litmus_outcome_of(litmus_seen, key)->seen++;
}

/* Runs `schedules` of them and counts their outcomes in `seen`; fills in the result. */
static inline int litmus_run(const litmus_program *program, ambit_schedule_strategy strategy,
                             uint64_t schedules, uint64_t seed, litmus_outcomes *seen,
                             ambit_schedule_result *result) {
    litmus_playing = program;
    litmus_seen = seen;
    ambit_schedule_options options = {.name = "litmus",
                                      .schedules = schedules,
                                      .seed = seed,
                                      .strategy = strategy,
                                      .no_leaks = true,
                                      .quiet = true,
                                      .cxx20_release_sequences = litmus_cxx20,
                                      .result = result};
    return ambit_schedule_run(litmus_scenario, &options);
}

#endif
