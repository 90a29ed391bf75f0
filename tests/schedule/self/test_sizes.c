/* Atomics of every size: 16 bytes are as good as 4, what is larger keeps to the orders too, and an object may be
 * looked at in two sizes. A row is a scenario, and what it comes to. */
#include <stdatomic.h>

#include "outcome.h"

#ifdef __clang__ /* it says that these are slow */
#pragma clang diagnostic ignored "-Watomic-alignment"
#endif

enum {
    RELAXED = memory_order_relaxed,
    ACQUIRE = memory_order_acquire,
    RELEASE = memory_order_release,
    BOTH = memory_order_acq_rel
};

static void run_all(ambit_schedule_fn *one, ambit_schedule_fn *two, ambit_schedule_fn *three) {
    ambit_schedule_fn *const all[] = {one, two, three};
    ambit_schedule_thread threads[3];
    unsigned count = three ? 3 : 2;
    for (unsigned i = 0; i < count; i++) threads[i] = ambit_schedule_spawn(all[i], NULL);
    for (unsigned i = 0; i < count; i++) ambit_schedule_join(threads[i]);
}

static int plain;

/* Message passing with a flag of `type`: `before` and `stored` by who sends, `loaded` and `after` by who receives. */
#define SENT(name, type, before, stored, loaded, after)                                            \
    static _Atomic(type) name##_flag;                                                              \
    static void name##_send(void *argument) {                                                      \
        (void)argument;                                                                            \
        plain = 1;                                                                                 \
        if ((before) != RELAXED) atomic_thread_fence(before);                                      \
        atomic_store_explicit(&name##_flag, name##_value(1), stored);                              \
    }                                                                                              \
    static void name##_receive(void *argument) {                                                   \
        (void)argument;                                                                            \
        if (!name##_number(atomic_load_explicit(&name##_flag, loaded))) return;                    \
        if ((after) != RELAXED) atomic_thread_fence(after);                                        \
        ambit_schedule_assert(plain == 1);                                                         \
    }                                                                                              \
    static void name(void *argument) {                                                             \
        (void)argument;                                                                            \
        run_all(name##_send, name##_receive, NULL);                                                \
    }

#define NUMBERS(name, type)                                                                        \
    static type name##_value(int number) { return (type)number; }                                  \
    static int name##_number(type value) { return (int)value; }

typedef struct {
    uint64_t one, two, three;
} large;
#define LARGES(name)                                                                               \
    static large name##_value(int number) { return (large){0, 0, (uint64_t)number}; }              \
    static int name##_number(large value) { return (int)value.three; }

__extension__ typedef unsigned __int128 wide;

#define SENT_NUMBERS(name, type, ...) NUMBERS(name, type) SENT(name, type, __VA_ARGS__)
#define SENT_LARGE(name, ...) LARGES(name) SENT(name, large, __VA_ARGS__)
SENT_NUMBERS(bytes, uint8_t, RELAXED, RELEASE, ACQUIRE, RELAXED)
SENT_NUMBERS(shorts_by_fences, uint16_t, RELEASE, RELAXED, RELAXED, ACQUIRE)
SENT_NUMBERS(wides, wide, RELAXED, RELEASE, ACQUIRE, RELAXED)
SENT_NUMBERS(wides_not_released, wide, RELAXED, RELAXED, ACQUIRE, RELAXED)
SENT_NUMBERS(wides_not_acquired, wide, RELAXED, RELEASE, RELAXED, RELAXED)
SENT_NUMBERS(wides_by_fences, wide, RELEASE, RELAXED, RELAXED, ACQUIRE)
SENT_NUMBERS(wides_by_half_fences, wide, ACQUIRE, RELAXED, RELAXED, ACQUIRE)
SENT_LARGE(larges, RELAXED, RELEASE, ACQUIRE, RELAXED)
SENT_LARGE(larges_not_released, RELAXED, RELAXED, ACQUIRE, RELAXED)
SENT_LARGE(larges_not_acquired, RELAXED, RELEASE, RELAXED, RELAXED)
SENT_LARGE(larges_by_fences, RELEASE, RELAXED, RELAXED, ACQUIRE)
SENT_LARGE(larges_by_half_fences, RELEASE, RELAXED, RELAXED, RELEASE)

/* ---- What others change in between, and exchanges that fail ---------------------------------- */

static _Atomic(wide) wide_flag;
static _Atomic(large) large_flag;
#define RELEASES(name, flag, value)                                                                \
    static void name(void *argument) {                                                             \
        (void)argument;                                                                            \
        plain = 1;                                                                                 \
        __typeof__(value) next = value;                                                            \
        atomic_store_explicit(&(flag), next, memory_order_release);                                \
    }
RELEASES(release_wide, wide_flag, (wide)1)
RELEASES(release_large, large_flag, ((large){0, 0, 1}))

static void exchange_wide(void *argument) {
    (void)argument;
    wide expected = 1;
    atomic_compare_exchange_strong_explicit(&wide_flag, &expected, 2, RELAXED, RELAXED);
}
static void overwrite_wide(void *argument) {
    (void)argument;
    if (atomic_load_explicit(&wide_flag, RELAXED) == 1)
        atomic_store_explicit(&wide_flag, 2, RELAXED);
}
static void exchange_large(void *argument) {
    (void)argument;
    large expected = {0, 0, 1}, desired = {0, 0, 2};
    atomic_compare_exchange_strong_explicit(&large_flag, &expected, desired, RELAXED, RELAXED);
}
static void overwrite_large(void *argument) {
    (void)argument;
    large next = {0, 0, 2};
    if (larges_number(atomic_load_explicit(&large_flag, RELAXED)) == 1)
        atomic_store_explicit(&large_flag, next, RELAXED);
}
static void see_wide(void *argument) {
    (void)argument;
    if (atomic_load_explicit(&wide_flag, ACQUIRE) == 2) ambit_schedule_assert(plain == 1);
}
static void see_large(void *argument) {
    (void)argument;
    if (larges_number(atomic_load_explicit(&large_flag, ACQUIRE)) == 2)
        ambit_schedule_assert(plain == 1);
}
static void wide_exchanged(void *argument) {
    (void)argument;
    run_all(release_wide, exchange_wide, see_wide);
}
static void wide_overwritten(void *argument) {
    (void)argument;
    run_all(release_wide, overwrite_wide, see_wide);
}
static void large_exchanged(void *argument) {
    (void)argument;
    run_all(release_large, exchange_large, see_large);
}
static void large_overwritten(void *argument) {
    (void)argument;
    run_all(release_large, overwrite_large, see_large);
}

/* By the order that it fails with, and not by the other. */
#define FAILS(name, flag, type, none, number, success, failure)                                    \
    static void name##_try(void *argument) {                                                       \
        (void)argument;                                                                            \
        type expected = none, desired = none;                                                      \
        if (!atomic_compare_exchange_strong_explicit(&(flag), &expected, desired, success,         \
                                                     failure) &&                                   \
            number(expected) == 1)                                                                 \
            ambit_schedule_assert(plain == 1);                                                     \
    }                                                                                              \
    static void name(void *argument) {                                                             \
        (void)argument;                                                                            \
        run_all(release_##flag, name##_try, NULL);                                                 \
    }
#define release_wide_flag release_wide
#define release_large_flag release_large
FAILS(wide_fails_acquiring, wide_flag, wide, 7, wides_number, RELAXED, ACQUIRE)
FAILS(wide_fails_relaxed, wide_flag, wide, 7, wides_number, BOTH, RELAXED)
#define SEVEN                                                                                      \
    { 0, 0, 7 }
FAILS(large_fails_acquiring, large_flag, large, SEVEN, larges_number, RELAXED, ACQUIRE)
FAILS(large_fails_relaxed, large_flag, large, SEVEN, larges_number, BOTH, RELAXED)

/* ---- A release sequence that another has a part in ------------------------------------------- */

static _Atomic(int) sequence, exchanged;
static void begin_and_go_on(void *argument) {
    (void)argument;
    plain = 1;
    atomic_store_explicit(&sequence, 1, RELEASE);
    if (atomic_load_explicit(&exchanged, RELAXED)) atomic_store_explicit(&sequence, 5, RELAXED);
}
static void exchange_and_begin(void *argument) {
    (void)argument;
    int expected = 1;
    if (atomic_compare_exchange_strong_explicit(&sequence, &expected, 2, RELEASE, RELAXED))
        atomic_store_explicit(&exchanged, 1, RELAXED);
}
static void see_the_end(void *argument) {
    (void)argument;
    if (atomic_load_explicit(&sequence, ACQUIRE) == 5) ambit_schedule_assert(plain == 1);
}
static void sequence_goes_on(void *argument) {
    (void)argument;
    run_all(begin_and_go_on, exchange_and_begin, see_the_end);
}

/* ---- Stale, and in two sizes ----------------------------------------------------------------- */

static _Atomic(wide) data;
static _Atomic(int) ready;
static void write_data(void *argument) {
    (void)argument;
    atomic_store_explicit(&data, (wide)1 << 100, RELAXED);
    atomic_store_explicit(&ready, 1, RELAXED);
}
static void read_data(void *argument) {
    (void)argument;
    if (atomic_load_explicit(&ready, RELAXED))
        ambit_schedule_assert(atomic_load_explicit(&data, RELAXED) == (wide)1 << 100);
}
static void wide_is_stale(void *argument) {
    (void)argument;
    run_all(write_data, read_data, NULL);
}

static union {
    _Atomic(wide) both;
    struct {
        _Atomic(uint64_t) pointer, tag;
    } halves;
} tagged;
static void change_both(void *argument) {
    (void)argument;
    uint64_t tag, pointer;
    wide expected;
    do {
        tag = atomic_load_explicit(&tagged.halves.tag, ACQUIRE);
        pointer = atomic_load_explicit(&tagged.halves.pointer, ACQUIRE);
        expected = (wide)tag << 64 | pointer;
    } while (!atomic_compare_exchange_strong(&tagged.both, &expected,
                                             (wide)(tag + 1) << 64 | (pointer + 1)));
}
static void halves_and_both(void *argument) {
    (void)argument;
    run_all(change_both, change_both, NULL);
    ambit_schedule_assert(atomic_load_explicit(&tagged.halves.pointer, RELAXED) == 2);
    ambit_schedule_assert(atomic_load_explicit(&tagged.halves.tag, RELAXED) == 2);
    atomic_store_explicit(&tagged.halves.tag, 9, RELAXED);
    ambit_schedule_assert(atomic_load_explicit(&tagged.both, RELAXED) == ((wide)9 << 64 | 2));
}
static void publish_both(void *argument) {
    (void)argument;
    plain = 1;
    wide expected = 0;
    (void)atomic_compare_exchange_strong_explicit(&tagged.both, &expected, (wide)1 << 64 | 1,
                                                  RELEASE, RELAXED);
}
static void read_half(void *argument) {
    (void)argument;
    if (atomic_load_explicit(&tagged.halves.tag, ACQUIRE)) ambit_schedule_assert(plain == 1);
}
static void half_is_published(void *argument) {
    (void)argument;
    run_all(publish_both, read_half, NULL);
}
/* What is written plainly begins both halves anew. */
static void written_plainly(void *argument) {
    (void)argument;
    atomic_store(&tagged.both, (wide)5 << 64 | 4);
    ambit_schedule_assert(atomic_load_explicit(&tagged.both, RELAXED) == ((wide)5 << 64 | 4));
    memset(&tagged.halves.tag, 0, sizeof tagged.halves.tag);
    ambit_schedule_assert(atomic_load_explicit(&tagged.both, RELAXED) == 4);
}

/* ---- Weak exchanges fail for nothing --------------------------------------------------------- */

static _Atomic(int) weak_object;
static _Atomic(wide) weak_wide;
static void exchange_weakly(void *argument) {
    (void)argument;
    int expected = 0;
    bool made = atomic_compare_exchange_weak(&weak_object, &expected, 1);
    ambit_schedule_assert(expected == 0 && weak_object == made);
    ambit_schedule_assert(made);
}
static void exchange_wide_weakly(void *argument) {
    (void)argument;
    wide expected = 0;
    ambit_schedule_assert(atomic_compare_exchange_weak(&weak_wide, &expected, 1));
}
static void exchange_strongly(void *argument) {
    (void)argument;
    int expected = 0;
    ambit_schedule_assert(atomic_compare_exchange_strong(&weak_object, &expected, 1));
}
static void weak_exchanges_fail(void **state) {
    (void)state;
    expect_failure(exchange_weakly, AMBIT_SCHEDULE_ASSERTION, "assertion failed: made");
    expect_failure(exchange_wide_weakly, AMBIT_SCHEDULE_ASSERTION, "weak");
    expect_clean(exchange_strongly);
    expect_clean_with(exchange_weakly,
                      (ambit_schedule_options){.schedules = 1000, .no_spurious = true});
}

/* ---- Larger ones: the caller's copies, and who has changed something ------------------------- */

static large copy;
static void store_copy(void *argument) {
    (void)argument;
    __atomic_store((large *)&large_flag, &copy, __ATOMIC_RELAXED);
}
static void change_copy(void *argument) {
    (void)argument;
    copy.three++;
}
static void copy_is_changed(void *argument) {
    (void)argument;
    run_all(store_copy, change_copy, NULL);
}

/* It is no loop that waits, however often it looks: it may come to its end before another begins. */
static _Atomic(bool) turned;
static void turn_many_times(void *argument) {
    (void)argument;
    for (uint64_t i = 0; i < 60; i++) {
        large next = {i & 1, 0, 0};
        atomic_store_explicit(&large_flag, next, RELAXED);
        (void)larges_number(atomic_load_explicit(&large_flag, RELAXED));
    }
    atomic_store(&turned, true);
}
static void come_late(void *argument) {
    (void)argument;
    ambit_schedule_assert(!atomic_load(&turned));
}
static void turned_before(void *argument) {
    (void)argument;
    run_all(turn_many_times, come_late, NULL);
}
static void changes_are_no_waiting(void **state) {
    (void)state;
    /* So few steps that a loop which waits is not let go on alone for long enough. */
    expect_failure_with(turned_before, (ambit_schedule_options){.schedules = 10000, .steps = 400},
                        AMBIT_SCHEDULE_ASSERTION, "turned");
}

/* ---- The table ------------------------------------------------------------------------------- */

typedef struct row {
    ambit_schedule_fn *scenario;
    ambit_schedule_failure failure;
} row;
#define CLEAN(name)                                                                                \
    {                                                                                              \
#name, row_holds, NULL, NULL, &(row) { name, AMBIT_SCHEDULE_CLEAN }                        \
    }
#define RACES(name)                                                                                \
    {                                                                                              \
#name, row_holds, NULL, NULL, &(row) { name, AMBIT_SCHEDULE_RACE }                         \
    }
#define WRONG(name)                                                                                \
    {                                                                                              \
#name, row_holds, NULL, NULL, &(row) { name, AMBIT_SCHEDULE_ASSERTION }                    \
    }

static void row_holds(void **state) {
    const row *of = *state;
    if (of->failure)
        expect_failure(of->scenario, of->failure, "");
    else
        expect_clean_with(of->scenario, (ambit_schedule_options){.schedules = 3000});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CLEAN(bytes),
        CLEAN(shorts_by_fences),
        CLEAN(wides),
        RACES(wides_not_released),
        RACES(wides_not_acquired),
        CLEAN(wides_by_fences),
        RACES(wides_by_half_fences),
        CLEAN(larges),
        RACES(larges_not_released),
        RACES(larges_not_acquired),
        CLEAN(larges_by_fences),
        RACES(larges_by_half_fences),
        CLEAN(wide_exchanged),
        RACES(wide_overwritten),
        CLEAN(large_exchanged),
        RACES(large_overwritten),
        CLEAN(wide_fails_acquiring),
        RACES(wide_fails_relaxed),
        CLEAN(large_fails_acquiring),
        RACES(large_fails_relaxed),
        CLEAN(sequence_goes_on),
        WRONG(wide_is_stale),
        RACES(copy_is_changed),
        CLEAN(halves_and_both),
        CLEAN(half_is_published),
        CLEAN(written_plainly),
        cmocka_unit_test(changes_are_no_waiting),
        cmocka_unit_test(weak_exchanges_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
