/* Schedules are followed as written, survive as text, and fail no less when they are made
 * shorter. */
#include "simulator.h"

#include "schedule/explore_meet.c"
#include "schedule/follow.c"
#include "schedule/shrink.c"

/* ---- A schedule that fails ------------------------------------------------------------------- */

static uint64_t drawn;
static unsigned draw(unsigned below) {
    drawn = drawn * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)((drawn >> 33) % below);
}

static void random_begin(uint64_t seed) { drawn = seed; }
static unsigned random_pick(uint32_t enabled, unsigned current) {
    (void)current;
    for (unsigned skip = draw((unsigned)__builtin_popcount(enabled)); skip; skip--)
        enabled &= enabled - 1;
    return (unsigned)__builtin_ctz(enabled);
}
static unsigned random_decide(ambit__decision kind, unsigned count, unsigned usual) {
    (void)kind;
    (void)usual;
    return draw(count);
}
static const ambit__strategy at_random = {
    .name = "random", .begin = random_begin, .pick = random_pick, .decide = random_decide};

static ambit__written decisions[4 * STEPS_OF_WORLD];
static size_t decision_count;
static ambit__finding failure;

/* Leaves the decisions of the first seed from `seed` on that fails in `decisions`. */
static void find_failure(const program *of, uint64_t seed) {
    for (; simulated_play(&at_random, seed, NULL, (void *)(uintptr_t)of); seed++)
        assert_true(seed < 100000);
    decision_count = simulated_decision_count;
    memcpy(decisions, simulated_decisions, decision_count * sizeof *decisions);
    failure = simulated_found;
}

static void shorten(const program *of) {
    assert_true(ambit__shrink(NULL, (void *)(uintptr_t)of, decisions, &decision_count));
    ambit__follow_set(decisions, decision_count);
    assert_false(simulated_play(&ambit__strategy_follow, 0, NULL, (void *)(uintptr_t)of));
    assert_int_equal(simulated_found.failure, failure.failure);
    assert_ptr_equal(simulated_found.site, failure.site);
}

static size_t surprises_left(void) {
    size_t count = 0;
    for (size_t i = 0; i < decision_count; i++)
        if (decisions[i].kind != AMBIT__DECIDE_THREAD && decisions[i].chosen) count++;
    return count;
}

/* The first thread finds zero and writes one; what the second has added in between is lost. Much
 * else goes on. */
static const program lost_update = {
    .threads = 3,
    .actions = {
        {{STORE, 3, 1},
         {STORE, 3, 2},
         {ADD, 0, 0},
         {SKIP_UNLESS_ZERO, 0, 3},
         {LOAD, 3, 0},
         {STORE, 0, 1},
         {LOAD, 4, 0},
         {END, 0, 0}},
        {{STORE, 4, 1},
         {LOAD, 3, 0},
         {STORE, 4, 2},
         {ADD, 0, 5},
         {LOAD, 3, 0},
         {STORE, 4, 3},
         {ADD, 0, 5},
         {FAIL_IF, 0, 1},
         {END, 0, 0}},
        {{STORE, 5, 1}, {LOAD, 3, 0}, {LOAD, 4, 0}, {STORE, 5, 2}, {LOAD, 4, 0}, {END, 0, 0}}}};

/* ---- Claims ---------------------------------------------------------------------------------- */

static void what_was_written_is_followed(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed < 300; seed++) {
        (void)simulated_play(&at_random, seed, NULL, (void *)(uintptr_t)&lost_update);
        uint64_t reached = outcome(), way = trace();
        size_t count = simulated_decision_count;
        ambit__follow_set(simulated_decisions, count);
        (void)simulated_play(&ambit__strategy_follow, 0, NULL, (void *)(uintptr_t)&lost_update);
        assert_true(outcome() == reached && trace() == way);
        assert_int_equal(simulated_decision_count, count);
    }
}

