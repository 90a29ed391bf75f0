/* ambit_schedule_run(): its options, its result, and that a seed is the same schedule everywhere. */
#include "capture.h"

#include <ambit/schedule.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- Scenarios ------------------------------------------------------------------------------- */

static atomic_int counter;
static void add(void *argument) {
    (void)argument;
    int seen = atomic_load_explicit(&counter, memory_order_relaxed);
    atomic_store_explicit(&counter, seen + 1, memory_order_relaxed);
}

static void twice(ambit_schedule_fn *run) {
    ambit_schedule_thread one = ambit_schedule_spawn(run, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(run, NULL);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}
static void is_counted_twice(void *argument) {
    (void)argument;
    twice(add);
    ambit_schedule_assert(atomic_load_explicit(&counter, memory_order_relaxed) == 2);
}
/* Fails where nearly no schedule goes: three adds overlap in one order. */
static void is_counted(void *argument) {
    (void)argument;
    twice(add);
    ambit_schedule_assert(atomic_load_explicit(&counter, memory_order_relaxed) >= 1);
}
static void spins_for_ever(void *argument) {
    (void)argument;
    for (;;) atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);
}

static char output[256];
static int run(ambit_schedule_fn *scenario, ambit_schedule_options options,
               ambit_schedule_result *result) {
    options.result = result;
    capture capture = capture_begin();
    int status = ambit_schedule_run(scenario, &options);
    capture_end(capture);
    return status;
}
#define RUN(scenario, result, ...)                                                                 \
    run(scenario, (ambit_schedule_options){.name = "planted", __VA_ARGS__}, result)

/* ---- What makes no sense --------------------------------------------------------------------- */

static void a_null_scenario_is_refused(void **state) {
    (void)state;
    assert_int_equal(RUN(NULL, NULL), 2);
    check_says("planted: scenario is NULL, expected a function");
}
static void an_unknown_strategy_is_refused(void **state) {
    (void)state;
    assert_int_equal(RUN(is_counted, NULL, .strategy = (ambit_schedule_strategy)9), 2);
    check_says("strategy is 9, expected");
}
static void too_much_depth_is_refused(void **state) {
    (void)state;
    assert_int_equal(RUN(is_counted, NULL, .strategy = AMBIT_SCHEDULE_PCT, .depth = 65), 2);
    check_says("depth is 65, expected 1 to 64");
}
static void depth_without_pct_is_refused(void **state) {
    (void)state;
    assert_int_equal(RUN(is_counted, NULL, .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .depth = 2), 2);
    check_says("depth is 2 with the strategy exhaustive, expected 0");
}
static void preemptions_without_exhaustive_are_refused(void **state) {
    (void)state;
    assert_int_equal(RUN(is_counted, NULL, .preemptions = 2), 2);
    check_says("preemptions is 2 with the strategy mixed, expected 0");
}
static void negative_earliness_is_refused(void **state) {
    (void)state;
    assert_int_equal(RUN(is_counted, NULL, .early_ns = -1), 2);
    check_says("early_ns is -1, expected 0 or more");
}
static void more_steps_than_can_be_counted_are_refused(void **state) {
    (void)state;
    assert_int_equal(RUN(is_counted, NULL, .steps = 1000000001), 2);
    check_says("steps is 1000000001, expected at most 1000000000");
}
static void runs_within(void *argument) {
    (void)argument;
    (void)ambit_schedule_run(is_counted, NULL);
}
static void a_run_within_a_scenario_is_misuse(void **state) {
    (void)state;
    ambit_schedule_result result;
    assert_int_equal(RUN(runs_within, &result, .schedules = 1), 1);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_MISUSE);
    check_says("ambit_schedule_run() was called in a scenario, expected outside of one");
}
static void no_options_are_the_usual_ones(void **state) {
    (void)state;
    capture capture = capture_begin();
    int status = ambit_schedule_run(is_counted, NULL);
    capture_end(capture);
    assert_int_equal(status, 0);
    check_says("ok   scenario: 10000 schedules (mixed)");
}

