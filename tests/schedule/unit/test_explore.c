/* The exhaustive strategy misses nothing that brute force finds, and repeats nothing. */
#include "survey.h"

static void write_times(program *to, unsigned thread, int variable, int times) {
    for (int i = 0; i < times; i++)
        to->actions[thread][i] = (action){STORE, variable, (int)thread * 10 + i};
    to->actions[thread][times] = (action){END, 0, 0};
}

/* ---- Claims ---------------------------------------------------------------------------------- */

static void threads_that_do_not_meet_have_one_schedule(void **state) {
    (void)state;
    program independent = {.threads = 4};
    for (unsigned i = 0; i < 4; i++) write_times(&independent, i, (int)i, 5);
    survey found = explore(&independent, 0);
    assert_int_equal(found.schedules, 1);
    survey_free(&found);
}

static void loads_do_not_meet(void **state) {
    (void)state;
    program readers = {.threads = 3,
                       .actions = {{{LOAD, 0, 0}, {LOAD_SC, 0, 0}, {END, 0, 0}},
                                   {{LOAD, 0, 0}, {LOAD_SC, 0, 0}, {END, 0, 0}},
                                   {{LOAD, 0, 0}, {END, 0, 0}}}};
    survey found = explore(&readers, 0);
    assert_int_equal(found.schedules, 1);
    survey_free(&found);
}

static void writers_of_one_variable_have_all_orders(void **state) {
    (void)state;
    static const size_t binomial[] = {1, 2, 6, 20, 70, 252};
    for (int n = 1; n <= 5; n++) {
        program two = {.threads = 2};
        write_times(&two, 0, 0, n);
        write_times(&two, 1, 0, n);
        assert_int_equal(count_new(&two), binomial[n]);
    }
    program three = {.threads = 3};
    for (unsigned i = 0; i < 3; i++) write_times(&three, i, 0, 2);
    assert_int_equal(count_new(&three), 90); /* 6! / 2!^3 */
    program four = {.threads = 4};
    for (unsigned i = 0; i < 4; i++) write_times(&four, i, 0, 1);
    assert_int_equal(count_new(&four), 24);
}

/* A reader before, between or after n writers that do not meet each other. */
static void one_reader_of_many_has_a_schedule_for_each_subset(void **state) {
    (void)state;
    program readers = {.threads = 4};
    for (unsigned i = 0; i < 3; i++) {
        readers.actions[i][0] = (action){ADD, (int)i, 1};
        readers.actions[i][1] = (action){END, 0, 0};
        readers.actions[3][i] = (action){ADD, (int)i, 5};
    }
    readers.actions[3][3] = (action){END, 0, 0};
    assert_int_equal(count_new(&readers), 8);
    assert_all_found(&readers);
}

/* Store buffering: four outcomes if loads may be stale, or old ones in time. */
static void store_buffering_shows_all_outcomes(void **state) {
    (void)state;
    program relaxed = {.threads = 2,
                       .actions = {{{STORE, 0, 1}, {LOAD, 1, 0}, {END, 0, 0}},
                                   {{STORE, 1, 1}, {LOAD, 0, 0}, {END, 0, 0}}}};
    survey found = explore(&relaxed, 0);
    assert_int_equal(found.outcomes.count, 4);
    survey_free(&found);
    program fenced = {.threads = 2,
                      .actions = {{{STORE, 0, 1}, {FENCE_SC, 0, 0}, {LOAD, 1, 0}, {END, 0, 0}},
                                  {{STORE, 1, 1}, {FENCE_SC, 0, 0}, {LOAD, 0, 0}, {END, 0, 0}}}};
    found = explore(&fenced, 0);
    assert_int_equal(found.outcomes.count, 3);
    survey_free(&found);
    assert_all_found(&relaxed);
    assert_all_found(&fenced);
}

static void critical_sections_have_an_order_each(void **state) {
    (void)state;
    program sections = {.threads = 3};
    static const action section[] = {
        {LOCK, 0, 0}, {ADD, 1, 1}, {ADD, 2, 1}, {UNLOCK, 0, 0}, {END, 0, 0}};
    for (unsigned i = 0; i < 3; i++) memcpy(sections.actions[i], section, sizeof section);
    assert_int_equal(count_new(&sections), 6);
    assert_all_found(&sections);
}

