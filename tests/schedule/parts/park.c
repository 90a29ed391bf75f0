/* src/base/park.{c,h}: the spin lock, the mutex that parks, and parking itself.
 *
 * What a lock guards is plain memory here: two threads in at once, and a lock whose orders do not order,
 * are races on it, whatever the values come to. */
#include <ambit/schedule.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/park.h"

AMBIT_SCHEDULE_COVERS("base/park.c base/park.h")

enum { THREADS = 3 };

static void together(ambit_schedule_fn *run, unsigned count) {
    ambit_schedule_thread threads[THREADS];
    for (unsigned i = 0; i < count; i++) threads[i] = ambit_schedule_spawn(run, NULL);
    for (unsigned i = 0; i < count; i++) ambit_schedule_join(threads[i]);
}

/* ---- The spin lock --------------------------------------------------------------------------- */

static ambit__spin spin;
static unsigned guarded;

static void add_under_spin(void *argument) {
    (void)argument;
    ambit__spin_lock(&spin);
    guarded++;
    ambit__spin_unlock(&spin);
}

AMBIT_SCHEDULE_TEST(spin_lock_lets_one_in) {
    together(add_under_spin, THREADS);
    ambit_schedule_assert(guarded == THREADS);
}

AMBIT__UNCHECKED static void try_under_spin(void *argument) {
    (void)argument;
    if (!ambit__spin_try(&spin)) return;
    guarded++;
    ambit__spin_unlock(&spin);
}

AMBIT_SCHEDULE_TEST(spin_try_lets_one_in) {
    together(try_under_spin, 2);
    ambit_schedule_assert(guarded == 1 || guarded == 2);
}

/* The lock is free again afterwards, also after a try that failed. */
static void try_beside_lock(void *argument) {
    (void)argument;
    ambit__spin_lock(&spin);
    ambit_schedule_assert(!ambit__spin_try(&spin));
    ambit__spin_unlock(&spin);
}

AMBIT_SCHEDULE_TEST(spin_try_fails_while_it_is_held) {
    together(try_beside_lock, 2);
    ambit_schedule_assert(ambit__spin_try(&spin));
}

/* ---- The mutex ------------------------------------------------------------------------------- */

static ambit__mutex mutex;

static void add_under_mutex(void *argument) {
    (void)argument;
    ambit__mutex_lock(&mutex);
    guarded++;
    ambit__mutex_unlock(&mutex);
}

/* Two threads: the one that sleeps is woken by the only other. */
AMBIT_SCHEDULE_TEST(mutex_lets_one_in) {
    together(add_under_mutex, 2);
    ambit_schedule_assert(guarded == 2);
}

/* Three: who was woken has to tell the next unlock that there may be more. */
AMBIT_SCHEDULE_TEST(mutex_wakes_all_in_turn) {
    together(add_under_mutex, THREADS);
    ambit_schedule_assert(guarded == THREADS);
}

/* The mutex lies in what it guards, and the last one out frees that: an unlock must not touch it once
 * another can have it. */
typedef struct shared {
    ambit__mutex mutex;
    unsigned users;
} shared;
static shared *object;

static void use_and_drop(void *argument) {
    (void)argument;
    shared *mine = object;
    ambit__mutex_lock(&mine->mutex);
    unsigned left = --mine->users;
    ambit__mutex_unlock(&mine->mutex);
    if (!left) free(mine);
}

AMBIT_SCHEDULE_TEST(mutex_may_be_freed_by_the_last_one_out) {
    object = calloc(1, sizeof *object);
    ambit_schedule_assert(object);
    object->users = 2;
    together(use_and_drop, 2);
    object = NULL;
}

/* ---- Parking --------------------------------------------------------------------------------- */

static _Atomic(uint32_t) word;

static void wait_for_word(void *argument) {
    (void)argument;
    while (!ambit__load_acquire(&word))
        ambit_schedule_assert(ambit__park_until(&word, 0, AMBIT_NEVER));
    guarded++;
}

static void give_word(void *argument) {
    (void)argument;
    guarded++;
    ambit__store_release(&word, 1);
    ambit__unpark(&word, AMBIT__ALL);
}