/* ---- Results --------------------------------------------------------------------------------- */

static void a_clean_run_says_what_it_did(void **state) {
    (void)state;
    ambit_schedule_result result;
    assert_int_equal(RUN(is_counted, &result, .schedules = 50), 0);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_CLEAN);
    assert_int_equal(result.schedules, 50);
    assert_true(result.steps_most >= 10 && result.steps_most < 30);
    assert_true(result.trace_hash != 0);
    check_says("ok   planted: 50 schedules (mixed)");
}

static void a_failure_is_told_with_seed_and_lines(void **state) {
    (void)state;
    ambit_schedule_result result;
    assert_int_equal(RUN(is_counted_twice, &result), 1);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_ASSERTION);
    assert_true(result.seed >= 1 && result.seed <= 100);
    assert_int_equal(result.schedules, result.seed);
    assert_non_null(strstr(result.message, "assertion failed: "));
    assert_non_null(strstr(result.message, "test_run.c:"));
    assert_non_null(strstr(result.message, "in is_counted_twice()"));
    (void)snprintf(output, sizeof output, "--only=planted --strategy=mixed --seed=0x%llx",
                   (unsigned long long)result.seed);
    check_says(output);
}

static void a_failing_seed_fails_alone_in_the_same_way(void **state) {
    (void)state;
    ambit_schedule_result first, again;
    assert_int_equal(RUN(is_counted_twice, &first, .quiet = true), 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(
            RUN(is_counted_twice, &again, .quiet = true, .seed = first.seed, .schedules = 1), 1);
        assert_int_equal(again.trace_hash, first.trace_hash);
        assert_int_equal(again.failure, first.failure);
        assert_string_equal(again.message, first.message);
    }
}

static void a_seed_is_the_same_schedule_among_others(void **state) {
    (void)state;
    static const ambit_schedule_strategy strategies[] = {AMBIT_SCHEDULE_MIXED,
                                                         AMBIT_SCHEDULE_RANDOM, AMBIT_SCHEDULE_PCT};
    for (unsigned i = 0; i < 3; i++)
        for (uint64_t seed = 2; seed < 30; seed++) {
            ambit_schedule_result among, alone;
            assert_int_equal(RUN(is_counted, &among, .schedules = seed, .strategy = strategies[i]),
                             0);
            assert_int_equal(
                RUN(is_counted, &alone, .schedules = 1, .seed = seed, .strategy = strategies[i]),
                0);
            assert_int_equal(among.trace_hash, alone.trace_hash);
        }
}

static void a_seed_of_the_first_few_can_be_played_alone(void **state) {
    (void)state;
    /* PCT's own way by this seed would be another; but it was found by random's. */
    ambit_schedule_result random, pct;
    for (uint64_t seed = 0xca11b8a7e0000001; seed <= 0xca11b8a7e0000008; seed++) {
        assert_int_equal(RUN(is_counted, &random, .schedules = 1, .seed = seed,
                             .strategy = AMBIT_SCHEDULE_RANDOM),
                         0);
        assert_int_equal(
            RUN(is_counted, &pct, .schedules = 1, .seed = seed, .strategy = AMBIT_SCHEDULE_PCT), 0);
        assert_int_equal(random.trace_hash, pct.trace_hash);
    }
}

/* Random's ways are all there is to see that: nothing else goes into a thread that has the lower priority. */
static atomic_int turns[2];
static void take_turns(void *argument) {
    atomic_int *own = argument, *other = own == &turns[0] ? &turns[1] : &turns[0];
    for (int i = 0; i < 3; i++) {
        int seen = atomic_load_explicit(other, memory_order_relaxed);
        if (seen == i) atomic_store_explicit(own, i + 1, memory_order_relaxed);
    }
}
static void turns_are_not_taken(void *argument) {
    (void)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(take_turns, &turns[0]);
    ambit_schedule_thread two = ambit_schedule_spawn(take_turns, &turns[1]);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(atomic_load_explicit(&turns[0], memory_order_relaxed) < 2);
}
static void what_the_first_few_found_is_told_if_nothing_else_is(void **state) {
    (void)state;
    ambit_schedule_result result;
    assert_int_equal(RUN(turns_are_not_taken, &result, .schedules = 1, .depth = 1,
                         .strategy = AMBIT_SCHEDULE_PCT),
                     1);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_ASSERTION);
    assert_int_equal(result.seed >> 32, 0xca11b8a7);
    check_says("--strategy=random --seed=0xca11b8a7e000000");
}