static void dead_locks_are_found(void **state) {
    (void)state;
    program crossed = {
        .threads = 2,
        .actions = {{{LOCK, 0, 0}, {LOCK, 1, 0}, {UNLOCK, 1, 0}, {UNLOCK, 0, 0}, {END, 0, 0}},
                    {{LOCK, 1, 0}, {LOCK, 0, 0}, {UNLOCK, 0, 0}, {UNLOCK, 1, 0}, {END, 0, 0}}}};
    bool stuck = false;
    simulated_explore_set(0);
    do {
        simulated_play(&simulated_strategy_explore, 0, NULL, &crossed);
        stuck |= world.stuck;
    } while (simulated_strategy_explore.finish());
    assert_true(stuck);
    assert_all_found(&crossed);
}

/* The file system of the paper on dynamic reduction: inodes take blocks, each under a lock. Up to
 * 13 threads nobody meets there; here the third thread takes the first one's inode and block. */
static void threads_on_files_of_their_own_have_one_schedule(void **state) {
    (void)state;
    program files = {.threads = 3};
    static const int inode[] = {0, 1, 2}, block[] = {3, 4, 5};
    for (unsigned i = 0; i < 3; i++) {
        const action actions[] = {
            {LOCK, inode[i], 0},   {LOAD, inode[i], 0},   {SKIP, 0, 4},
            {LOCK, block[i], 0},   {STORE, block[i], 1},  {STORE, inode[i], 1},
            {UNLOCK, block[i], 0}, {UNLOCK, inode[i], 0}, {END, 0, 0}};
        memcpy(files.actions[i], actions, sizeof actions);
    }
    survey found = explore(&files, 0);
    assert_int_equal(found.schedules, 1);
    survey_free(&found);
    memcpy(files.actions[2], files.actions[0], sizeof files.actions[0]);
    assert_int_equal(count_new(&files), 2);
    assert_all_found(&files);
}

/* Last zero (Abdulla, Aronis, Jonsson, Sagonas, POPL 2014): thread j sets a[j] = a[j - 1] + 1, and
 * one looks for the last zero from the end. */
static void the_last_zero_is_found(void **state) {
    (void)state;
    for (int n = 2; n <= 3; n++) {
        program zero = {.threads = (unsigned)n + 1};
        action *look_for = zero.actions[0];
        for (int i = n; i > 0; i--) {
            *look_for++ = (action){LOAD, i, 0};
            *look_for++ = (action){SKIP, 0, 2 * (i - 1)}; /* to the end of the loop */
        }
        *look_for = (action){END, 0, 0};
        for (int j = 1; j <= n; j++) {
            zero.actions[j][0] = (action){LOAD, j - 1, 0};
            zero.actions[j][1] = (action){ADD, j, 1};
            zero.actions[j][2] = (action){END, 0, 0};
        }
        assert_all_found(&zero);
    }
}

static void a_wake_is_tried_before_and_after_the_wait(void **state) {
    (void)state;
    program parked = {.threads = 3,
                      .actions = {{{STORE, 1, 1}, {WAIT, 0, 0}, {LOAD, 1, 0}, {END, 0, 0}},
                                  {{LOAD, 1, 0}, {WAIT, 0, 0}, {ADD, 1, 2}, {END, 0, 0}},
                                  {{ADD, 1, 4}, {WAKE, 0, 0}, {WAKE, 0, 0}, {END, 0, 0}}}};
    assert_all_found(&parked);
    parked.actions[0][1].kind = parked.actions[1][1].kind = WAIT_SPURIOUS;
    assert_all_found(&parked);
}

static void waiting_for_what_has_no_name_is_followed(void **state) {
    (void)state;
    program joined = {
        .threads = 3,
        .actions = {{{STORE, 0, 1}, {JOIN_ALL, 0, 0}, {ADD, 0, 1}, {ADD, 1, 1}, {END, 0, 0}},
                    {{ADD, 0, 2}, {ADD, 1, 2}, {END, 0, 0}},
                    {{ADD, 1, 4}, {END, 0, 0}}}};
    survey all = survey_with(&brute, &joined, 4000000);
    survey found = explore(&joined, 0);
    assert_true(set_is_same(&all.outcomes, &found.outcomes));
    survey_free(&all);
    survey_free(&found);
}

