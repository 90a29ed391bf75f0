/* src/census/watcher.c: the thread that checks, started and stopped by others and by its own
 * hook.
 *
 * Hooks write plain memory, and so does who has stopped the watcher: a hook that runs after is a
 * race. */
#include <ambit/schedule.h>

#include "base/clock.h"
#include "census/verdict.h"
#include "ctx/ctx.h"

AMBIT_SCHEDULE_COVERS("census/watcher.c")

#define PERIOD_NS AMBIT_MILLISECOND
#define FOR_EVER_NS (3600 * AMBIT_SECOND)
/* Timers may fire while others run, and compilers keep C++20's rule of release sequences. */
#define WATCHER_TEST(name, ...)                                                                    \
    AMBIT_SCHEDULE_TEST_WITH(name, .cxx20_release_sequences = true, __VA_ARGS__)

static _Atomic(unsigned) hooks;
static bool stopped; /* no hook runs after */
static int64_t begin_ns;

/* Every object is old at once, and reported once. */
static ambit_ctx *opened[4];
static unsigned opened_count;
static void open_an_old_one(void) {
    ambit_schedule_assert(!ambit_ctx_open(ambit_background(), &opened[opened_count++]));
}
static void have_an_old_object(void *argument) {
    (void)argument;
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++)
        ambit_verdict_limit_set((ambit_verdict_kind)kind, AMBIT_VERDICT_OFF);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, -1);
    open_an_old_one();
    begin_ns = ambit_clock_now_ns();
}
static void have_none(void *argument) {
    have_an_old_object(argument);
    ambit_ctx_close(&opened[0]);
    opened_count = 0;
}

static void watch(int64_t period_ns, ambit_verdict_hook *hook, void *user) {
    ambit_schedule_assert(!ambit_watcher_start(period_ns, hook, user));
}
static void wait_for_hooks(unsigned count) {
    while (ambit__load_acquire(&hooks) < count) ambit_schedule_yield();
}
/* Time passes while all wait: nobody has slept by a period that is no longer. */
static void check_nobody_overslept(void) {
    ambit_schedule_assert(ambit_clock_now_ns() - begin_ns < FOR_EVER_NS / 2);
}
static void stop(void *argument) {
    (void)argument;
    ambit_watcher_stop();
}

/* ---- Its checks ------------------------------------------------------------------------------ */

/* A period lies between two of them, and not much more. */
static int64_t last_ns;
static void note_time(const ambit_verdict *verdict, void *user) {
    int64_t now_ns = ambit_clock_now_ns();
    ambit_schedule_assert(verdict->kind == AMBIT_VERDICT_OLD && user == &last_ns);
    ambit_schedule_assert(now_ns - last_ns >= PERIOD_NS && now_ns - last_ns < AMBIT_SECOND);
    last_ns = now_ns;
    if (opened_count < 3) open_an_old_one(); /* for the next one */
    ambit__add_release(&hooks, 1);
}

WATCHER_TEST(checks_come_by_their_period, .before = have_an_old_object) {
    last_ns = begin_ns;
    watch(PERIOD_NS, note_time, &last_ns);
    wait_for_hooks(2);
    ambit_watcher_stop();
    ambit_schedule_assert(opened_count == 3);
    for (unsigned i = 0; i < opened_count; i++) ambit_ctx_close(&opened[i]);
}

/* What a check of another thread has told, the watcher does not tell, also while it is stopped. */
static unsigned told;
static void tell(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->kind == AMBIT_VERDICT_OLD && !stopped);
    told++; /* checks take turns, and order this */
}
static void check_now(void *argument) {
    (void)argument;
    (void)ambit_verdict_check(tell, NULL);
}
WATCHER_TEST(another_checks_beside_it, .before = have_an_old_object, .early_ns = 2 * PERIOD_NS) {
    watch(PERIOD_NS, tell, NULL);
    ambit_schedule_thread other = ambit_schedule_spawn(check_now, NULL);
    ambit_schedule_yield();
    ambit_watcher_stop();
    ambit_schedule_join(other);
    ambit_schedule_assert(told == 1);
    stopped = true;
}

/* Objects come and go beside its checks: what is told is counted, and returned when all are
 * gone. */
