/* src/ctx/shard.{c,h}: keepers counted by thread and folded at the close, and lists by thread.
 *
 * The context's destructor writes what every keeper reads: a count that comes to zero too early is an
 * assertion or a race, one that never does leaves `ends` at 0. */
#include "shards.h"

AMBIT_SCHEDULE_COVERS("ctx/shard.c ctx/shard.h ctx/ctx.h:ambit__ctx_count_by_thread "
                      "ctx/ctx.h:ambit__ctx_keep ctx/ctx.h:ambit__ctx_list "
                      "ctx/ctx.h:ambit__ctx_list_of ctx/close.c:leave_origin ctx/arm.c:unlink_from "
                      "base/thread.h:ambit__light_barrier base/thread.c:ambit__heavy_barrier")

/* Compilers keep C++20's rule of release sequences, whatever the language. */
#define SHARD_TEST(name, make, ...)                                                                \
    AMBIT_SCHEDULE_TEST_WITH(name, .before = make, .cxx20_release_sequences = true, __VA_ARGS__)

/* Two threads beside the owner, who does what is between, and then all have gone and it has
 * ended once. */
static ambit_schedule_thread others[2];
static void start_two(ambit_schedule_fn *one, void *its, ambit_schedule_fn *two, void *the_others) {
    others[0] = ambit_schedule_spawn(one, its);
    others[1] = ambit_schedule_spawn(two, the_others);
}
static void join_two(void) {
    ambit_schedule_join(others[0]);
    ambit_schedule_join(others[1]);
}
static void close_it(void) {
    ambit_ctx *mine = ctx; /* a close writes to its pointer */
    ambit_ctx_close(&mine);
}
static void close_beside_two(void) {
    close_it();
    join_two();
    ambit_schedule_assert(ends == 1);
}

/* ---- Counting -------------------------------------------------------------------------------- */

static void let_go(void *argument) {
    (void)argument;
    touch();
    ambit__ctx_unkeep(ctx, ambit__thread_self());
}

static void come_and_go(void *argument) {
    ambit__thread *self = ambit__thread_self();
    touch();
    ambit__ctx_keep(ctx, self);
    touch();
    ambit__ctx_unkeep(ctx, self);
    let_go(argument);
}

/* Each keeper was kept by another thread than the one that lets go: a cell is less than zero. */
SHARD_TEST(last_keeper_ends_it_once, make_sharded) {
    start_two(let_go, NULL, let_go, NULL);
    close_beside_two();
}

static void make_with_one_keeper(void *argument) {
    make_plain(argument);
    give(ctx);
    keep_here(1);
}

SHARD_TEST(keepers_come_and_go_beside_the_close, make_with_one_keeper) {
    ambit_schedule_thread one = ambit_schedule_spawn(come_and_go, NULL);
    close_it();
    ambit_schedule_join(one);
    ambit_schedule_assert(ends == 1);
}

/* The closer does not wait for a thread that has left, though that lives on. */
static _Atomic(bool) closed;

static void come_go_and_live(void *argument) {
    come_and_go(argument);
    while (!ambit__load_acquire(&closed)) ambit_schedule_yield();
}

SHARD_TEST(keepers_live_on_beside_the_close, make_with_one_keeper) {
    ambit_schedule_thread one = ambit_schedule_spawn(come_go_and_live, NULL);
    close_it();
    ambit__store_release(&closed, true);
    ambit_schedule_join(one);
    ambit_schedule_assert(ends == 1);
}

/* More threads than shards: those beyond count in `keepers`, which must not come to zero by them. */
static ambit__thread beyond = {.index = AMBIT__SHARDS};

static void come_and_go_beyond(void *argument) {
    (void)argument;
    touch();
    ambit__ctx_keep(ctx, &beyond);
    touch();
    ambit__ctx_unkeep(ctx, &beyond);
    touch();
    ambit__ctx_unkeep(ctx, &beyond);
}

SHARD_TEST(keepers_beyond_the_shards_count_as_well, make_sharded) {
    start_two(come_and_go_beyond, NULL, let_go, NULL);
    close_beside_two();
}

/* As programs do it: children and holds. */
static ambit_hold *holds[2];