/* The text leaves out what is usual; what it says is the same schedule. */
static void text_says_the_same(void **state) {
    (void)state;
    char text[4096];
    for (uint64_t seed = 1; seed < 300; seed++) {
        (void)simulated_play(&at_random, seed, NULL, (void *)(uintptr_t)&lost_update);
        uint64_t reached = outcome(), way = trace();
        FILE *out = fmemopen(text, sizeof text, "w");
        ambit__choices_print(out, simulated_decisions, simulated_decision_count);
        assert_int_equal(fclose(out), 0);
        ambit__written *choices;
        size_t count;
        assert_true(ambit__choices_read(text, &choices, &count));
        ambit__follow_set(choices, count);
        free(choices);
        (void)simulated_play(&ambit__strategy_follow, 0, NULL, (void *)(uintptr_t)&lost_update);
        assert_true(outcome() == reached && trace() == way);
    }
}

static void assert_text(const ambit__written *choices, size_t count, const char *expected) {
    char text[256];
    FILE *out = fmemopen(text, sizeof text, "w");
    ambit__choices_print(out, choices, count);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, expected);
}

static void text_is_short(void **state) {
    (void)state;
    enum { T = AMBIT__DECIDE_THREAD, R = AMBIT__DECIDE_READ, E = AMBIT__DECIDE_EARLY };
    static const ambit__written plain[] = {{T, 8, 0}, {R, 2, 0}, {T, 8, 0}, {E, 2, 0},
                                           {T, 8, 0}, {R, 3, 2}, {T, 8, 1}, {R, 2, 0}};
    assert_text(plain, 8, "t0*3,r2,t1");
    static const ambit__written kept[] = {{T, 8, 0}, {R, 2, 0}, {R, 3, 1}, {T, 8, 1}};
    assert_text(kept, 4, "t0,r0,r1,t1");
    static const ambit__written user[] = {{AMBIT__DECIDE_USER, 3, 0}, {T, 8, 2}};
    assert_text(user, 2, "c0,t2");
    assert_text(NULL, 0, "usual");
}

static void text_that_is_none_is_refused(void **state) {
    (void)state;
    static const char *const none[] = {
        "",     ",",    "t",  "t8",         "x1",     "t0,", "t0,,t1", "t0*", "t0*0",  "t0 ",
        "r256", "t0*x", "0t", "t0*9999999", "usual,", "t-1", "t0t1",   "T0",  "t0*2*2"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        ambit__written *choices = NULL;
        size_t count;
        if (ambit__choices_read(none[i], &choices, &count)) fail_msg("taken: \"%s\"", none[i]);
        assert_null(choices);
    }
    ambit__written *choices = NULL;
    size_t count;
    assert_true(ambit__choices_read("t0*3,r2,w1,k1,p1,e1,c255,t7", &choices, &count));
    assert_int_equal(count, 10);
    assert_int_equal(choices[8].chosen, 255);
    free(choices);
    assert_true(ambit__choices_read("usual", &choices, &count));
    assert_non_null(choices);
    assert_int_equal(count, 0);
    free(choices);
}

