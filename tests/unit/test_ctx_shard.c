/* Contexts that many threads use at once: counting and listing by thread. */
#include "suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx/ctx.h"

static int destroyed;
static void note_destroyed(void *argument) {
    (void)argument;
    destroyed++;
}

static bool has_shards(ambit_ctx *ctx) { return ambit__load_acquire(&ctx->lists) != NULL; }

/* Two threads that take turns under `root`: one after the other, so that it does not depend on
 * their speed. */
struct turns {
    ambit_ctx *root;
    _Atomic(int) turn;
};

static void take_turns(struct turns *turns, int mine) {
    for (int i = 0; i < 200 && !has_shards(turns->root); i++) {
        while (ambit__load_acquire(&turns->turn) != mine && !has_shards(turns->root)) sched_yield();
        ambit_ctx *child = open_child(turns->root);
        ambit_ctx_close(&child);
        ambit__store_release(&turns->turn, !mine);
    }
}

static void *other_side(void *argument) {
    take_turns(argument, 1);
    return NULL;
}

/* A clock that stands still, so that all turns are within a moment. */
static int64_t standing_clock(void *user) {
    (void)user;
    return 1;
}

/* Opens a root and makes it busy; false where the kernel has no membarrier. */
static bool open_busy(ambit_ctx **root) {
    ambit_clock clock = {standing_clock, NULL};
    pthread_t thread;
    ambit_clock_set(&clock);
    *root = open_child(ambit_background());
    struct turns together = {.root = *root};
    assert_int_equal(pthread_create(&thread, NULL, other_side, &together), 0);
    take_turns(&together, 0);
    pthread_join(thread, NULL);
    ambit_clock_set(NULL);
    return has_shards(*root) || !ambit__heavy_barrier_works();
}

static void a_busy_context_gets_shards_and_a_quiet_one_does_not(void **state) {
    (void)state;
    ambit_ctx *busy, *quiet = open_child(ambit_background());
    for (int i = 0; i < 10000; i++) {
        ambit_ctx *child = open_child(quiet);
        ambit_ctx_close(&child);
    }
    assert_false(has_shards(quiet));
    assert_true(open_busy(&busy));
    assert_int_equal(ambit__ctx_keepers(busy), 1);
    ambit_ctx_close(&busy);
    ambit_ctx_close(&quiet);
}

static void shards_are_used_again(void **state) {
    (void)state;
    ambit_memory_stats before, after;
    ambit_ctx *root;
    assert_true(open_busy(&root));
    ambit_ctx_close(&root);
    ambit_memory_stats_read(&before);
    for (int i = 0; i < 20; i++) {
        assert_true(open_busy(&root));
        ambit_ctx_close(&root);
    }
    ambit_memory_stats_read(&after);
    assert_int_equal(after.live_bytes, before.live_bytes);
}

enum { THREADS = 8, EACH = 100 };
struct worker {
    ambit_ctx *root;
    ambit_ctx *opened[EACH];
    struct worker *closes; /* what that one has opened */
    pthread_barrier_t *all_open;
};

static void *open_and_close_another_s(void *argument) {
    struct worker *worker = argument;
    for (int i = 0; i < EACH; i++) worker->opened[i] = open_child(worker->root);
    pthread_barrier_wait(worker->all_open);
    for (int i = 0; i < EACH; i++) ambit_ctx_close(&worker->closes->opened[i]);
    return NULL;
}

static void what_one_thread_opens_another_closes(void **state) {
    (void)state;
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    pthread_barrier_t all_open;
    ambit_ctx *root;
    assert_true(open_busy(&root));
    destroyed = 0;
    assert_ok(ambit_ctx_defer(root, note_destroyed, NULL));
    pthread_barrier_init(&all_open, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.root = root, .closes = &workers[(i + 1) % THREADS]};
        workers[i].all_open = &all_open;
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close_another_s, &workers[i]),
                         0);
    }
    pthread_barrier_wait(&all_open);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(ambit__ctx_keepers(root), 1);
    assert_int_equal(destroyed, 0);
    ambit_ctx_close(&root);
    assert_int_equal(destroyed, 1);
}

static void a_closed_busy_context_lives_until_its_last_keeper(void **state) {
    (void)state;
    ambit_ctx *root, *children[10];
    ambit_hold *hold = NULL;
    assert_true(open_busy(&root));
    destroyed = 0;
    assert_ok(ambit_ctx_defer(root, note_destroyed, NULL));
    for (int i = 0; i < 10; i++) children[i] = open_child(root);
    assert_ok(ambit_ctx_hold(root, &hold));
    ambit_ctx_close(&root);
    assert_int_equal(ambit__ctx_keepers(ambit_hold_ctx(hold)), 11);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ambit_ctx_err(children[i]), AMBIT_CANCELLED);
        ambit_ctx_close(&children[i]);
        assert_int_equal(destroyed, 0);
    }
    ambit_ctx_drop(&hold);
    assert_int_equal(destroyed, 1);
}

