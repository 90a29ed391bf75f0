/* src/base/rcu.{c,h}: the shim over liburcu, which is a model here whose grace periods end as early as they may.
 *
 * Of fork() only the parent's side is part of schedules; the child's is tested by tests/unit/test_rcu_fork.c. */
#include <ambit/schedule.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/rcu.h"
#include "base/thread.h"

AMBIT_SCHEDULE_COVERS("base/rcu.c base/rcu.h")

typedef struct node {
    ambit__rcu_head head;
    int value;
    _Atomic(int) atomic_value;
} node;

static _Atomic(node *) shared;
static unsigned freed;
static unsigned seen_readers;

static node *make_node(int value) {
    node *made = malloc(sizeof *made);
    ambit_schedule_assert(made);
    made->value = value;
    ambit__store_relaxed(&made->atomic_value, value);
    return made;
}

static void register_thread(void *argument) {
    (void)argument;
    ambit_schedule_assert(ambit__rcu_register() == AMBIT_OK);
}

/* RCU is running, and there is something to read. This thread ends, and is registered no more. */
static void publish_first(void *argument) {
    register_thread(argument);
    ambit__rcu_publish(&shared, make_node(1));
}

static void read_node(void *argument) {
    register_thread(argument);
    ambit__rcu_read_lock();
    const node *found = ambit__rcu_read(&shared);
    if (found) {
        ambit_schedule_assert(found->value == 1 || found->value == 2);
        ambit_schedule_assert(ambit__load_relaxed(&found->atomic_value) == found->value);
    }
    ambit__rcu_read_unlock();
}

static void free_node(ambit__rcu_head *head) {
    free((node *)(void *)head);
    freed++;
}

AMBIT_SCHEDULE_TEST_WITH(published_is_whole, .before = register_thread) {
    ambit_schedule_thread reader = ambit_schedule_spawn(read_node, NULL);
    ambit__rcu_publish(&shared, make_node(2));
    ambit_schedule_join(reader);
}

AMBIT_SCHEDULE_TEST_WITH(synchronize_waits_for_readers, .before = publish_first) {
    ambit_schedule_thread reader = ambit_schedule_spawn(read_node, NULL);
    node *old = ambit__rcu_read(&shared);
    ambit__rcu_publish(&shared, make_node(2));
    ambit__rcu_synchronize();
    free(old);
    ambit_schedule_join(reader);
}