static void what_does_not_fit_is_usual(void **state) {
    (void)state;
    program one = {
        .threads = 2,
        .actions = {{{STORE, 0, 1}, {STORE, 0, 2}, {END, 0, 0}}, {{LOAD, 0, 0}, {END, 0, 0}}}};
    static const ambit__written wrong[] = {{AMBIT__DECIDE_THREAD, 8, 7},
                                           {AMBIT__DECIDE_WAKE, 2, 1},
                                           {AMBIT__DECIDE_THREAD, 8, 1},
                                           {AMBIT__DECIDE_READ, 2, 77}};
    ambit__follow_set(wrong, 4);
    assert_true(simulated_play(&ambit__strategy_follow, 0, NULL, &one));
    /* 7 is nobody, so thread 0 goes first; then 1, which sees the newest; and it goes on to its
     * end. */
    static const uint8_t order[] = {0, 1, 1, 0, 0};
    assert_int_equal(world.step_count, 5);
    for (size_t i = 0; i < 5; i++) assert_int_equal(world.steps[i].thread, order[i]);
    assert_int_equal(world.threads[1].reg, 1);
    /* What is of another kind is passed over. */
    static const ambit__written behind[] = {{AMBIT__DECIDE_THREAD, 8, 0},
                                            {AMBIT__DECIDE_THREAD, 8, 1},
                                            {AMBIT__DECIDE_WAKE, 2, 1},
                                            {AMBIT__DECIDE_READ, 2, 1}};
    ambit__follow_set(behind, 4);
    assert_true(simulated_play(&ambit__strategy_follow, 0, NULL, &one));
    assert_int_equal(world.threads[1].reg, 0);
}

static void a_lost_update_needs_few_switches_and_no_surprise(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed < 2000; seed += 50) {
        find_failure(&lost_update, seed);
        shorten(&lost_update);
        assert_int_equal(best_cost.preemptions, 2);
        assert_int_equal(surprises_left(), 0);
        /* All of the first thread, which so ends without a switch, and what fails of the second. */
        assert_int_equal(world.step_count, 7 + 7);
        for (size_t i = 0; i < world.step_count; i++)
            assert_int_not_equal(world.steps[i].thread, 2);
    }
}

/* A stale load is all that makes it fail: it stays, and all the others go. */
static void the_surprise_that_matters_stays(void **state) {
    (void)state;
    program stale = {
        .threads = 2,
        .actions = {{{STORE, 0, 1}, {STORE, 1, 1}, {STORE, 2, 1}, {END, 0, 0}},
                    {{LOAD, 2, 0},
                     {LOAD, 1, 0},
                     {SKIP, 0, 2},
                     {LOAD, 0, 0},
                     {FAIL_IF, 0, 0},
                     {LOAD, 2, 0},
                     {END, 0, 0}},
                    {{STORE, 3, 1}, {STORE, 4, 1}, {LOAD, 0, 0}, {LOAD, 1, 0}, {END, 0, 0}}}};
    for (uint64_t seed = 1; seed < 500; seed += 20) {
        find_failure(&stale, seed);
        shorten(&stale);
        assert_int_equal(surprises_left(), 1);
        assert_int_equal(best_cost.preemptions, 0);
        assert_int_equal(world.step_count, 4 + 3);
        /* It is the last: what follows is usual. */
        assert_int_equal(decisions[decision_count - 1].kind, AMBIT__DECIDE_READ);
    }
}

/* One that runs before all, and one that is broken off later than it has to be. */
static void steps_that_do_not_matter_go(void **state) {
    (void)state;
    static const program before = {
        .threads = 3,
        .actions = {{{STORE, 0, 1}, {STORE, 1, 1}, {END, 0, 0}},
                    {{LOAD, 1, 0}, {SKIP, 0, 2}, {LOAD, 0, 0}, {FAIL_IF, 0, 0}, {END, 0, 0}},
                    {{STORE, 3, 1}, {STORE, 4, 1}, {END, 0, 0}}}};
    ambit__written *choices;
    assert_true(ambit__choices_read("t2*3,t0*3,r0,r1", &choices, &decision_count));
    memcpy(decisions, choices, decision_count * sizeof *decisions);
    free(choices);
    ambit__follow_set(decisions, decision_count);
    assert_false(simulated_play(&ambit__strategy_follow, 0, NULL, (void *)(uintptr_t)&before));
    failure = simulated_found;
    shorten(&before);
    assert_int_equal(world.step_count, 3 + 2);
    assert_int_equal(surprises_left(), 1);

    program broken_off = {.threads = 2,
                          .actions = {{{STORE, 0, 1},
                                       {STORE, 3, 1},
                                       {STORE, 3, 1},
                                       {STORE, 3, 1},
                                       {STORE, 3, 1},
                                       {STORE, 0, 2},
                                       {END, 0, 0}},
                                      {{ADD, 0, 0}, {FAIL_IF, 0, 1}, {END, 0, 0}}}};
    for (uint64_t seed = 1; seed < 100; seed += 10) {
        find_failure(&broken_off, seed);
        shorten(&broken_off);
        assert_int_equal(world.step_count, 2);
    }
}