static void make_with_holds(void *argument) {
    make_plain(argument);
    give(ctx);
    for (int i = 0; i < 2; i++) ambit_schedule_assert(ambit_ctx_hold(ctx, &holds[i]) == AMBIT_OK);
}

static void open_below(void *argument) {
    ambit_hold *hold = argument;
    ambit_ctx *child;
    ambit_schedule_assert(ambit_ctx_open(ambit_hold_ctx(hold), &child) == AMBIT_OK);
    touch();
    ambit_ctx_drop(&hold);
    touch();
    ambit_ctx_close(&child);
}

SHARD_TEST(children_and_holds_keep_it, make_with_holds) {
    start_two(open_below, holds[0], open_below, holds[1]);
    close_beside_two();
}

/* Every schedule of one keeper that goes beside the fold. */
SHARD_TEST(one_goes_beside_the_fold, make_with_one_keeper, .strategy = AMBIT_SCHEDULE_EXHAUSTIVE,
           .preemptions = 3, .schedules = 100000) {
    ambit_schedule_thread one = ambit_schedule_spawn(let_go, NULL);
    ambit__ctx_fold(ctx);
    ambit__ctx_unkeep(ctx, ambit__thread_self());
    ambit_schedule_join(one);
    ambit_schedule_assert(ends == 1);
}

/* ---- Giving ---------------------------------------------------------------------------------- */

static void make_about_to_turn(void *argument) {
    make_plain(argument);
    keep_here(2);
    let_a_turn_give(ctx);
}

SHARD_TEST(shards_are_given_beside_keepers, make_about_to_turn) {
    start_two(come_and_go, NULL, come_and_go, NULL);
    join_two();
    ambit_schedule_assert(ambit__load_relaxed(&ctx->head.shards));
    ambit_schedule_assert(ambit__ctx_keepers(ctx) == 1);
    close_it();
    ambit_schedule_assert(ends == 1);
}

SHARD_TEST(shards_are_given_beside_the_close, make_about_to_turn) {
    start_two(come_and_go, NULL, let_go, NULL);
    close_beside_two();
}

static void collide_and_go(void *argument) {
    touch();
    collide(ctx);
    come_and_go(argument);
}

static void make_about_to_collide(void *argument) {
    make_plain(argument);
    keep_here(2);
    let_a_collision_give(ctx);
}

/* Two that want to give: one does. */
SHARD_TEST(shards_are_given_once, make_about_to_collide) {
    start_two(collide_and_go, NULL, collide_and_go, NULL);
    close_beside_two();
}

/* A context that goes leaves its block to the next, whose cells begin at zero. */
static ambit_ctx *next_root;

static void make_two(void *argument) {
    make_sharded(argument);
    next_root = open_root();
    ambit__ctx_keep(next_root, ambit__thread_self());
    let_a_collision_give(next_root);
}

static void use_next(void *argument) {
    (void)argument;
    ambit__thread *self = ambit__thread_self();
    collide(next_root);
    ambit__ctx_keep(next_root, self);
    ambit__ctx_unkeep(next_root, self);
    ambit__ctx_unkeep(next_root, self);
}

SHARD_TEST(block_is_handed_on_clean, make_two) {
    start_two(let_go, NULL, use_next, NULL);
    let_go(NULL);
    close_beside_two();
    ambit_schedule_assert(ambit__ctx_keepers(next_root) == 1);
    ambit_ctx_close(&next_root);
}

/* Also where a keeper of the last one is late: it has counted there before, and is inside again. */
SHARD_TEST(block_is_handed_on_when_all_have_gone, make_two, .strategy = AMBIT_SCHEDULE_PCT,
           .depth = 2) {
    start_two(come_and_go, NULL, use_next, NULL);
    let_go(NULL);
    close_beside_two();
    ambit_schedule_assert(ambit__ctx_keepers(next_root) == 1);
    ambit_ctx_close(&next_root);
}

/* Two that are given shards at once do not get the same. */
static void make_two_and_a_free_block(void *argument) {
    make_plain(argument);
    ambit_ctx *gone = open_root();
    give(gone);
    ambit_ctx_close(&gone);
    keep_here(1);
    let_a_collision_give(ctx);
    next_root = open_root();
    ambit__ctx_keep(next_root, ambit__thread_self());
    let_a_collision_give(next_root);
}