AMBIT_SCHEDULE_TEST(park_is_ended_by_unpark) {
    ambit_schedule_thread waiter = ambit_schedule_spawn(wait_for_word, NULL);
    give_word(NULL);
    ambit_schedule_join(waiter);
    ambit_schedule_assert(guarded == 2);
}

static void wait_in_company(void *argument) {
    (void)argument;
    while (!ambit__load_acquire(&word)) ambit__park_until(&word, 0, AMBIT_NEVER);
}

AMBIT_SCHEDULE_TEST(unpark_wakes_as_many_as_it_is_told) {
    ambit_schedule_thread one = ambit_schedule_spawn(wait_in_company, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(wait_in_company, NULL);
    ambit__store_release(&word, 1);
    ambit__unpark(&word, AMBIT__ALL);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}

AMBIT_SCHEDULE_TEST(park_ends_at_its_deadline) {
    int64_t deadline_ns = ambit__clock_now() + AMBIT_MILLISECOND;
    bool early;
    do early = ambit__park_until(&word, 0, deadline_ns);
    while (early);
    ambit_schedule_assert(ambit__clock_now() >= deadline_ns);
    ambit_schedule_assert(ambit__clock_now() < deadline_ns + AMBIT_SECOND);
    ambit_schedule_assert(!ambit__park_until(&word, 0, deadline_ns)); /* not a moment more */
}

/* Under a clock of the program's own the kernel's timers say nothing about the deadline. */
static int64_t own_ns;

static int64_t read_own_clock(void *user) {
    (void)user;
    return __atomic_load_n(&own_ns, __ATOMIC_RELAXED);
}

static void move_own_clock(void *argument) {
    (void)argument;
    __atomic_fetch_add(&own_ns, AMBIT_MILLISECOND, __ATOMIC_RELAXED);
}

AMBIT_SCHEDULE_TEST(park_ends_by_the_programs_own_clock) {
    const ambit_clock own = {read_own_clock, NULL};
    int64_t system_ns = ambit__clock_now();
    /* Far behind the kernel's, or far ahead of it. */
    if (ambit_schedule_choose(2)) own_ns = system_ns + 5000 * AMBIT_SECOND;
    int64_t deadline_ns = own_ns + AMBIT_MILLISECOND;
    ambit_clock_set(&own);
    ambit_schedule_thread mover = ambit_schedule_spawn(move_own_clock, NULL);
    bool early;
    do early = ambit__park_until(&word, 0, deadline_ns);
    while (early);
    ambit_schedule_assert(read_own_clock(NULL) == deadline_ns);
    ambit_schedule_join(mover);
    ambit_clock_set(NULL);
    ambit_schedule_assert(ambit__clock_now() < system_ns + AMBIT_SECOND);
}

/* An unpark that comes with the deadline is not lost: the waiter either saw the word, or the time. */
static uint32_t gave_up;

static void wait_a_while(void *argument) {
    int64_t deadline_ns = *(int64_t *)argument;
    while (!ambit__load_acquire(&word))
        if (!ambit__park_until(&word, 0, deadline_ns)) {
            ambit_schedule_assert(ambit__clock_now() >= deadline_ns);
            gave_up = 1;
            return;
        }
}

AMBIT_SCHEDULE_TEST(park_until_sees_the_word_or_the_time) {
    int64_t deadline_ns = ambit__clock_now() + AMBIT_MILLISECOND / 2;
    ambit_schedule_thread waiter = ambit_schedule_spawn(wait_a_while, &deadline_ns);
    ambit__store_release(&word, 1);
    ambit__unpark(&word, 1);
    ambit_schedule_join(waiter);
    ambit_schedule_assert(gave_up == 0 || ambit__clock_now() >= deadline_ns);
}

/* Whoever waits without a lock backs off until the other has got there, however long that takes. */
AMBIT_SCHEDULE_TEST(backing_off_lets_the_other_run) {
    ambit_schedule_thread other = ambit_schedule_spawn(give_word, NULL);
    for (unsigned attempt = 0; !ambit__load_acquire(&word); attempt++) ambit__backoff(attempt);
    guarded++;
    ambit_schedule_join(other);
    ambit_schedule_assert(guarded == 2);
}
