/* src/base/bias.{c,h}: the lock that belongs to one thread, with membarrier(2) in the place of its fence. */
#include <ambit/schedule.h>

#include "base/bias.h"

AMBIT_SCHEDULE_COVERS("base/bias.c base/bias.h base/thread.c:ambit__heavy_barrier")

static ambit__bias bias;
static unsigned guarded, inside;

static void make(void *argument) {
    (void)argument;
    ambit__bias_init(&bias);
}

/* Plain memory: two at once, or an order that is missing, is a race on it. */
static void be_inside(void) {
    ambit_schedule_assert(++inside == 1);
    guarded++;
    inside--;
}

static void own_twice(void *argument) {
    (void)argument;
    for (int i = 0; i < 2; i++) {
        ambit__bias_lock_owner(&bias);
        be_inside();
        ambit__bias_unlock_owner(&bias);
    }
}

static void visit(void *stays) {
    ambit__bias_lock_visitor(&bias);
    be_inside();
    ambit__bias_unlock_visitor(&bias, stays != NULL);
}

AMBIT_SCHEDULE_TEST_WITH(visitor_keeps_the_owner_out, .before = make) {
    ambit_schedule_thread owner = ambit_schedule_spawn(own_twice, NULL);
    visit(NULL);
    ambit_schedule_join(owner);
    ambit_schedule_assert(guarded == 3);
}

/* The owner that finds a visitor goes out with a store that orders: by C11 a plain one would go on with the
 * release sequence of its last unlock, by C++20, which our compilers follow, it would not. */
AMBIT_SCHEDULE_TEST_WITH(owner_that_gives_way_tells_what_it_did, .before = make,
                         .cxx20_release_sequences = true) {
    ambit_schedule_thread owner = ambit_schedule_spawn(own_twice, NULL);
    visit(NULL);
    ambit_schedule_join(owner);
    ambit_schedule_assert(guarded == 3);
}

/* The second visit finds it visited, and makes no barrier. */
AMBIT_SCHEDULE_TEST_WITH(visitor_that_stays_keeps_the_owner_out, .before = make) {
    ambit_schedule_thread owner = ambit_schedule_spawn(own_twice, NULL);
    visit(&bias);
    visit(NULL);
    ambit_schedule_join(owner);
    ambit_schedule_assert(guarded == 4);
}

AMBIT_SCHEDULE_TEST_WITH(visitors_keep_each_other_out, .before = make) {
    ambit_schedule_thread owner = ambit_schedule_spawn(own_twice, NULL);
    ambit_schedule_thread other = ambit_schedule_spawn(visit, &bias);
    visit(NULL);
    ambit_schedule_join(owner);
    ambit_schedule_join(other);
    ambit_schedule_assert(guarded == 4);
}

static void own_and_visit(void *argument) {
    own_twice(NULL);
    visit(argument);
}

/* The owner is a visitor like others where it does not know that it owns. */
AMBIT_SCHEDULE_TEST_WITH(owner_may_visit, .before = make) {
    ambit_schedule_thread owner = ambit_schedule_spawn(own_and_visit, NULL);
    visit(&bias);
    ambit_schedule_join(owner);
    ambit_schedule_assert(guarded == 4);
}

/* Without membarrier it is visited for ever. */
static void make_without_barrier(void *argument) {
    make(argument);
    ambit__store_relaxed(&bias.visited, 2);
}

AMBIT_SCHEDULE_TEST_WITH(owner_without_a_barrier_is_a_visitor, .before = make_without_barrier) {
    ambit_schedule_thread owner = ambit_schedule_spawn(own_twice, NULL);
    visit(NULL);
    ambit_schedule_join(owner);
    ambit_schedule_assert(guarded == 3);
    ambit_schedule_assert(ambit__load_relaxed(&bias.visited) == 2);
}

/* Every schedule of one lock of each, and of one that comes upon a visited one. */
static void own_once(void *argument) {
    (void)argument;
    ambit__bias_lock_owner(&bias);
    be_inside();
    ambit__bias_unlock_owner(&bias);
}

AMBIT_SCHEDULE_TEST_WITH(one_lock_of_each, .before = make, .strategy = AMBIT_SCHEDULE_EXHAUSTIVE,
                         .schedules = 1000000) {
    ambit_schedule_thread owner = ambit_schedule_spawn(own_once, NULL);
    visit(NULL);
    ambit_schedule_join(owner);
    ambit_schedule_assert(guarded == 2);
}

static void make_visited(void *argument) {
    make(argument);
    visit(&bias);
}

AMBIT_SCHEDULE_TEST_WITH(one_lock_of_each_when_visited, .before = make_visited,
                         .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .schedules = 1000000) {
    ambit_schedule_thread owner = ambit_schedule_spawn(own_once, NULL);
    visit(NULL);
    ambit_schedule_join(owner);
    ambit_schedule_assert(guarded == 3);
}