static void come_and_go(void *argument) {
    (void)argument;
    for (int i = 0; i < 2; i++) {
        ambit_ctx *mine;
        ambit_schedule_assert(!ambit_ctx_open(ambit_background(), &mine));
        ambit_schedule_yield();
        ambit_ctx_close(&mine);
    }
}
WATCHER_TEST(objects_come_and_go_beside_it, .before = have_an_old_object,
             .early_ns = 2 * PERIOD_NS) {
    watch(PERIOD_NS, tell, NULL);
    ambit_schedule_thread other = ambit_schedule_spawn(come_and_go, NULL);
    ambit_ctx_close(&opened[0]);
    ambit_schedule_join(other);
    ambit_watcher_stop();
    ambit_verdict_counts counts = ambit_verdict_counts_read(AMBIT_VERDICT_OLD);
    ambit_schedule_assert(told <= 3 && counts.reported == told && counts.returned == told);
}

/* ---- Another period, another hook ------------------------------------------------------------ */

/* Its period is so long that no check of it comes: not by a start, nor by a stop. */
static void never(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(!verdict);
}
static void count_hook(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->kind == AMBIT_VERDICT_OLD && !stopped);
    ambit__add_release(&hooks, 1);
}

/* The watcher may not have begun, sleep for the first period, or be about to. */
WATCHER_TEST(a_shorter_period_counts_at_once, .before = have_an_old_object) {
    watch(FOR_EVER_NS, never, NULL);
    watch(PERIOD_NS, count_hook, NULL);
    wait_for_hooks(1);
    check_nobody_overslept();
    ambit_watcher_stop();
    stopped = true;
}
static void watch_shortly(void *argument) { watch(PERIOD_NS, count_hook, argument); }
WATCHER_TEST(a_start_beside_its_first_sleep, .before = have_an_old_object) {
    ambit_schedule_thread other = ambit_schedule_spawn(watch_shortly, NULL);
    ambit_schedule_join(other);
    wait_for_hooks(1);
    other = ambit_schedule_spawn(stop, NULL);
    check_nobody_overslept();
    ambit_watcher_stop();
    stopped = true;
    ambit_schedule_join(other);
}
WATCHER_TEST(a_longer_period_checks_nothing, .before = have_an_old_object) {
    watch(FOR_EVER_NS, never, NULL);
    ambit_schedule_yield();
    watch(FOR_EVER_NS / 2, never, NULL);
    ambit_schedule_yield();
    ambit_watcher_stop();
    check_nobody_overslept();
}

/* Two start it with a hook each: each hook gets what it was given with. */
static unsigned first_user, second_user;
static void first_hook(const ambit_verdict *verdict, void *user) {
    ambit_schedule_assert(user == &first_user);
    count_hook(verdict, user);
}
static void second_hook(const ambit_verdict *verdict, void *user) {
    ambit_schedule_assert(user == &second_user);
    count_hook(verdict, user);
}
static void watch_second(void *argument) {
    (void)argument;
    watch(PERIOD_NS, second_hook, &second_user);
}
static void start_twice(void) {
    ambit_schedule_thread other = ambit_schedule_spawn(watch_second, NULL);
    watch(PERIOD_NS, first_hook, &first_user);
    ambit_schedule_join(other);
    wait_for_hooks(1);
    other = ambit_schedule_spawn(stop, NULL);
    ambit_watcher_stop();
    stopped = true; /* there was one watcher */
    ambit_schedule_join(other);
}
WATCHER_TEST(two_start_it_and_two_stop_it, .before = have_an_old_object) { start_twice(); }
WATCHER_TEST(two_start_it_beside_its_checks, .before = have_an_old_object,
             .early_ns = 2 * PERIOD_NS) {
    watch(PERIOD_NS, first_hook, &first_user);
    start_twice();
}

/* One starts it and one stops it: the later one counts. */
WATCHER_TEST(started_and_stopped_at_once, .before = have_an_old_object) {
    if (ambit_schedule_choose(2)) watch(FOR_EVER_NS, never, NULL);
    ambit_schedule_thread other = ambit_schedule_spawn(stop, NULL);
    watch(PERIOD_NS, count_hook, NULL);
    ambit_schedule_join(other);
    ambit_watcher_stop();
    stopped = true;
    ambit_schedule_assert(ambit__load_relaxed(&hooks) <= 1);
}

/* ---- Stopped, and started again -------------------------------------------------------------- */

WATCHER_TEST(a_stop_is_over_with_the_next_start, .before = have_an_old_object) {
    watch(FOR_EVER_NS, never, NULL);
    ambit_watcher_stop();
    watch(PERIOD_NS, count_hook, NULL);
    wait_for_hooks(1);
    check_nobody_overslept();
    ambit_watcher_stop();
    stopped = true;
}

/* By its own hook, which it outlives; then another starts it, whether it has ended or is about
 * to. */
