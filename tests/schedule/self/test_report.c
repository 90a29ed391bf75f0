/* What a failure looks like: the text of a dead lock to the letter, of the others what matters. */
#define _GNU_SOURCE
#include "capture.h"

#include <ambit/schedule.h>
#include <pthread.h>
#include <stdatomic.h>

static int run(ambit_schedule_fn *scenario, const char *name, ambit_schedule_strategy strategy) {
    ambit_schedule_options options = {.name = name, .strategy = strategy, .seed = 1};
    capture capture = capture_begin();
    int status = ambit_schedule_run(scenario, &options);
    capture_end(capture);
    mask_hashes();
    return status;
}

/* ---- Dead lock ------------------------------------------------------------------------------- */

static struct {
    int balance;
    pthread_mutex_t lock;
} mine = {0, PTHREAD_MUTEX_INITIALIZER}, yours = {0, PTHREAD_MUTEX_INITIALIZER};

/* clang-format off */
#line 100 "planted/bank.c"
static __attribute__((noinline)) void take_mine(void) {
    pthread_mutex_lock(&mine.lock);
}
static __attribute__((noinline)) void take_yours(void) {
    pthread_mutex_lock(&yours.lock);
}
static void give(void *argument) {
    (void)argument;
    take_mine();
    take_yours();
    pthread_mutex_unlock(&yours.lock);
    pthread_mutex_unlock(&mine.lock);
}
static void receive(void *argument) {
    (void)argument;
    take_yours();
    take_mine();
    pthread_mutex_unlock(&mine.lock);
    pthread_mutex_unlock(&yours.lock);
}
static void both(void *argument) {
    (void)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(give, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(receive, NULL);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}
#line 54 "test_report.c"
/* clang-format on */

/* Everything up to the line that plays it again, which is of the seed that was found. */
static void cut_at_replay(void) {
    char *at = strstr(captured, "    play it again:");
    assert_non_null(at);
    *at = '\0';
    for (at = captured; (at = strstr(at, "/planted/")); at++) {
        char *start = at;
        while (start > captured && start[-1] != ' ') start--;
        memmove(start, at + 1, strlen(at + 1) + 1);
        at = start;
    }
}

static void a_dead_lock_is_told_to_the_letter(void **state) {
    (void)state;
    assert_int_equal(run(both, "bank", AMBIT_SCHEDULE_RANDOM), 1);
    cut_at_replay();
    check_says("\nambit::schedule: bank: dead lock\n"
               "    all threads wait, and at least one for a lock\n"
               "    thread 0 waits for the end of thread 1:\n"
               "        planted/bank.c:124 in both()\n"
               "    thread 1 waits for mutex yours.lock, held by thread 2 since "
               "planted/bank.c:104 in take_yours():\n"
               "        planted/bank.c:104 in take_yours()\n"
               "        planted/bank.c:109 in give()\n"
               "    thread 2 waits for mutex mine.lock, held by thread 1 since "
               "planted/bank.c:101 in take_mine():\n"
               "        planted/bank.c:101 in take_mine()\n"
               "        planted/bank.c:116 in receive()\n"
               "\n"
               "    schedule: strategy random, seed 0x");
    check_says(" step  0 both");
    check_says("lock mine.lock");
    check_says("bank.c:101\n");
    check_says("waits: lock mine.lock");
    check_says("waits: lock yours.lock");
    check_says("waits: join thread 1");
}

/* ---- Race ------------------------------------------------------------------------------------ */

struct { /* not static: a compiler would keep what is used of it alone */
    int before;
    struct {
        int hits[3];
    } page[2];
} statistics;
static void hit(void *argument) {
    (void)argument;
    statistics.page[1].hits[2]++;
}
static void two_hit(void *argument) {
    (void)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(hit, NULL);
    hit(NULL);
    ambit_schedule_join(one);
}
static void a_race_names_the_memory_and_both_lines(void **state) {
    (void)state;
    assert_int_equal(run(two_hit, "pages", AMBIT_SCHEDULE_MIXED), 1);
    check_says("pages: data race");
    check_says("on statistics.page[1].hits[2]\n");
    check_says("the earlier one was here:\n");
    check_says("in hit()\n");
    check_says("write statistics.page[1].hits[2]");
    check_says("\n>"); /* the row that failed */
}

/* ---- Heap ------------------------------------------------------------------------------------ */

static void give_back(void *block) { free(block); }
static void uses_after(void *argument) {
    (void)argument;
    int *block = malloc(4 * sizeof *block);
    block[2] = 1;
    ambit_schedule_thread one = ambit_schedule_spawn(give_back, block);
    ambit_schedule_join(one);
    block[2]++;
}
static void a_use_after_free_names_the_block_and_who_freed_it(void **state) {
    (void)state;
    assert_int_equal(run(uses_after, "blocks", AMBIT_SCHEDULE_MIXED), 1);
    check_says("blocks: use after free");
    check_says("on heap block 1 (16 bytes from ");
    check_says("in uses_after()) + 8\n");
    check_says("it was freed here:\n");
    check_says("in give_back()\n");
    check_says("malloc heap 1");
    check_says("free heap 1");
}

static void *volatile kept;
static void loses(void *argument) {
    (void)argument;
    kept = malloc(40);
    kept = NULL;
}
static void a_leak_names_who_allocated(void **state) {
    (void)state;
    assert_int_equal(run(loses, "lost", AMBIT_SCHEDULE_MIXED), 1);
    check_says("lost: leak");
    check_says("40 bytes");
    check_says("allocated at:\n");
    check_says("in loses()\n");
}

static char *volatile letters;
static void overruns(void *argument) {
    (void)argument;
    letters = malloc(16);
    letters[18] = 1;
}
static void what_is_behind_a_block_is_told_by_it(void **state) {
    (void)state;
    assert_int_equal(run(overruns, "overrun", AMBIT_SCHEDULE_MIXED), 1);
    check_says("overrun: out of bounds");
    check_says("on 2 behind the end of heap block 1 (16 bytes from ");
}

/* An address that could be one, with nothing there. */
static int seen;
static volatile int *volatile nothing = (volatile int *)0x20000;
static void looks_at_nothing(void *argument) {
    (void)argument;
    seen = *nothing;
}
static void a_crash_is_where_the_program_did_it(void **state) {
    (void)state;
    assert_int_equal(run(looks_at_nothing, "nothing", AMBIT_SCHEDULE_MIXED), 1);
    check_says("crashed: SIGSEGV at address 0x20000\n    thread 0 here:\n        ");
    check_says("in looks_at_nothing()\n");
    check_says_not("shadow.c");
}

/* ---- Who waits ------------------------------------------------------------------------------- */

static pthread_mutex_t left = PTHREAD_MUTEX_INITIALIZER;
static void leaves_it_locked(void *argument) {
    (void)argument;
    pthread_setname_np(pthread_self(), "leaver");
    pthread_mutex_lock(&left);
}
static void waits_for_the_dead(void *argument) {
    (void)argument;
    pthread_setname_np(pthread_self(), "waiter");
    ambit_schedule_thread one = ambit_schedule_spawn(leaves_it_locked, NULL);
    pthread_mutex_lock(&left);
    pthread_mutex_unlock(&left);
    ambit_schedule_join(one);
}
static void who_has_ended_with_a_lock_is_told(void **state) {
    (void)state;
    assert_int_equal(run(waits_for_the_dead, "left", AMBIT_SCHEDULE_MIXED), 1);
    check_says("thread 0 (waiter) waits for mutex left, held by thread 1 (leaver) since ");
    check_says("in leaves_it_locked(), which has ended:\n");
}

static void *idles(void *argument) {
    ambit_schedule_yield();
    return argument;
}
static void waits_a_little(void *argument) {
    pthread_t one;
    struct timespec soon = {.tv_sec = 1};
    pthread_create(&one, NULL, idles, NULL);
    pthread_timedjoin_np(one, NULL, &soon);
    (void)argument;
    ambit_schedule_assert(!"the end");
}
static void a_timed_join_has_its_name(void **state) {
    (void)state;
    assert_int_equal(run(waits_a_little, "timed", AMBIT_SCHEDULE_MIXED), 1);
    check_says("timedjoin_np thread 1");
}

static void joins_twice(void *argument) {
    (void)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(give_back, NULL);
    ambit_schedule_join(one);
    ambit_schedule_join(one);
}
static void a_second_join_names_the_first(void **state) {
    (void)state;
    assert_int_equal(run(joins_twice, "twice", AMBIT_SCHEDULE_MIXED), 1);
    check_says("ambit_schedule_join: the thread has been joined already (the other place)");
    check_says("    and here:\n");
}

/* ---- Atomics, notes, thread-locals ----------------------------------------------------------- */

static _Thread_local atomic_int own[3];
static atomic_int ready;
static _Atomic(atomic_int *) lent;
static void lends(void *argument) {
    (void)argument;
    atomic_store_explicit(&own[1], 5, memory_order_relaxed);
    atomic_store_explicit(&lent, &own[1], memory_order_release);
    while (!atomic_load_explicit(&ready, memory_order_acquire)) ambit_schedule_yield();
}
static void borrows(void *argument) {
    (void)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(lends, NULL);
    atomic_int *of_other;
    while (!(of_other = atomic_load_explicit(&lent, memory_order_acquire))) ambit_schedule_yield();
    ambit_schedule_note("got %d", atomic_load_explicit(of_other, memory_order_relaxed));
    atomic_store_explicit(&ready, 1, memory_order_release);
    ambit_schedule_join(one);
    ambit_schedule_assert(!"the end");
}
static void values_that_are_addresses_are_shown_by_name(void **state) {
    (void)state;
    assert_int_equal(run(borrows, "lending", AMBIT_SCHEDULE_MIXED), 1);
    check_says("store own[1] of thread 1 = 5");
    check_says("store lent = own[1] of thread 1 release");
    check_says("load lent = own[1] of thread 1 acquire");
    check_says("\"got 5\"");
    check_says("store ready = 1 release");
}

/* ---- What has nothing to do with it ---------------------------------------------------------- */

static atomic_int noise, first_flag;
static void makes_noise(void *argument) {
    (void)argument;
    for (int i = 0; i < 30; i++) atomic_fetch_add_explicit(&noise, 1, memory_order_relaxed);
}
static void raises_first(void *argument) {
    (void)argument;
    atomic_store_explicit(&first_flag, 1, memory_order_relaxed);
}
static void is_not_first(void *argument) {
    (void)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(makes_noise, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(raises_first, NULL);
    ambit_schedule_assert(!atomic_load_explicit(&first_flag, memory_order_relaxed));
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}
static void the_table_is_of_the_shortest_way(void **state) {
    (void)state;
    assert_int_equal(run(is_not_first, "noisy", AMBIT_SCHEDULE_RANDOM), 1);
    check_says("\n    shortened: ");
    check_says_not("update noise");
    check_says("  load first_flag = 1");
}

static void no_line_is_wider_than_100_columns(void **state) {
    (void)state;
    ambit_schedule_fn *const scenarios[] = {both, two_hit, uses_after, borrows};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(run(scenarios[i], "wide", AMBIT_SCHEDULE_MIXED), 1);
        char *table = strstr(captured, " step  0");
        assert_non_null(table);
        for (char *line = strtok(table, "\n"); line && strncmp(line, "    play", 8) != 0;
             line = strtok(NULL, "\n"))
            assert_true(strlen(line) <= 100);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_lock_is_told_to_the_letter),
        cmocka_unit_test(a_race_names_the_memory_and_both_lines),
        cmocka_unit_test(a_use_after_free_names_the_block_and_who_freed_it),
        cmocka_unit_test(a_leak_names_who_allocated),
        cmocka_unit_test(what_is_behind_a_block_is_told_by_it),
        cmocka_unit_test(a_crash_is_where_the_program_did_it),
        cmocka_unit_test(who_has_ended_with_a_lock_is_told),
        cmocka_unit_test(a_timed_join_has_its_name),
        cmocka_unit_test(a_second_join_names_the_first),
        cmocka_unit_test(values_that_are_addresses_are_shown_by_name),
        cmocka_unit_test(the_table_is_of_the_shortest_way),
        cmocka_unit_test(no_line_is_wider_than_100_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