SHARD_TEST(block_is_given_to_one, make_two_and_a_free_block) {
    ambit_schedule_thread one = ambit_schedule_spawn(use_next, NULL);
    collide(ctx);
    keep_here(1);
    ambit_schedule_join(one);
    ambit_schedule_assert(ambit__ctx_keepers(ctx) == 3);
    ambit_schedule_assert(ambit__ctx_keepers(next_root) == 1);
    ambit_schedule_assert(ambit__load_relaxed(&ctx->lists) !=
                          ambit__load_relaxed(&next_root->lists));
}

/* ---- Walks ----------------------------------------------------------------------------------- */

static void count_keepers(void *argument) {
    (void)argument;
    for (int i = 0; i < 2; i++) ambit_schedule_assert(ambit__ctx_keepers(ctx) <= 8);
}

/* No block is free: there will be a new one. */
static void make_about_to_allocate(void *argument) {
    make_about_to_collide(argument);
    give(open_root());
}

SHARD_TEST(walk_finds_cells_as_they_were_made, make_about_to_allocate) {
    ambit_schedule_thread walk = ambit_schedule_spawn(count_keepers, NULL);
    collide(ctx);
    ambit_schedule_join(walk);
    ambit_schedule_assert(ambit__ctx_keepers(ctx) == 3);
}

/* Beside all that happens to a context, also its end, after which it is a new one. */
SHARD_TEST(walk_counts_about_right, make_plain) {
    ambit_ctx *mine = ctx;
    let_a_collision_give(ctx);
    ambit_schedule_thread walk = ambit_schedule_spawn(count_keepers, NULL);
    keep_here(1);
    collide(ctx);
    keep_here(1);
    let_go(NULL);
    let_go(NULL);
    ambit_ctx_close(&mine);
    mine = open_root();
    give(mine);
    ambit_schedule_join(walk);
    ambit_schedule_assert(ambit__ctx_keepers(mine) == 1);
    ambit_ctx_close(&mine);
}

/* ---- Lists ----------------------------------------------------------------------------------- */

typedef struct waiter {
    ambit_cancel node;
    unsigned ran;
} waiter;
static waiter waiters[2];

static void note_run(ambit_ctx *of, void *argument) {
    waiter *mine = argument;
    ambit_schedule_assert(of == ctx);
    mine->ran++;
}

static void make_with_a_keeper_each(void *argument) {
    make_plain(argument);
    give(ctx);
    keep_here(2);
    ambit_schedule_assert(ambit__ctx_arm(ctx) == AMBIT_OK);
}

/* What was told to the registering thread is what came to pass. */
static void wait_and_leave(void *argument) {
    waiter *mine = argument;
    ambit_status status = ambit_ctx_on_cancel(ctx, &mine->node, note_run, mine);
    if (status) ambit_schedule_assert(mine->ran == 1); /* at once, on this thread */
    ambit_removal removal = ambit_ctx_off_cancel(ctx, &mine->node);
    ambit_schedule_assert(mine->ran == (removal == AMBIT_ALREADY_RAN));
    ambit__ctx_unkeep(ctx, ambit__thread_self());
}

SHARD_TEST(callbacks_run_once_or_are_removed, make_with_a_keeper_each) {
    start_two(wait_and_leave, &waiters[0], wait_and_leave, &waiters[1]);
    ambit_ctx_cancel(ctx, NULL);
    join_two();
    close_it();
    ambit_schedule_assert(ends == 1);
}

static void wait_and_stay(void *argument) {
    waiter *mine = argument;
    ambit_schedule_assert(ambit_ctx_on_cancel(ctx, &mine->node, note_run, mine) != AMBIT_EMEMORY);
    ambit__ctx_unkeep(ctx, ambit__thread_self());
}

/* All who have registered are told: in the list of each thread, and in that of before the shards. */
SHARD_TEST(all_who_wait_are_told, make_with_a_keeper_each) {
    start_two(wait_and_stay, &waiters[0], wait_and_stay, &waiters[1]);
    close_beside_two();
    ambit_schedule_assert(waiters[0].ran == 1 && waiters[1].ran == 1);
}