static void seeds_are_other_schedules(void **state) {
    (void)state;
    uint64_t hashes[40];
    unsigned different = 0;
    for (unsigned i = 0; i < 40; i++) {
        ambit_schedule_result result;
        assert_int_equal(RUN(is_counted, &result, .schedules = 1, .seed = i + 1), 0);
        hashes[i] = result.trace_hash;
        unsigned j = 0;
        while (j < i && hashes[j] != hashes[i]) j++;
        if (j == i) different++;
    }
    assert_true(different > 10);
}

static void quiet_prints_nothing(void **state) {
    (void)state;
    ambit_schedule_result result;
    assert_int_equal(RUN(is_counted_twice, &result, .quiet = true), 1);
    assert_string_equal(captured, "");
    assert_non_null(strstr(result.message, "test_run.c:"));
    assert_int_equal(RUN(is_counted, NULL, .quiet = true), 0);
    assert_string_equal(captured, "");
}

static void the_bound_of_steps_is_kept(void **state) {
    (void)state;
    ambit_schedule_result result;
    assert_int_equal(RUN(spins_for_ever, &result, .steps = 100, .quiet = true), 1);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_LIVELOCK);
    assert_int_equal(result.steps_most, 100);
}

static void the_bound_of_pct_is_printed(void **state) {
    (void)state;
    assert_int_equal(
        RUN(is_counted, NULL, .strategy = AMBIT_SCHEDULE_PCT, .depth = 2, .schedules = 10), 0);
    /* 3 threads, 15 steps: 1/45; of ten 1 - (44/45)^10 */
    check_says("PCT, 3 threads, 15 steps: a bug of depth 2 shows in a schedule with a probability "
               "of 0.022\n"
               "     or more, in 10 of them with 0.201 or more");
}

static void an_exhaustive_run_says_when_it_is_complete(void **state) {
    (void)state;
    ambit_schedule_result result;
    assert_int_equal(RUN(is_counted, &result, .strategy = AMBIT_SCHEDULE_EXHAUSTIVE), 0);
    assert_true(result.complete);
    assert_true(result.schedules > 3);
    check_says("complete: there is no other schedule");
    assert_int_equal(
        RUN(is_counted, &result, .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .schedules = 2), 0);
    assert_false(result.complete);
    check_says("not complete");
}

/* ---- Before the first ------------------------------------------------------------------------ */

static int prepared;
static int *volatile held;
static void prepare(void *argument) {
    prepared += *(int *)argument;
    held = malloc(sizeof *held);
    *held = 7;
}
static void finds_it_prepared(void *argument) {
    ambit_schedule_assert(prepared == *(int *)argument);
    ambit_schedule_assert(*held == 7);
    int *another = malloc(sizeof *another);
    *(volatile int *)another = 9; /* volatile: a compiler takes for granted that it is another */
    ambit_schedule_assert(*(volatile int *)held == 7);
    free(another);
    prepared = *held = 0;
}
static void what_before_leaves_is_where_schedules_begin(void **state) {
    (void)state;
    int five = 5;
    ambit_schedule_result result;
    prepared = 0;
    assert_int_equal(
        RUN(finds_it_prepared, &result, .before = prepare, .argument = &five, .schedules = 20), 0);
    assert_int_equal(result.schedules, 20);
    assert_int_equal(prepared, 5);
}

