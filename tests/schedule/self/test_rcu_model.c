/* The model of liburcu: what grace periods wait for, and what they order. */
#define _GNU_SOURCE
#include "rcu_nodes.h"

#include <urcu/urcu-bp.h>
#include <urcu/urcu-mb.h>
#include <urcu/urcu-qsbr.h>

/* liburcu's headers declare these for the first flavour only. */
void urcu_bp_call_rcu(struct rcu_head *head, void (*run)(struct rcu_head *head));
void urcu_qsbr_call_rcu(struct rcu_head *head, void (*run)(struct rcu_head *head));

/* ---- Right and wrong use --------------------------------------------------------------------- */

static void read_in_section(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    for (unsigned i = 0; i < 2; i++) {
        urcu_memb_read_lock();
        ambit_schedule_assert(urcu_memb_read_ongoing());
        ambit_schedule_assert(seen()->value > 0);
        urcu_memb_read_unlock();
        ambit_schedule_assert(!urcu_memb_read_ongoing());
    }
    urcu_memb_unregister_thread();
}
static void replace_and_synchronize(void *argument) {
    (void)argument;
    node *old = replace_by(new_node(2));
    urcu_memb_synchronize_rcu();
    free(old);
}
static void replace_and_call(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    for (int i = 3; i < 5; i++) {
        node *old = replace_by(new_node(i));
        urcu_memb_call_rcu(&old->head, free_node);
    }
    urcu_memb_unregister_thread();
}
static void with_node(ambit_schedule_fn *one, ambit_schedule_fn *two, ambit_schedule_fn *three) {
    atomic_store(&published, new_node(1));
    run(one, two, three);
    free(replace_by(NULL));
}
static void right_with_synchronize(void *argument) {
    (void)argument;
    with_node(read_in_section, read_in_section, replace_and_synchronize);
}
static void right_with_calls(void *argument) {
    (void)argument;
    with_node(read_in_section, read_in_section, replace_and_call);
}
static void right_use_is_clean(void **state) {
    (void)state;
    expect_clean(right_with_synchronize);
    expect_clean(right_with_calls);
}

static void read_without_section(void *argument) {
    (void)argument;
    node *at = seen();
    ambit_schedule_assert(at->value > 0);
}
static void reads_without_section(void *argument) {
    (void)argument;
    with_node(read_without_section, replace_and_synchronize, NULL);
}
static void reads_without_section_beside_calls(void *argument) {
    (void)argument;
    with_node(read_without_section, replace_and_call, NULL);
}

/* A failure that is a race between the use and the free in one schedule is a use after it in another. */
static void expect_lost_node(ambit_schedule_fn *scenario) {
    bool after_free = false;
    for (uint64_t seed = 1; seed < 200 && !after_free; seed++) {
        ambit_schedule_result result =
            outcome_with(scenario, (ambit_schedule_options){.seed = seed * 1000});
        assert_true(result.failure == AMBIT_SCHEDULE_USE_AFTER_FREE ||
                    result.failure == AMBIT_SCHEDULE_RACE);
        after_free = result.failure == AMBIT_SCHEDULE_USE_AFTER_FREE;
    }
    assert_true(after_free);
}
static void use_outside_of_sections_is_found(void **state) {
    (void)state;
    expect_lost_node(reads_without_section);
    expect_lost_node(reads_without_section_beside_calls);
}