static void make_armed_about_to_collide(void *argument) {
    make_about_to_collide(argument);
    ambit_schedule_assert(ambit__ctx_arm(ctx) == AMBIT_OK);
}

static void collide_and_stay(void *argument) {
    collide(ctx);
    wait_and_stay(argument);
}

SHARD_TEST(all_are_told_beside_giving, make_armed_about_to_collide) {
    start_two(wait_and_stay, &waiters[0], collide_and_stay, &waiters[1]);
    close_beside_two();
    ambit_schedule_assert(waiters[0].ran == 1 && waiters[1].ran == 1);
}

/* Registered here, removed there, whether it stands in a list of before the shards or after. */
static _Atomic(bool) registered;

static void wait_and_tell(void *argument) {
    waiter *mine = argument;
    ambit_schedule_assert(ambit_ctx_on_cancel(ctx, &mine->node, note_run, mine) != AMBIT_EMEMORY);
    ambit__store_release(&registered, true);
    ambit__ctx_unkeep(ctx, ambit__thread_self());
}

static void leave_for_another(void *argument) {
    waiter *its = argument;
    while (!ambit__load_acquire(&registered)) ambit_schedule_yield();
    ambit_removal removal = ambit_ctx_off_cancel(ctx, &its->node);
    ambit_schedule_assert(its->ran == (removal == AMBIT_ALREADY_RAN));
    ambit__ctx_unkeep(ctx, ambit__thread_self());
}

SHARD_TEST(another_removes_it, make_armed_about_to_collide) {
    start_two(wait_and_tell, &waiters[0], leave_for_another, &waiters[0]);
    collide(ctx);
    close_beside_two();
}

/* ---- Links ----------------------------------------------------------------------------------- */

static ambit_ctx *child;
static ambit_hold *child_hold;

static void make_with_child(void *argument) {
    make_plain(argument);
    ambit_schedule_assert(ambit__ctx_arm(ctx) == AMBIT_OK);
    ambit_schedule_assert(ambit_ctx_open(ctx, &child) == AMBIT_OK);
    ambit_schedule_assert(ambit_ctx_hold(child, &child_hold) == AMBIT_OK);
    keep_here(1);
    let_a_collision_give(ctx);
}

static void arm_child(void *argument) {
    (void)argument;
    ambit_ctx *armed = ambit_hold_ctx(child_hold);
    ambit_schedule_assert(ambit__ctx_arm(armed) == AMBIT_OK);
    ambit_ctx_drop(&child_hold);
}

static void close_child(void *argument) {
    (void)argument;
    ambit_ctx_close(&child);
    let_go(NULL);
}

/* Its holder arms a child, its owner closes it, and the parent gets its shards and ends: the link is
 * taken out of the list that it stands in. */
SHARD_TEST(link_is_found_where_it_stands, make_with_child) {
    start_two(arm_child, NULL, close_child, NULL);
    collide(ctx);
    close_beside_two();
}

static void make_with_child_and_shards(void *argument) {
    make_with_child(argument);
    collide(ctx);
}

SHARD_TEST(link_in_a_shard_is_taken_out, make_with_child_and_shards) {
    start_two(arm_child, NULL, close_child, NULL);
    join_two();
    for (unsigned i = 0; i < AMBIT__SHARDS; i++)
        ambit_schedule_assert(!ambit__load_relaxed(&ctx->lists)->shard[i].list.first);
    close_it();
    ambit_schedule_assert(ends == 1);
}

/* A link that the end of the parent has taken out is not taken out again: that would bring back who
 * stood behind it. */
static void make_with_waiter_and_child(void *argument) {
    make_with_child(argument);
    ambit_schedule_assert(!ambit_ctx_on_cancel(ctx, &waiters[0].node, note_run, &waiters[0]));
    arm_child(NULL);
}

SHARD_TEST(link_is_taken_out_once, make_with_waiter_and_child) {
    ambit_schedule_thread one = ambit_schedule_spawn(close_child, NULL);
    close_it();
    ambit_schedule_join(one);
    ambit_schedule_assert(waiters[0].ran == 1 && ends == 1);
}