AMBIT_SCHEDULE_TEST_WITH(callback_waits_for_readers, .before = publish_first) {
    ambit_schedule_thread one = ambit_schedule_spawn(read_node, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(read_node, NULL);
    register_thread(NULL);
    node *old = ambit__rcu_read(&shared);
    ambit__rcu_publish(&shared, make_node(2));
    ambit__rcu_call(&old->head, free_node);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}

/* What callbacks did is known to who has waited for them. */
AMBIT_SCHEDULE_TEST_WITH(barrier_waits_for_callbacks, .before = publish_first) {
    ambit_schedule_thread reader = ambit_schedule_spawn(read_node, NULL);
    register_thread(NULL);
    node *old = ambit__rcu_read(&shared);
    ambit__rcu_publish(&shared, NULL);
    ambit__rcu_call(&old->head, free_node);
    ambit__rcu_barrier();
    ambit_schedule_assert(freed == 1);
    ambit_schedule_join(reader);
}

/* ---- Start ----------------------------------------------------------------------------------- */

/* Who finds it running has not started it. */
static void register_and_call(void *argument) {
    register_thread(argument);
    ambit__rcu_call(&make_node(1)->head, free_node);
}

AMBIT_SCHEDULE_TEST(first_registrations_meet) {
    ambit_schedule_thread one = ambit_schedule_spawn(register_and_call, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(register_and_call, NULL);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit__rcu_barrier();
    ambit_schedule_assert(freed == 2);
}

/* A thread that has found RCU running, and ends at once, is taken off the list of readers: it knows of the
 * hook that the starting thread has added. */
AMBIT_SCHEDULE_TEST_WITH(first_registrations_end, .strategy = AMBIT_SCHEDULE_PCT, .depth = 3) {
    ambit_schedule_thread other = ambit_schedule_spawn(register_thread, NULL);
    register_thread(NULL);
    ambit_schedule_join(other);
}

/* A call found it running, and so does who waits for it, though it has not registered itself. */
static _Atomic(bool) called;
static void call_and_tell(void *argument) {
    register_and_call(argument);
    ambit__store_relaxed(&called, true);
}

AMBIT_SCHEDULE_TEST(barrier_finds_it_running) {
    ambit_schedule_thread other = ambit_schedule_spawn(call_and_tell, NULL);
    if (ambit__load_acquire(&called)) ambit__rcu_barrier();
    ambit_schedule_join(other);
    ambit__rcu_barrier();
    ambit_schedule_assert(freed == 1);
}

/* ---- The gate -------------------------------------------------------------------------------- */

/* Threads that register, synchronize and call at once all get through. */
static void come_and_go(void *argument) {
    register_thread(argument);
    ambit__rcu_synchronize();
}

AMBIT_SCHEDULE_TEST_WITH(gate_lets_all_through, .before = register_thread) {
    ambit_schedule_thread one = ambit_schedule_spawn(come_and_go, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(come_and_go, NULL);
    ambit__rcu_synchronize();
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}

/* A registered thread that ends is waited for no more. */
AMBIT_SCHEDULE_TEST_WITH(ended_reader_is_not_waited_for, .before = publish_first) {
    ambit_schedule_thread reader = ambit_schedule_spawn(read_node, NULL);
    ambit_schedule_join(reader);
    /* Nor would the child of a fork take it off a list that it does not stand in. */
    for (ambit__thread *at = ambit__thread_records(); at; at = at->next)
        ambit_schedule_assert(!at->rcu_reader);
    ambit__rcu_synchronize();
    reader = ambit_schedule_spawn(read_node, NULL);
    ambit__rcu_synchronize();
    ambit_schedule_join(reader);
}

/* fork() closes the gate: nobody is inside meanwhile, so the child's copy of all that is written inside is
 * whole. This handler is older than RCU's, and so comes after it; it reads what the child would. */
static void look_inside(void) {
    for (ambit__thread *at = ambit__thread_records(); at; at = at->next)
        if (at->rcu_reader) seen_readers++;
}

static void prepare_to_look(void *argument) {
    ambit_schedule_assert(pthread_atfork(look_inside, NULL, NULL) == 0);
    register_thread(argument);
}

/* Meanwhile nobody goes in: of those who come, one may have left already and not said so. */
static _Atomic(unsigned) visits;
static void count_visits(void) {
    unsigned before = ambit__load_relaxed(&visits);
    for (int i = 0; i < 8; i++) ambit_schedule_yield();
    ambit_schedule_assert(ambit__load_relaxed(&visits) - before <= 1);
}

static void prepare_to_count(void *argument) {
    ambit_schedule_assert(pthread_atfork(count_visits, NULL, NULL) == 0);
    register_thread(argument);
}

static void visit_often(void *argument) {
    node *mine = make_node(1);
    ambit__rcu_synchronize();
    ambit__add_relaxed(&visits, 1);
    register_thread(argument);
    ambit__add_relaxed(&visits, 1);
    ambit__rcu_call(&mine->head, free_node);
    ambit__add_relaxed(&visits, 1);
    ambit__rcu_synchronize();
    ambit__add_relaxed(&visits, 1);
}

AMBIT_SCHEDULE_TEST_WITH(fork_lets_nobody_in, .before = prepare_to_count) {
    ambit_schedule_thread other = ambit_schedule_spawn(visit_often, NULL);
    ambit_schedule_fork_in_parent();
    ambit_schedule_join(other);
}

/* Who came while it was closed goes in when it is open: all of them. */
AMBIT_SCHEDULE_TEST_WITH(fork_lets_all_in_afterwards, .before = prepare_to_count) {
    ambit_schedule_thread one = ambit_schedule_spawn(register_thread, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(register_thread, NULL);
    ambit_schedule_fork_in_parent();
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}

static void call_from_inside(void *argument) {
    register_thread(argument);
    ambit__rcu_call(&make_node(1)->head, free_node);
    ambit__rcu_synchronize();
}

AMBIT_SCHEDULE_TEST_WITH(fork_closes_the_gate, .before = prepare_to_look) {
    ambit_schedule_thread other = ambit_schedule_spawn(call_from_inside, NULL);
    ambit_schedule_fork_in_parent();
    ambit_schedule_join(other);
}

static void fork_twice(void *argument) {
    (void)argument;
    ambit_schedule_fork_in_parent();
    ambit_schedule_fork_in_parent();
}

AMBIT_SCHEDULE_TEST_WITH(forks_meet_at_the_gate, .before = prepare_to_look) {
    ambit_schedule_thread one = ambit_schedule_spawn(fork_twice, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(register_thread, NULL);
    ambit_schedule_fork_in_parent();
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}

/* A synchronize is inside and waits for a reader, a fork waits for the synchronize, and the
 * reader for a thread that registers, calls and ends: all of these pass a fork that waits. */
static _Atomic(bool) reading;
static void read_and_wait(void *argument) {
    register_thread(argument);
    ambit__rcu_read_lock();
    ambit__store_release(&reading, true);
    ambit__rcu_call(&make_node(1)->head, free_node);
    ambit_schedule_join(ambit_schedule_spawn(register_and_call, NULL));
    ambit__rcu_read_unlock();
}
static void synchronize_beside_it(void *argument) {
    (void)argument;
    while (!ambit__load_acquire(&reading)) ambit_schedule_yield();
    ambit__rcu_synchronize();
}

AMBIT_SCHEDULE_TEST_WITH(short_visits_pass_a_fork_that_waits, .before = register_thread) {
    ambit_schedule_thread reader = ambit_schedule_spawn(read_and_wait, NULL);
    ambit_schedule_thread writer = ambit_schedule_spawn(synchronize_beside_it, NULL);
    while (!ambit__load_acquire(&reading)) ambit_schedule_yield();
    ambit_schedule_fork_in_parent();
    ambit_schedule_join(reader);
    ambit_schedule_join(writer);
    ambit__rcu_barrier();
    ambit_schedule_assert(freed == 2);
}