static void use_after_section(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    node *at = seen();
    urcu_memb_read_unlock();
    ambit_schedule_assert(at->value > 0);
    urcu_memb_unregister_thread();
}
static void uses_after_section(void *argument) {
    (void)argument;
    with_node(use_after_section, replace_and_synchronize, NULL);
}
static void load_before_section(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    node *at = seen();
    urcu_memb_read_lock();
    ambit_schedule_assert(at->value > 0);
    urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void loads_before_section(void *argument) {
    (void)argument;
    with_node(load_before_section, replace_and_synchronize, NULL);
}
static void use_beyond_a_section_is_found(void **state) {
    (void)state;
    expect_lost_node(uses_after_section);
    expect_lost_node(loads_before_section);
    /* Not only because a load may see an old pointer: the lock comes too late. */
    ambit_schedule_result result =
        outcome_with(loads_before_section, (ambit_schedule_options){.strong_memory = true});
    assert_int_not_equal(result.failure, AMBIT_SCHEDULE_CLEAN);
}

static void replace_and_free(void *argument) {
    (void)argument;
    free(replace_by(new_node(2)));
}
static void frees_at_once(void *argument) {
    (void)argument;
    with_node(read_in_section, replace_and_free, NULL);
}
static void free_without_grace_period_is_found(void **state) {
    (void)state;
    expect_lost_node(frees_at_once);
}

static void free_then_replace(void *argument) {
    (void)argument;
    node *new = new_node(2);
    node *old = seen();
    urcu_memb_synchronize_rcu(); /* too early: readers still find it */
    (void)replace_by(new);
    free(old);
}
static void synchronizes_too_early(void *argument) {
    (void)argument;
    with_node(read_in_section, free_then_replace, NULL);
}
static void grace_period_before_the_removal_is_found(void **state) {
    (void)state;
    expect_lost_node(synchronizes_too_early);
}

static void publish_relaxed(void *argument) {
    (void)argument;
    node *old = atomic_exchange_explicit(&published, new_node(2), memory_order_relaxed);
    urcu_memb_synchronize_rcu();
    free(old);
}
static void publishes_relaxed(void *argument) {
    (void)argument;
    with_node(read_in_section, publish_relaxed, NULL);
}
static void publishing_without_release_is_found(void **state) {
    (void)state;
    ambit_schedule_result result = outcome_with(publishes_relaxed, (ambit_schedule_options){0});
    assert_true(result.failure == AMBIT_SCHEDULE_RACE ||
                result.failure == AMBIT_SCHEDULE_UNINITIALISED);
}

/* ---- What is ordered ------------------------------------------------------------------------- */

/* Seen from outside, so that the compiler does not know all their values. */
int plain, other_plain;
static _Atomic(int) flag;

static void write_in_section(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    atomic_store_explicit(&flag, 1, memory_order_relaxed);
    plain = 1;
    urcu_memb_read_unlock();
    other_plain = 1; /* after the section: nothing orders it */
    urcu_memb_unregister_thread();
}
/* Who sees that a section has begun sees all of it when a grace period is over. */
static void wait_for_section(void *argument) {
    (void)argument;
    if (!atomic_load_explicit(&flag, memory_order_relaxed)) return;
    urcu_memb_synchronize_rcu();
    ambit_schedule_assert(plain == 1);
}
static void waits_for_section(void *argument) {
    (void)argument;
    run(write_in_section, wait_for_section, NULL);
}
static void section_is_over_when_the_grace_period_is(void **state) {
    (void)state;
    expect_clean(waits_for_section);
}
static void wait_for_more(void *argument) {
    (void)argument;
    if (!atomic_load_explicit(&flag, memory_order_relaxed)) return;
    urcu_memb_synchronize_rcu();
    ambit_schedule_assert(other_plain <= 1);
}
static void waits_for_more(void *argument) {
    (void)argument;
    run(write_in_section, wait_for_more, NULL);
}
static void what_follows_the_section_is_not_ordered(void **state) {
    (void)state;
    expect_failure(waits_for_more, AMBIT_SCHEDULE_RACE, "race");
}

/* The other half: a section that begins after the grace period began sees what was before it. */
static void write_and_synchronize(void *argument) {
    (void)argument;
    plain = 1;
    urcu_memb_synchronize_rcu();
    other_plain = 1;
    atomic_store_explicit(&flag, 1, memory_order_relaxed);
}
static void read_before(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    int set = atomic_load_explicit(&flag, memory_order_relaxed);
    urcu_memb_read_lock();
    if (set) ambit_schedule_assert(plain == 1);
    urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void reads_what_was_before(void *argument) {
    (void)argument;
    run(write_and_synchronize, read_before, NULL);
}
static void read_behind(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    int set = atomic_load_explicit(&flag, memory_order_relaxed);
    urcu_memb_read_lock();
    if (set) ambit_schedule_assert(other_plain == 1);
    urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void reads_what_came_behind(void *argument) {
    (void)argument;
    run(write_and_synchronize, read_behind, NULL);
}
static void later_section_sees_what_was_before_the_grace_period(void **state) {
    (void)state;
    expect_clean(reads_what_was_before);
    expect_failure(reads_what_came_behind, AMBIT_SCHEDULE_RACE, "race");
}

static void section_with_a_write(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    plain++;
    urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void two_sections(void *argument) {
    (void)argument;
    run(section_with_a_write, section_with_a_write, NULL);
}
static void sections_do_not_order_each_other(void **state) {
    (void)state;
    expect_failure(two_sections, AMBIT_SCHEDULE_RACE, "race");
}

/* A grace period does not wait for sections that begin later: it ends while this one is open. */
static _Atomic(int) writer_is_through;
static void hold_until_writer_is_through(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    urcu_memb_read_lock(); /* nested: only the outermost unlock counts */
    urcu_memb_read_unlock();
    if (atomic_load(&flag) == 0) {
        atomic_store(&flag, 1);
    } else {
        while (!atomic_load(&writer_is_through)) ambit_schedule_yield();
    }
    urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void synchronize_once(void *argument) {
    (void)argument;
    if (atomic_exchange(&flag, 2) == 0) urcu_memb_synchronize_rcu();
    atomic_store(&writer_is_through, 1);
}
static void holds_beside_a_writer(void *argument) {
    (void)argument;
    run(hold_until_writer_is_through, synchronize_once, NULL);
}
static void grace_period_waits_for_open_sections_only(void **state) {
    (void)state;
    /* A section that was open waits for the writer, which waits for it: it may not begin before. */
    expect_failure_with(holds_beside_a_writer, (ambit_schedule_options){.steps = 2000},
                        AMBIT_SCHEDULE_LIVELOCK, "livelock");
}
static void begin_late(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    while (atomic_load(&flag) != 2) ambit_schedule_yield();
    urcu_memb_read_lock();
    while (!atomic_load(&writer_is_through)) ambit_schedule_yield();
    urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void hold_until_other_is_in(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    atomic_store(&flag, 1);
    while (atomic_load(&flag) != 2) ambit_schedule_yield();
    for (unsigned i = 0; i < 8; i++) ambit_schedule_yield();
    urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void free_later(struct rcu_head *head) {
    (void)head;
    atomic_store(&writer_is_through, 1);
}
static void call_between(void *argument) {
    (void)argument;
    static struct rcu_head head;
    urcu_memb_register_thread();
    while (atomic_load(&flag) != 1) ambit_schedule_yield();
    urcu_memb_call_rcu(&head, free_later); /* its grace period begins here */
    atomic_store(&flag, 2);
    urcu_memb_unregister_thread();
}
static void late_section_waits_for_callback(void *argument) {
    (void)argument;
    run(begin_late, hold_until_other_is_in, call_between);
}
static void later_sections_do_not_hold_up_a_callback(void **state) {
    (void)state;
    expect_clean(late_section_waits_for_callback);
}

/* ---- Other flavours -------------------------------------------------------------------------- */

static void read_with_bp(void *argument) {
    (void)argument;
    urcu_bp_read_lock();
    ambit_schedule_assert(seen()->value > 0);
    urcu_bp_read_unlock();
}
static void replace_with_bp(void *argument) {
    (void)argument;
    node *old = replace_by(new_node(2));
    urcu_bp_call_rcu(&old->head, free_node);
    old = replace_by(new_node(3));
    urcu_bp_synchronize_rcu();
    free(old);
}
static void bp_right(void *argument) {
    (void)argument;
    with_node(read_with_bp, replace_with_bp, NULL);
}
static void replace_with_mb(void *argument) {
    (void)argument;
    node *old = replace_by(new_node(2));
    urcu_mb_synchronize_rcu();
    free(old);
}
static void flavours_mixed(void *argument) {
    (void)argument;
    with_node(read_with_bp, replace_with_mb, NULL);
}
static void flavours_do_not_know_each_other(void **state) {
    (void)state;
    expect_clean(bp_right);
    expect_lost_node(flavours_mixed);
}

static void read_with_qsbr(void *argument) {
    (void)argument;
    urcu_qsbr_register_thread();
    for (unsigned i = 0; i < 2; i++) {
        urcu_qsbr_read_lock();
        ambit_schedule_assert(seen()->value > 0);
        urcu_qsbr_read_unlock();
        urcu_qsbr_quiescent_state();
    }
    urcu_qsbr_thread_offline();
    urcu_qsbr_thread_online();
    ambit_schedule_assert(seen()->value > 0);
    urcu_qsbr_unregister_thread();
}
static void replace_with_qsbr(void *argument) {
    (void)argument;
    urcu_qsbr_register_thread();
    node *old = replace_by(new_node(2));
    urcu_qsbr_synchronize_rcu();
    free(old);
    old = replace_by(new_node(3));
    urcu_qsbr_call_rcu(&old->head, free_node);
    urcu_qsbr_unregister_thread();
}
static void qsbr_right(void *argument) {
    (void)argument;
    with_node(read_with_qsbr, read_with_qsbr, replace_with_qsbr);
}
static void read_across_quiescence(void *argument) {
    (void)argument;
    urcu_qsbr_register_thread();
    node *at = seen();
    urcu_qsbr_quiescent_state();
    ambit_schedule_assert(at->value > 0);
    urcu_qsbr_unregister_thread();
}
static void qsbr_wrong(void *argument) {
    (void)argument;
    with_node(read_across_quiescence, replace_with_qsbr, NULL);
}
static void qsbr_sections_end_with_quiescence(void **state) {
    (void)state;
    expect_clean(qsbr_right);
    expect_lost_node(qsbr_wrong);
}

/* ---- All schedules --------------------------------------------------------------------------- */

static void replace_once_with_bp(void *argument) {
    (void)argument;
    node *old = replace_by(new_node(2));
    urcu_bp_synchronize_rcu();
    free(old);
}
static void one_reader_one_writer(void *argument) {
    (void)argument;
    with_node(read_with_bp, replace_once_with_bp, NULL);
}
static void no_schedule_of_a_small_case_fails(void **state) {
    (void)state;
    ambit_schedule_result result = outcome_with(
        one_reader_one_writer,
        (ambit_schedule_options){.strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .schedules = 100000});
    assert_int_equal(result.failure, AMBIT_SCHEDULE_CLEAN);
    assert_true(result.complete);
    expect_failure_with(flavours_mixed,
                        (ambit_schedule_options){.strategy = AMBIT_SCHEDULE_EXHAUSTIVE},
                        AMBIT_SCHEDULE_USE_AFTER_FREE, "free");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_use_is_clean),
        cmocka_unit_test(use_outside_of_sections_is_found),
        cmocka_unit_test(use_beyond_a_section_is_found),
        cmocka_unit_test(free_without_grace_period_is_found),
        cmocka_unit_test(grace_period_before_the_removal_is_found),
        cmocka_unit_test(publishing_without_release_is_found),
        cmocka_unit_test(section_is_over_when_the_grace_period_is),
        cmocka_unit_test(what_follows_the_section_is_not_ordered),
        cmocka_unit_test(later_section_sees_what_was_before_the_grace_period),
        cmocka_unit_test(sections_do_not_order_each_other),
        cmocka_unit_test(grace_period_waits_for_open_sections_only),
        cmocka_unit_test(later_sections_do_not_hold_up_a_callback),
        cmocka_unit_test(flavours_do_not_know_each_other),
        cmocka_unit_test(qsbr_sections_end_with_quiescence),
        cmocka_unit_test(no_schedule_of_a_small_case_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