static bool left; /* the hook that has asked for it */
static void stop_from_inside(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->kind == AMBIT_VERDICT_OLD);
    ambit_watcher_stop();
    open_an_old_one();
    ambit__add_release(&hooks, 1);
    ambit_schedule_yield();
    left = true;
}
WATCHER_TEST(its_hook_stops_it_and_another_starts_it, .before = have_an_old_object) {
    watch(PERIOD_NS, stop_from_inside, NULL);
    wait_for_hooks(1);
    watch(PERIOD_NS, count_hook, NULL);
    ambit_schedule_assert(left); /* and the start has waited for it */
    wait_for_hooks(2);
    check_nobody_overslept();
    ambit_watcher_stop();
    stopped = true;
    /* Nor does it end by what was asked of the one before. */
    ambit_schedule_assert(ambit__load_relaxed(&hooks) == 2);
}
WATCHER_TEST(its_hook_stops_it_for_good, .before = have_an_old_object) {
    watch(PERIOD_NS, stop_from_inside, NULL);
    wait_for_hooks(1);
    ambit_schedule_assert(!ambit_ctx_sleep(ambit_background(), 5 * PERIOD_NS));
    ambit_schedule_assert(ambit__load_relaxed(&hooks) == 1); /* though there is an old one */
    ambit_watcher_stop();
}

/* The hook stops it, thinks better of it, and has it call another one. */
static void go_on_with_another(const ambit_verdict *verdict, void *user) {
    (void)verdict;
    (void)user;
    ambit_schedule_assert(!ambit__load_relaxed(&hooks)); /* called once */
    ambit_watcher_stop();
    open_an_old_one();
    watch(PERIOD_NS, second_hook, &second_user);
    ambit__add_release(&hooks, 1);
}
WATCHER_TEST(its_hook_starts_it_again, .before = have_an_old_object) {
    watch(PERIOD_NS, go_on_with_another, NULL);
    wait_for_hooks(2);
    check_nobody_overslept();
    ambit_watcher_stop();
    stopped = true;
}

/* Stops the watcher, and thinks better of it. */
static void stop_and_start(const ambit_verdict *verdict, void *user) {
    (void)verdict;
    (void)user;
    ambit_schedule_assert(!stopped);
    ambit__add_release(&hooks, 1);
    ambit_watcher_stop();
    watch(FOR_EVER_NS, stop_and_start, NULL);
}

/* A start that has found it about to end doesn't wait for its next check. */
WATCHER_TEST(start_waits_for_the_hook_alone, .before = have_an_old_object) {
    watch(PERIOD_NS, stop_and_start, NULL);
    wait_for_hooks(1);
    watch(FOR_EVER_NS, stop_and_start, NULL);
    ambit_watcher_stop();
    check_nobody_overslept();
}

/* A stop waits for the hook, and nothing of it runs after. */
WATCHER_TEST(stop_waits_for_the_hook, .before = have_an_old_object) {
    watch(PERIOD_NS, stop_and_start, NULL);
    if (ambit_schedule_choose(2)) wait_for_hooks(1);
    ambit_watcher_stop();
    stopped = true;
}

/* ---- Forks ----------------------------------------------------------------------------------- */

/* A fork beside all that leaves the parent's as it was. */
static void fork_here(void *argument) {
    (void)argument;
    ambit_schedule_fork_in_parent();
}
WATCHER_TEST(a_fork_leaves_the_parents_alone, .before = have_an_old_object) {
    ambit_schedule_thread other = ambit_schedule_spawn(fork_here, NULL);
    watch(PERIOD_NS, count_hook, NULL);
    wait_for_hooks(1);
    ambit_watcher_stop();
    stopped = true;
    ambit_schedule_join(other);
}
static void fork_from_inside(const ambit_verdict *verdict, void *user) {
    ambit_schedule_fork_in_parent();
    count_hook(verdict, user);
}
WATCHER_TEST(its_hook_forks, .before = have_an_old_object) {
    watch(PERIOD_NS, fork_from_inside, NULL);
    if (ambit_schedule_choose(2)) wait_for_hooks(1);
    ambit_watcher_stop();
    stopped = true;
}

/* Nothing to tell, and nothing to wait for. */
WATCHER_TEST(nothing_is_told_of_nobody, .before = have_none, .early_ns = 2 * PERIOD_NS) {
    ambit_schedule_thread other = ambit_schedule_spawn(come_and_go, NULL);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, AMBIT_VERDICT_OFF);
    ambit_watcher_stop();
    watch(PERIOD_NS, never, NULL);
    ambit_schedule_join(other);
    ambit_watcher_stop();
    ambit_watcher_stop();
}