/* What lets it go on need not be what the first schedule shows. */
static void waiting_for_any_is_followed(void **state) {
    (void)state;
    program any = {.threads = 3,
                   .actions = {{{JOIN_ANY, 0, 0}, {ADD, 0, 1}, {END, 0, 0}},
                               {{ADD, 0, 2}, {END, 0, 0}},
                               {{STORE, 1, 1}, {END, 0, 0}}}};
    survey all = survey_with(&brute, &any, 4000000);
    survey found = explore(&any, 0);
    assert_true(set_is_same(&all.outcomes, &found.outcomes));
    survey_free(&all);
    survey_free(&found);
    any.actions[0][0].kind = POLL_ANY;
    assert_all_found(&any);
}

/* A schedule has two such ends, and which of the three goes without is told by their order. */
static void ends_for_nothing_are_few(void **state) {
    (void)state;
    program three = {.threads = 3};
    for (int i = 0; i < 3; i++) {
        three.actions[i][0] = (action){WAIT_SPURIOUS, i, 0};
        three.actions[i][1] = (action){END, 0, 0};
    }
    survey found = explore(&three, 0);
    assert_int_equal(found.outcomes.count, 3);
    survey_free(&found);
    assert_all_found(&three);
}

/* A lock behind a try that fails: only in front of the first lock could it come. */
static void a_lock_is_tried_before_all_that_keep_it_out(void **state) {
    (void)state;
    program kept = {.threads = 2,
                    .actions = {{{LOCK, 3, 0}, {TRY_LOCK, 3, 0}, {END, 0, 0}},
                                {{STORE, 0, 0}, {LOCK, 3, 0}, {END, 0, 0}}}};
    assert_all_found(&kept);
}

static void assert_diverges(program *changed) {
    bool more = simulated_strategy_explore.finish();
    assert_true(more);
    (void)simulated_play(&simulated_strategy_explore, 0, NULL, changed);
    if (simulated_found.failure == AMBIT_SCHEDULE_CLEAN) {
        assert_true(simulated_strategy_explore.finish());
        (void)simulated_play(&simulated_strategy_explore, 0, NULL, changed);
    }
    assert_int_equal(simulated_found.failure, AMBIT_SCHEDULE_DIVERGED);
}

/* The program is another one when its prefix is repeated. */
static void a_program_that_changes_is_found_out(void **state) {
    (void)state;
    static const program original = {
        .threads = 2,
        .actions = {{{STORE, 0, 1}, {CHOOSE, 0, 3}, {STORE, 1, 1}, {STORE, 2, 1}, {END, 0, 0}},
                    {{STORE, 2, 2}, {END, 0, 0}}}};
    for (int way = 0; way < 5; way++) {
        program changing = original;
        simulated_explore_set(0);
        (void)simulated_play(&simulated_strategy_explore, 0, NULL, &changing);
        switch (way) {
        case 0:
            changing.actions[0][2].variable = 5; /* something else is done */
            break;
        case 1:
            changing.actions[0][1].value = 4; /* something else is chosen */
            break;
        case 2:
            changing.actions[0][0] = (action){END, 0, 0}; /* an end before */
            break;
        case 3:
            changing.actions[0][0] = (action){WAIT, 0, 0}; /* others can run */
            break;
        default:
            changing.actions[1][0] = (action){END, 0, 0}; /* a thread is not there any more */
            changing.actions[0][0] = (action){SPIN, 5, 1};
        }
        assert_diverges(&changing);
    }
}

static void choices_are_all_tried(void **state) {
    (void)state;
    program chooser = {
        .threads = 2,
        .actions = {{{STORE, 0, 1}, {CHOOSE, 0, 5}, {CHOOSE, 0, 3}, {STORE, 1, 1}, {END, 0, 0}},
                    {{STORE, 2, 1}, {END, 0, 0}}}};
    assert_int_equal(count_new(&chooser), 15);
    assert_all_found(&chooser);
}

static void an_exchange_fails_for_nothing_once_in_a_row(void **state) {
    (void)state;
    program weak = {.threads = 1,
                    .actions = {{{ADD_WEAKLY, 0, 1}, {ADD_WEAKLY, 0, 1}, {END, 0, 0}}}};
    assert_int_equal(count_new(&weak), 4);
}

