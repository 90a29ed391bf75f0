/* include/ambit/pool_inline.h and src/pool: objects go from thread to thread, visitors empty magazines beside
 * their owners, walks go by, and contexts give back what was put already.
 *
 * What the holder of an object writes is plain memory: two holders, or a way from one to the next that
 * orders nothing, race on it. */
#include "ctxs.h"

#include <pthread.h>
#include <string.h>

#include "pool/pool.h"

#define POOL_TEST(test, ...)                                                                       \
    AMBIT_SCHEDULE_TEST_WITH(test, .cxx20_release_sequences = true, __VA_ARGS__)

AMBIT_SCHEDULE_COVERS(
    "ambit/pool_inline.h pool/magazine.c pool/get.c pool/put.c pool/tie.c pool/roster.c "
    "pool/object.c pool/walk.c census/walk.c")

typedef struct thing {
    unsigned held, made;
} thing;

static ambit_pool *pool;
static ambit_ctx *ctx;
static unsigned made, ended;
static ambit__mutex counting; /* of the constructor's and the destructor's counts */

static int construct(void *memory, void *user) {
    (void)user;
    *(thing *)memory = (thing){0, 1};
    ambit__mutex_lock(&counting);
    made++;
    ambit__mutex_unlock(&counting);
    return 0;
}
static void destroy(void *memory, void *user) {
    (void)user;
    thing *mine = memory;
    ambit_schedule_assert(!mine->held && mine->made);
    mine->made = 0;
    ambit__mutex_lock(&counting);
    ended++;
    ambit__mutex_unlock(&counting);
}

/* Its magazines hold two, and half of that is exchanged. The time stands, so that nobody renews it. */
static void open_pool(void *argument) {
    muster(argument);
    ambit_pool_options options = {.object_bytes = sizeof(thing),
                                  .construct = construct,
                                  .destroy = destroy,
                                  .trim_ns = AMBIT_NEVER};
    ambit_schedule_assert(!ambit_pool_open(&options, &pool));
    ambit__store_relaxed(&ambit__stamp.now_ns, 1);
}

static void hold(thing *mine) {
    ambit_schedule_assert(mine && mine->made && !mine->held);
    mine->held = 1;
}
static thing *take(void) {
    thing *mine = ambit_pool_get(pool);
    hold(mine);
    return mine;
}
static void give(thing *mine) {
    mine->held = 0;
    ambit_pool_put(pool, mine);
}

/* Nobody uses it any more: what was made is free or has ended, and free once. */
static void count_all(void) {
    ambit_pool_stats stats;
    ambit_pool_stats_read(pool, &stats);
    ambit_schedule_assert(!stats.out);
    ambit_schedule_assert(stats.free == made - ended);
    size_t trimmed = ambit_pool_trim(pool);
    ambit_schedule_assert(trimmed == stats.free && ended == made);
    ambit_schedule_assert(!ambit_pool_close(&pool));
}

/* ---- Taking, giving, handing over ------------------------------------------------------------ */

static void take_two(void) {
    thing *first = take(), *second = take();
    give(first);
    give(second);
    give(take());
}

POOL_TEST(each_has_its_own_object, .before = open_pool) {
    ambit_schedule_thread one = start(1, take_two), two = start(2, take_two);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    count_all();
}

static thing *given[4];
static void give_four(void) {
    for (unsigned i = 0; i < 4; i++) give(given[i]);
}
static void take_four_and_give(void) {
    thing *mine[4];
    for (unsigned i = 0; i < 4; i++) mine[i] = take();
    for (unsigned i = 0; i < 4; i++) give(mine[i]);
}
POOL_TEST(what_one_puts_another_gets, .before = open_pool) {
    for (unsigned i = 0; i < 4; i++) given[i] = take();
    ambit_schedule_thread one = start(1, give_four), two = start(2, take_four_and_give);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    count_all();
}

/* ---- Visits ---------------------------------------------------------------------------------- */

static void put_and_get(void) {
    thing *mine = take();
    for (unsigned i = 0; i < 2; i++) {
        give(mine);
        mine = take();
    }
    give(mine);
}
static void trim(void) { (void)ambit_pool_trim(pool); }

POOL_TEST(visitor_empties_a_magazine_in_use, .before = open_pool) {
    ambit_schedule_thread one = start(1, put_and_get), two = start(2, trim);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    count_all();
}

static void visit(void) {
    ambit__spin_lock(&pool->lock);
    ambit__magazines_rest(pool, true);
    ambit__spin_unlock(&pool->lock);
}
POOL_TEST(two_visitors_one_after_the_other, .before = open_pool) {
    ambit_schedule_thread one = start(1, put_and_get), two = start(2, visit),
                          three = start(3, visit);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_join(three);
    count_all();
}

/* The visit comes between two puts, and the second one finds a magazine that is empty. */
static void give_one_and_another(void) {
    thing *first = take(), *second = take();
    give(first);
    give(second);
    give(take());
}
POOL_TEST(visitor_comes_between_two_puts, .before = open_pool) {
    ambit_schedule_thread one = start(1, give_one_and_another), two = start(2, visit);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    count_all();
}

/* ---- Double puts ------------------------------------------------------------------------------- */

