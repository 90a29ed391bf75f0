/* The model of liburcu: callbacks, and what is told as misuse. */
#define _GNU_SOURCE
#include <pthread.h>

#include "rcu_nodes.h"

/* Seen from outside, so that the compiler does not know all its values. */
int plain;

/* ---- Callbacks ------------------------------------------------------------------------------- */

static int order[4];
static unsigned ran;
static struct numbered {
    struct rcu_head head;
    int number;
} calls[4];
static void note_number(struct rcu_head *head) {
    order[ran++] = ((struct numbered *)(void *)head)->number;
}
static void makes_calls(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    for (int i = 0; i < 4; i++) {
        calls[i].number = i;
        urcu_memb_call_rcu(&calls[i].head, note_number);
    }
    urcu_memb_barrier();
    ambit_schedule_assert(ran == 4);
    for (int i = 0; i < 4; i++) ambit_schedule_assert(order[i] == i);
    ambit_schedule_assert(urcu_memb_get_call_rcu_thread(urcu_memb_get_default_call_rcu_data()));
    urcu_memb_unregister_thread();
}
static void barrier_waits_for_callbacks_in_order(void **state) {
    (void)state;
    expect_clean(makes_calls);
}

static void leaves_calls_behind(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    node *old = new_node(1);
    urcu_memb_call_rcu(&old->head, free_node); /* a leak, if it never runs */
    urcu_memb_unregister_thread();
}
static void callbacks_run_before_the_schedule_ends(void **state) {
    (void)state;
    expect_clean(leaves_calls_behind);
}

static void count_without_barrier(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_call_rcu(&calls[0].head, note_number);
    ambit_schedule_assert(ran <= 1);
    urcu_memb_unregister_thread();
}
static void callback_without_barrier_races(void **state) {
    (void)state;
    expect_failure(count_without_barrier, AMBIT_SCHEDULE_RACE, "race");
}

static void call_again(struct rcu_head *head) {
    if (++ran < 3) urcu_memb_call_rcu(head, call_again);
}
static void calls_from_callbacks(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_call_rcu(&calls[0].head, call_again);
    for (unsigned i = 0; i < 3; i++) urcu_memb_barrier();
    ambit_schedule_assert(ran == 3);
    urcu_memb_unregister_thread();
}
static void callbacks_may_call(void **state) {
    (void)state;
    expect_clean(calls_from_callbacks);
}

static void count_up(void *argument) { ++*(int *)argument; }
static void defers(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    ambit_schedule_assert(urcu_memb_defer_register_thread() == 0);
    urcu_memb_defer_rcu(count_up, &plain);
    urcu_memb_defer_rcu(count_up, &plain);
    urcu_memb_defer_barrier();
    ambit_schedule_assert(plain == 2);
    urcu_memb_defer_unregister_thread();
    urcu_memb_unregister_thread();
}
static void deferred_calls_run(void **state) {
    (void)state;
    expect_clean(defers);
}

static void left_registered(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    atomic_store(&published, new_node(1));
}
static void goes_on_registered(void *argument) {
    (void)argument;
    urcu_memb_read_lock();
    ambit_schedule_assert(seen()->value == 1);
    urcu_memb_read_unlock();
    node *old = replace_by(NULL);
    urcu_memb_call_rcu(&old->head, free_node);
}
static void registration_of_before_stays(void **state) {
    (void)state;
    expect_clean_with(goes_on_registered, (ambit_schedule_options){.before = left_registered});
    expect_failure(goes_on_registered, AMBIT_SCHEDULE_MISUSE, "not registered");
}

/* ---- Misuse ---------------------------------------------------------------------------------- */

static void exit_inside(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
}
static void exits_inside(void *argument) {
    (void)argument;
    run(exit_inside, NULL, NULL);
}
static void exit_registered(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
}
static void exits_registered(void *argument) {
    (void)argument;
    run(exit_registered, NULL, NULL);
}
static void ends_inside(void *argument) { exit_inside(argument); }
static void unlocks_twice(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    urcu_memb_read_unlock();
    urcu_memb_read_unlock();
}
static void waits_for_itself(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    urcu_memb_synchronize_rcu();
}
static void barrier_inside(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    urcu_memb_barrier();
}
static void locks_unregistered(void *argument) {
    (void)argument;
    urcu_memb_read_lock();
}
static void registers_twice(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_register_thread();
}
static void unregisters_inside(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    urcu_memb_unregister_thread();
}
static void calls_twice(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock(); /* so that the callback cannot have run */
    urcu_memb_call_rcu(&calls[0].head, note_number);
    urcu_memb_call_rcu(&calls[0].head, note_number);
}
static void wait_for_callbacks(struct rcu_head *head) {
    (void)head;
    urcu_memb_barrier();
}
static void barrier_in_callback(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_call_rcu(&calls[0].head, wait_for_callbacks);
}
static void ignore(struct rcu_head *head) { (void)head; }
static void frees_a_head_that_is_lent(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    node *old = new_node(1);
    urcu_memb_call_rcu(&old->head, ignore);
    free(old);
}
static void misuse_is_told(void **state) {
    (void)state;
    static const struct {
        ambit_schedule_fn *scenario;
        const char *words;
    } misuses[] = {
        {exits_inside, "thread exit inside a read section"},
        {ends_inside, "thread exit inside a read section"},
        {exits_registered, "thread exit while registered"},
        {unlocks_twice, "rcu_read_unlock() outside"},
        {waits_for_itself, "synchronize_rcu() inside a read section"},
        {barrier_inside, "rcu_barrier() inside a read section"},
        {locks_unregistered, "rcu_read_lock() by a thread that is not registered"},
        {registers_twice, "of a thread that is registered"},
        {unregisters_inside, "rcu_unregister_thread() inside"},
        {calls_twice, "a head whose callback has not run yet"},
        {barrier_in_callback, "rcu_barrier() in a callback"},
    };
    for (unsigned i = 0; i < sizeof misuses / sizeof *misuses; i++)
        expect_failure(misuses[i].scenario, AMBIT_SCHEDULE_MISUSE, misuses[i].words);
}
static void head_must_be_there_until_its_callback(void **state) {
    (void)state;
    ambit_schedule_result result =
        outcome_with(frees_a_head_that_is_lent, (ambit_schedule_options){0});
    assert_true(result.failure == AMBIT_SCHEDULE_USE_AFTER_FREE ||
                result.failure == AMBIT_SCHEDULE_RACE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(barrier_waits_for_callbacks_in_order),
        cmocka_unit_test(callbacks_run_before_the_schedule_ends),
        cmocka_unit_test(callback_without_barrier_races),
        cmocka_unit_test(callbacks_may_call),
        cmocka_unit_test(deferred_calls_run),
        cmocka_unit_test(registration_of_before_stays),
        cmocka_unit_test(misuse_is_told),
        cmocka_unit_test(head_must_be_there_until_its_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