static void prepares_badly(void *argument) {
    (void)argument;
    prepared = 3;
    ambit_schedule_assert(prepared == 4);
}
static void a_before_that_fails_is_a_failure(void **state) {
    (void)state;
    ambit_schedule_result result;
    prepared = 0;
    assert_int_equal(RUN(finds_it_prepared, &result, .before = prepares_badly), 1);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_ASSERTION);
    assert_int_equal(result.schedules, 0);
    check_says("assertion failed, before the first schedule");
    check_says("prepares_badly()");
    assert_int_equal(prepared, 0);
}

/* ---- Code that cannot be played again -------------------------------------------------------- */

atomic_int word; /* not static: a compiler takes away what nobody reads */
static unsigned times;
__attribute__((no_sanitize("thread"), noinline)) static unsigned count_unseen(void) {
    return times++;
}
static void changes_with_each_call(void *argument) {
    (void)argument;
    if (count_unseen() & 1) atomic_store_explicit(&word, 1, memory_order_relaxed);
    atomic_store_explicit(&word, 2, memory_order_relaxed);
}
static void state_that_is_not_put_back_is_noticed(void **state) {
    (void)state;
    ambit_schedule_result result;
    assert_int_equal(RUN(changes_with_each_call, &result), 1);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_DIVERGED);
    check_says("the same seed took another way");
    check_says("store word = 1");
    check_says("store word = 2");
}

static void depends_on_an_address(void *argument) {
    (void)argument;
    void *block = malloc(16);
    if ((uintptr_t)block >> 12 & 1) atomic_store_explicit(&word, 1, memory_order_relaxed);
    free(block);
}
static void a_choice_by_address_is_noticed(void **state) {
    (void)state;
    ambit_schedule_result result;
    assert_int_equal(RUN(depends_on_an_address, &result, .quiet = true), 1);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_DIVERGED);
}

static void fails_by_address(void *argument) {
    (void)argument;
    void *block = malloc(16);
    uintptr_t bits = (uintptr_t)block >> 12 & 1;
    free(block);
    ambit_schedule_assert(bits == count_unseen() % 2);
}
static void a_failure_that_cannot_be_played_again_says_so(void **state) {
    (void)state;
    ambit_schedule_result result;
    times = 0;
    assert_int_equal(RUN(fails_by_address, &result), 1);
    if (result.failure == AMBIT_SCHEDULE_ASSERTION)
        check_says("WARNING: the same seed took another way");
    else
        assert_int_equal(result.failure, AMBIT_SCHEDULE_DIVERGED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_null_scenario_is_refused),
        cmocka_unit_test(an_unknown_strategy_is_refused),
        cmocka_unit_test(too_much_depth_is_refused),
        cmocka_unit_test(depth_without_pct_is_refused),
        cmocka_unit_test(preemptions_without_exhaustive_are_refused),
        cmocka_unit_test(negative_earliness_is_refused),
        cmocka_unit_test(more_steps_than_can_be_counted_are_refused),
        cmocka_unit_test(a_run_within_a_scenario_is_misuse),
        cmocka_unit_test(no_options_are_the_usual_ones),
        cmocka_unit_test(a_clean_run_says_what_it_did),
        cmocka_unit_test(a_failure_is_told_with_seed_and_lines),
        cmocka_unit_test(a_failing_seed_fails_alone_in_the_same_way),
        cmocka_unit_test(a_seed_is_the_same_schedule_among_others),
        cmocka_unit_test(a_seed_of_the_first_few_can_be_played_alone),
        cmocka_unit_test(what_the_first_few_found_is_told_if_nothing_else_is),
        cmocka_unit_test(seeds_are_other_schedules),
        cmocka_unit_test(quiet_prints_nothing),
        cmocka_unit_test(the_bound_of_steps_is_kept),
        cmocka_unit_test(the_bound_of_pct_is_printed),
        cmocka_unit_test(an_exhaustive_run_says_when_it_is_complete),
        cmocka_unit_test(what_before_leaves_is_where_schedules_begin),
        cmocka_unit_test(a_before_that_fails_is_a_failure),
        cmocka_unit_test(state_that_is_not_put_back_is_noticed),
        cmocka_unit_test(a_choice_by_address_is_noticed),
        cmocka_unit_test(a_failure_that_cannot_be_played_again_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