static thing *twice;
static _Atomic(unsigned) caught;
static void end_thread(const ambit_bug *bug, void *user) {
    (void)user;
    ambit_schedule_assert(strstr(bug->message, "put already") != NULL);
    (void)ambit__add_relaxed(&caught, 1);
    pthread_exit(NULL);
}
static void put_it(void) { ambit_pool_put(pool, twice); }
static void open_with_quarantine(void *argument) {
    muster(argument);
    ambit_pool_options options = {
        .object_bytes = sizeof(thing), .trim_ns = AMBIT_NEVER, .quarantine = 2};
    ambit_schedule_assert(!ambit_pool_open(&options, &pool));
    ambit__store_relaxed(&ambit__stamp.now_ns, 1);
    twice = ambit_pool_get(pool);
}
/* Both may find it out: one of them is told all the same, and it rests once. */
POOL_TEST(two_put_one_object_at_once, .before = open_with_quarantine) {
    ambit_bug_hook_set(end_thread, NULL);
    ambit_schedule_thread one = start(1, put_it), two = start(2, put_it);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(ambit__load_relaxed(&caught) == 1);
    ambit_pool_stats stats;
    ambit_pool_stats_read(pool, &stats);
    ambit_schedule_assert(stats.quarantined == 1 && !stats.out && !stats.free);
    ambit_schedule_assert(!ambit_pool_close(&pool));
}

/* ---- Walks ----------------------------------------------------------------------------------- */

static void is_whole(const void *object, const ambit_site *site, int64_t age_ns, void *user) {
    (void)user;
    (void)age_ns;
    ambit_schedule_assert(site->line && ((ambit__object *)(uintptr_t)object - 1)->pool == pool);
}
static void tell_all(void) { (void)ambit_pool_each_out(pool, is_whole, NULL); }

static void take_give_and_trim(void) {
    give(take());
    trim();
}
/* The object is free, and in the depot. */
static void open_with_one(void *argument) {
    open_pool(argument);
    give(take());
    visit();
}
POOL_TEST(walk_beside_an_objects_end, .before = open_with_one) {
    ambit_schedule_thread one = start(1, trim), two = start(2, tell_all);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    count_all();
}

/* The line and the time that are told are those of one loan. */
static const ambit_site sites[3] = {
    {"one.c", "one", 1}, {"two.c", "two", 2}, {"three.c", "three", 3}};
static int64_t now_ns;
static void lend_three_times(void) {
    for (unsigned i = 0; i < 3; i++) {
        ambit__store_relaxed(&ambit__stamp.now_ns, now_ns - sites[i].line);
        thing *mine = ambit_pool_get_at(pool, &sites[i]);
        hold(mine);
        give(mine);
    }
}
static void belongs_together(const void *object, const ambit_site *site, int64_t age_ns,
                             void *user) {
    (void)object;
    (void)user;
    ambit_schedule_assert(age_ns == site->line);
}
static void tell_loans(void) { (void)ambit_pool_each_out(pool, belongs_together, NULL); }
static void lend_beside_a_walk(void) {
    ambit_schedule_thread one = start(1, lend_three_times), two = start(2, tell_loans);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    count_all();
}
static void open_with_time(void *argument) {
    open_pool(argument);
    now_ns = ambit__clock_coarse();
}
POOL_TEST(loans_are_told_whole, .before = open_with_time) { lend_beside_a_walk(); }

/* The same, each get the long way. */
static void open_without_magazines(void *argument) {
    open_with_time(argument);
    ambit__store_relaxed(&pool->head.get_index, AMBIT__POOLS_FAST);
    ambit__store_relaxed(&pool->head.put_index, AMBIT__POOLS_FAST);
}
static thing *lent;
static void lend(unsigned number) {
    ambit__store_relaxed(&ambit__stamp.now_ns, now_ns - sites[number].line);
    hold(lent = ambit_pool_get_at(pool, &sites[number]));
}
static void lend_anew(void) {
    give(lent);
    lend(1);
}
POOL_TEST(loans_without_a_magazine_are_told_whole, .strategy = AMBIT_SCHEDULE_EXHAUSTIVE,
          .preemptions = 1, .schedules = 100000, .before = open_without_magazines) {
    lend(0);
    ambit_schedule_thread one = start(1, lend_anew);
    tell_loans();
    ambit_schedule_join(one);
    give(lent);
    count_all();
}

/* What is out all the time is told, whoever makes and ends others. */
POOL_TEST(what_stays_out_is_told, .before = open_pool) {
    thing *mine = take();
    ambit_schedule_thread one = start(1, take_give_and_trim);
    ambit_schedule_assert(ambit_pool_each_out(pool, is_whole, NULL) >= 1);
    ambit_schedule_join(one);
    give(mine);
    count_all();
}

/* ---- Ties ------------------------------------------------------------------------------------ */

static thing *borrowed;
static thing *borrow(void) {
    thing *mine = ambit_pool_borrow(pool, ctx);
    hold(mine);
    return mine;
}
static void give_borrowed(void) { give(borrowed); }

/* Another puts what is tied while the owner borrows more. */
POOL_TEST(put_of_another_beside_a_borrow, .before = open_pool) {
    ctx = open_below(ambit_background());
    borrowed = borrow();
    thing *second = borrow();
    give(second); /* its tie is free */
    ambit_schedule_thread one = start(1, give_borrowed);
    second = borrow();
    thing *third = borrow();
    second->held = third->held = 0; /* the context gives them back */
    ambit_schedule_join(one);
    ambit_ctx_close(&ctx);
    count_all();
}