/* Any old store will do: the one that is least so is what is told. */
static void an_old_store_is_no_older_than_it_has_to_be(void **state) {
    (void)state;
    program old = {.threads = 2,
                   .actions = {{{STORE, 0, 7},
                                {STORE, 0, 7},
                                {STORE, 0, 7},
                                {STORE, 0, 9},
                                {STORE, 0, 8},
                                {END, 0, 0}},
                               {{LOAD, 0, 0}, {FAIL_IF, 0, 7}, {END, 0, 0}}}};
    unsigned stale = 0;
    for (uint64_t seed = 1; seed < 200; seed += 10) {
        find_failure(&old, seed);
        shorten(&old);
        if (best_cost.preemptions) continue; /* it came upon the newest in time */
        assert_int_equal(best_cost.sizes, 2);
        stale++;
    }
    assert_true(stale > 0);
}

/* A simpler schedule fails too, in another way, or at another place. */
static void another_failure_is_none(void **state) {
    (void)state;
    for (int other = 0; other <= 2; other += 2) {
        program two = {
            .threads = 2,
            .actions = {{{ADD, 0, 5}, {ADD, 0, 0}, {FAIL_IF, 1, 6}, {FAIL_IF, 2, 5}, {END, 0, 0}},
                        {{ADD, 0, 1}, {END, 0, 0}}}};
        two.actions[0][3].variable = other;
        uint64_t seed = 0;
        do find_failure(&two, ++seed);
        while (failure.failure != AMBIT_SCHEDULE_ASSERTION || failure.site);
        shorten(&two);
        assert_int_equal(best_cost.steps, 4); /* the second to its end, then the first */
    }
}

static void what_never_fails_is_not_shortened(void **state) {
    (void)state;
    program clean = {.threads = 1, .actions = {{{STORE, 0, 1}, {END, 0, 0}}}};
    decision_count = 0;
    assert_false(ambit__shrink(NULL, &clean, decisions, &decision_count));
}

static void the_same_comes_out_each_time(void **state) {
    (void)state;
    find_failure(&lost_update, 4711);
    ambit__written before[4 * STEPS_OF_WORLD], first[4 * STEPS_OF_WORLD];
    size_t before_count = decision_count, first_count;
    memcpy(before, decisions, sizeof before);
    shorten(&lost_update);
    assert_true(decision_count < before_count);
    memcpy(first, decisions, sizeof first);
    first_count = decision_count;
    memcpy(decisions, before, sizeof before);
    decision_count = before_count;
    shorten(&lost_update);
    assert_int_equal(decision_count, first_count);
    assert_memory_equal(decisions, first, first_count * sizeof *first);
    assert_true(tries <= TRIES_MOST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_followed),
        cmocka_unit_test(text_says_the_same),
        cmocka_unit_test(text_is_short),
        cmocka_unit_test(text_that_is_none_is_refused),
        cmocka_unit_test(what_does_not_fit_is_usual),
        cmocka_unit_test(a_lost_update_needs_few_switches_and_no_surprise),
        cmocka_unit_test(the_surprise_that_matters_stays),
        cmocka_unit_test(steps_that_do_not_matter_go),
        cmocka_unit_test(an_old_store_is_no_older_than_it_has_to_be),
        cmocka_unit_test(another_failure_is_none),
        cmocka_unit_test(what_never_fails_is_not_shortened),
        cmocka_unit_test(the_same_comes_out_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