static int ran[64], ran_count;
static void note_order(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    ran[ran_count++] = (int)(intptr_t)argument;
}

static void callbacks_of_one_thread_run_last_first_across_the_change(void **state) {
    (void)state;
    ambit_ctx *root;
    static ambit_cancel nodes[20];
    ambit_clock clock = {standing_clock, NULL};
    pthread_t thread;
    ambit_clock_set(&clock);
    root = open_child(ambit_background());
    for (int i = 0; i < 10; i++)
        assert_ok(ambit_ctx_on_cancel(root, &nodes[i], note_order, (void *)(intptr_t)i));
    struct turns together = {.root = root};
    assert_int_equal(pthread_create(&thread, NULL, other_side, &together), 0);
    take_turns(&together, 0);
    pthread_join(thread, NULL);
    ambit_clock_set(NULL);
    assert_true(has_shards(root) || !ambit__heavy_barrier_works());
    for (int i = 10; i < 20; i++)
        assert_ok(ambit_ctx_on_cancel(root, &nodes[i], note_order, (void *)(intptr_t)i));
    assert_int_equal(ambit_ctx_off_cancel(root, &nodes[3]), AMBIT_REMOVED);
    assert_int_equal(ambit_ctx_off_cancel(root, &nodes[15]), AMBIT_REMOVED);
    ran_count = 0;
    ambit_ctx_cancel(root, NULL);
    assert_int_equal(ran_count, 18);
    for (int i = 1; i < ran_count; i++) assert_true(ran[i] < ran[i - 1]);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ambit_ctx_off_cancel(root, &nodes[i]),
                         i == 3 || i == 15 ? AMBIT_REMOVED : AMBIT_ALREADY_RAN);
    ambit_ctx_close(&root);
}

static void an_ordered_context_stays_in_one_list(void **state) {
    (void)state;
    ambit_clock clock = {standing_clock, NULL};
    pthread_t thread;
    ambit_clock_set(&clock);
    ambit_ctx *root = open_child(ambit_background());
    ambit_ctx_order_children(root);
    struct turns together = {.root = root};
    assert_int_equal(pthread_create(&thread, NULL, other_side, &together), 0);
    take_turns(&together, 0);
    pthread_join(thread, NULL);
    ambit_clock_set(NULL);
    assert_false(has_shards(root));
    ambit_ctx_close(&root);
}

/* More threads at once than there are cells: those beyond count in the shared word. */
static void threads_beyond_the_cells_count_as_well(void **state) {
    (void)state;
    enum { MANY = AMBIT__SHARDS + 40 };
    struct worker *workers = calloc(MANY, sizeof *workers);
    pthread_t *threads = calloc(MANY, sizeof *threads);
    pthread_barrier_t all_open;
    pthread_attr_t small;
    ambit_ctx *root;
    assert_true(open_busy(&root));
    destroyed = 0;
    assert_ok(ambit_ctx_defer(root, note_destroyed, NULL));
    pthread_barrier_init(&all_open, NULL, MANY + 1);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * 1024);
    for (int i = 0; i < MANY; i++) {
        workers[i].root = root;
        workers[i].closes = &workers[(i + 77) % MANY];
        workers[i].all_open = &all_open;
        assert_int_equal(pthread_create(&threads[i], &small, open_and_close_another_s, &workers[i]),
                         0);
    }
    pthread_barrier_wait(&all_open);
    ambit_ctx_close(&root); /* while they close */
    for (int i = 0; i < MANY; i++) pthread_join(threads[i], NULL);
    assert_int_equal(destroyed, 1);
    pthread_attr_destroy(&small);
    free(threads);
    free(workers);
}

/* A thread that was inside its cell when the process forked did not come along. */
static void a_child_of_a_fork_does_not_wait_for_a_thread_that_is_not_there(void **state) {
    (void)state;
    ambit_ctx *root;
    assert_true(open_busy(&root));
    if (!has_shards(root)) skip();
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        destroyed = 0;
        if (ambit_ctx_defer(root, note_destroyed, NULL)) _exit(2);
        _Atomic(int64_t) *cell = &ambit__load_relaxed(&root->lists)->shard[1].cell;
        ambit__store_relaxed(cell, ambit__load_relaxed(cell) | 1);
        ambit_ctx_close(&root);
        _exit(destroyed == 1 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ambit_ctx_close(&root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_busy_context_gets_shards_and_a_quiet_one_does_not),
        cmocka_unit_test(shards_are_used_again),
        cmocka_unit_test(what_one_thread_opens_another_closes),
        cmocka_unit_test(a_closed_busy_context_lives_until_its_last_keeper),
        cmocka_unit_test(callbacks_of_one_thread_run_last_first_across_the_change),
        cmocka_unit_test(an_ordered_context_stays_in_one_list),
        cmocka_unit_test(threads_beyond_the_cells_count_as_well),
        cmocka_unit_test(a_child_of_a_fork_does_not_wait_for_a_thread_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