static void spinning_ends(void **state) {
    (void)state;
    program spinner = {.threads = 3,
                       .actions = {{{SPIN, 0, 1}, {ADD, 1, 1}, {END, 0, 0}},
                                   {{ADD, 1, 2}, {STORE, 0, 1}, {STORE, 2, 1}, {END, 0, 0}},
                                   {{ADD, 1, 4}, {ADD, 2, 1}, {END, 0, 0}}}};
    survey all = survey_with(&brute, &spinner, 4000000);
    survey found = explore(&spinner, 0);
    assert_true(set_is_same(&all.outcomes, &found.outcomes));
    assert_true(found.schedules < all.schedules);
    survey_free(&all);
    survey_free(&found);
}

/* Two threads of n steps each with at most c preemptions. A schedule is a word of blocks; each
 * boundary but one at the end of a thread is a preemption. */
static size_t bounded_by_hand(unsigned left, unsigned other, unsigned bound_left) {
    /* `left` steps remain in the thread that runs, `other` in the one that does not. */
    if (!left) return 1;
    size_t count = bounded_by_hand(left - 1, other, bound_left);
    if (other && bound_left) count += bounded_by_hand(other - 1, left, bound_left - 1);
    return count;
}

static void preemptions_are_bounded(void **state) {
    (void)state;
    for (int n = 1; n <= 4; n++) {
        program two = {.threads = 2};
        write_times(&two, 0, 0, n);
        write_times(&two, 1, 0, n);
        unsigned steps = (unsigned)n + 1; /* the end is one */
        size_t before = 0;
        for (unsigned c = 1; c <= 9; c++) {
            survey found = explore(&two, c);
            /* The first thread to run is one's that goes on already. */
            assert_int_equal(found.schedules, bounded_by_hand(steps, steps, c));
            assert_true(found.schedules >= before);
            before = found.schedules;
            survey_free(&found);
        }
        survey all = survey_with(&brute, &two, 4000000);
        assert_int_equal(all.schedules, before);
        survey_free(&all);
    }
}

static size_t count_within(const program *of, unsigned most) {
    size_t count = 0;
    path.count = 0;
    do {
        (void)simulated_play(&brute, 0, NULL, (void *)(uintptr_t)of);
        count += preemptions <= most;
    } while (brute.finish());
    return count;
}

static void to_yield_is_no_preemption(void **state) {
    (void)state;
    program yields = {.threads = 3,
                      .actions = {{{STORE, 0, 1}, {YIELD, 0, 0}, {STORE, 0, 2}, {END, 0, 0}},
                                  {{STORE, 1, 1}, {YIELD, 0, 0}, {STORE, 1, 2}, {END, 0, 0}},
                                  {{LOCK, 0, 0}, {UNLOCK, 0, 0}, {END, 0, 0}}}};
    for (unsigned most = 1; most < 6; most++) {
        survey found = explore(&yields, most);
        assert_int_equal(found.schedules, count_within(&yields, most));
        survey_free(&found);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_do_not_meet_have_one_schedule),
        cmocka_unit_test(loads_do_not_meet),
        cmocka_unit_test(writers_of_one_variable_have_all_orders),
        cmocka_unit_test(one_reader_of_many_has_a_schedule_for_each_subset),
        cmocka_unit_test(store_buffering_shows_all_outcomes),
        cmocka_unit_test(critical_sections_have_an_order_each),
        cmocka_unit_test(dead_locks_are_found),
        cmocka_unit_test(threads_on_files_of_their_own_have_one_schedule),
        cmocka_unit_test(the_last_zero_is_found),
        cmocka_unit_test(a_wake_is_tried_before_and_after_the_wait),
        cmocka_unit_test(waiting_for_what_has_no_name_is_followed),
        cmocka_unit_test(waiting_for_any_is_followed),
        cmocka_unit_test(ends_for_nothing_are_few),
        cmocka_unit_test(a_lock_is_tried_before_all_that_keep_it_out),
        cmocka_unit_test(a_program_that_changes_is_found_out),
        cmocka_unit_test(choices_are_all_tried),
        cmocka_unit_test(an_exchange_fails_for_nothing_once_in_a_row),
        cmocka_unit_test(spinning_ends),
        cmocka_unit_test(preemptions_are_bounded),
        cmocka_unit_test(to_yield_is_no_preemption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
