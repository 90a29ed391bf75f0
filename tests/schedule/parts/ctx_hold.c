/* src/ctx/{close,open}.c: who keeps a context. The last one to leave, whoever that is, runs the destructors,
 * once, and its memory is used again only when all others are done with it.
 *
 * Values are plain memory, and so is what destructors write. What a context's memory is filled with in its
 * next life races with whoever still reads it from the one before. */
#include "census/verdict.h"
#include "ctxs.h"

AMBIT_SCHEDULE_COVERS("ctx/close.c:mark_closed ctx/close.c:leave ctx/close.c:leave_origin "
                      "ctx/close.c:ambit_ctx_close_at")

AMBIT_KEY(number_key, int);

/* The owner closes by a pointer of its own: close writes to it. */
static ambit_ctx *ctx, *child;
static ambit_hold *holds[CREW]; /* by record */
static unsigned destroyed;

static void end(ambit_ctx *owned) { ambit_ctx_close(&owned); }
static void destroy(void *argument) {
    (void)argument;
    destroyed++;
}

/* With a value and a destructor. */
static void open_full(void) {
    const int number = 7;
    be(0);
    ctx = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_put(ctx, &number_key, &number));
    ambit_schedule_assert(!ambit_ctx_defer(ctx, destroy, NULL));
}
static void hold_for(unsigned number) { holds[number] = hold_of(ctx); }

static void read_number(const ambit_ctx *of) {
    const int *number = ambit_ctx_get(of, &number_key);
    ambit_schedule_assert(number && *number == 7);
}

/* A context in the memory of the one that went last on this thread, with another value. */
static void use_memory_again(void) {
    const int number = 8;
    ambit_ctx *again = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_err(again));
    ambit_schedule_assert(!ambit_ctx_put(again, &number_key, &number));
    end(again);
}

static void read_and_drop(unsigned number) {
    read_number(ambit_hold_ctx(holds[number]));
    ambit_schedule_assert(!destroyed);
    ambit_ctx_drop(&holds[number]);
    use_memory_again();
}
static void drop_first(void) { read_and_drop(1); }
static void drop_second(void) { read_and_drop(2); }
static void close_it(void) {
    end(ctx);
    use_memory_again();
}

/* ---- Dropping and closing -------------------------------------------------------------------- */

AMBIT_SCHEDULE_TEST_WITH(the_last_one_destroys_once, .before = muster) {
    open_full();
    hold_for(1);
    ambit_schedule_thread other = start(1, drop_first);
    close_it();
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1);
}

AMBIT_SCHEDULE_TEST_WITH(the_last_of_three_destroys_once, .before = muster) {
    open_full();
    hold_for(1);
    hold_for(2);
    ambit_schedule_thread other = start(1, drop_first);
    ambit_schedule_thread third = start(2, drop_second);
    close_it();
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    ambit_schedule_assert(destroyed == 1);
}

/* Without a destructor, the owner may find itself alone, and takes no lock. */
AMBIT_SCHEDULE_TEST_WITH(who_is_left_alone_comes_after_the_others, .before = muster) {
    const int number = 7;
    be(0);
    ctx = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_put(ctx, &number_key, &number));
    hold_for(1);
    ambit_schedule_thread other = start(1, drop_first);
    close_it();
    ambit_schedule_join(other);
}

/* Every schedule of that: small enough. */
static void drop_only(void) { ambit_ctx_drop(&holds[1]); }
AMBIT_SCHEDULE_TEST_WITH(one_drop_and_one_close, .before = muster,
                         .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .preemptions = 2,
                         .schedules = 200000) {
    open_full();
    hold_for(1);
    ambit_schedule_thread other = start(1, drop_only);
    end(ctx);
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1);
}

/* A hold is made beside the close, by one who holds already. */
static void hold_once_more(void) {
    ambit_ctx *held = ambit_hold_ctx(holds[1]);
    ambit_hold *second = hold_of(held);
    ambit_ctx_drop(&holds[1]);
    read_number(held);
    ambit_schedule_assert(!destroyed);
    ambit_ctx_drop(&second);
}
AMBIT_SCHEDULE_TEST_WITH(held_once_more_while_it_is_closed, .before = muster) {
    open_full();
    hold_for(1);
    ambit_schedule_thread other = start(1, hold_once_more);
    close_it();
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1);
}

/* ---- Children -------------------------------------------------------------------------------- */

static void close_child(void) {
    read_number(child);
    ambit_schedule_assert(!destroyed);
    end(child);
    use_memory_again();
    use_memory_again();
}

/* A child keeps the values of its parent, closed or not. */
AMBIT_SCHEDULE_TEST_WITH(a_child_keeps_its_parent, .before = muster) {
    open_full();
    child = open_below(ctx);
    ambit_schedule_thread other = start(1, close_child);
    close_it();
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1);
}

/* Opened below one that is closed meanwhile: it is born ended, or is told, and keeps it all the same. */
static void open_and_close_child(void) {
    ambit_ctx *held = ambit_hold_ctx(holds[1]);
    child = open_below(held);
    ambit_ctx_drop(&holds[1]);
    close_child();
}
AMBIT_SCHEDULE_TEST_WITH(a_child_is_opened_while_it_is_closed, .before = muster) {
    open_full();
    hold_for(1);
    ambit_schedule_thread other = start(1, open_and_close_child);
    close_it();
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1);
}

/* What has gone takes along what only that kept: a merged context keeps both. */
static ambit_ctx *other_side;
static void close_other_side(void) { end(other_side); }
AMBIT_SCHEDULE_TEST_WITH(a_merged_context_keeps_both, .before = muster) {
    open_full();
    other_side = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_defer(other_side, destroy, NULL));
    ambit_schedule_assert(!ambit_ctx_merge(ctx, other_side, &child));
    ambit_schedule_thread first = start(1, close_child);
    ambit_schedule_thread second = start(2, close_other_side);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
    ambit_schedule_assert(destroyed == 1);
    close_it();
    ambit_schedule_assert(destroyed == 2);
}

/* It is read by the other's values while the origin is closed. */
static void close_detached(void) { close_child(); }
AMBIT_SCHEDULE_TEST_WITH(a_detached_context_keeps_its_origin, .before = muster) {
    open_full();
    int64_t deadline_ns = ambit__clock_now() + AMBIT_SECOND;
    ambit_schedule_assert(!ambit_ctx_detach(ctx, deadline_ns, &child));
    ambit_schedule_thread other = start(1, close_detached);
    close_it();
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1);
}

/* ---- Destructors that give the context away -------------------------------------------------- */

static _Atomic(ambit_hold *) given;
static void give_away(void *argument) {
    ambit_hold *hold = hold_of(argument);
    destroyed++;
    ambit__store_release(&given, hold);
}
static void drop_given(void) {
    ambit_hold *hold;
    while (!(hold = ambit__load_acquire(&given))) ambit_schedule_yield();
    ambit_ctx *held = ambit_hold_ctx(hold);
    ambit_schedule_assert(ambit_ctx_err(held) == AMBIT_CANCELLED);
    read_number(held);
    ambit_ctx_drop(&hold);
}
AMBIT_SCHEDULE_TEST_WITH(a_destructor_gives_it_away, .before = muster) {
    open_full();
    ambit_schedule_assert(!ambit_ctx_defer(ctx, give_away, ctx));
    ambit_schedule_thread other = start(1, drop_given);
    close_it();
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 2);
}

/* ---- Busy ones ------------------------------------------------------------------------------- */

/* With the next keep it has shards, as after 64 turns of two threads. */
static void make_busy(ambit_ctx *busy) {
    ambit__store_relaxed(&busy->turns, 63);
    ambit__store_relaxed(&busy->turns_since_ns, ambit__clock_coarse());
    ambit__store_relaxed(&busy->last_keeper, CREW);
}

/* The child was counted before there were shards. They were another's before, whose counts must not be in
 * them any more. */
AMBIT_SCHEDULE_TEST_WITH(a_child_goes_while_shards_come, .before = muster) {
    be(0);
    ambit_ctx *before = open_below(ambit_background());
    make_busy(before);
    ambit_hold *hold = hold_of(before);
    be(1);
    ambit_hold *counted = hold_of(before);
    open_full();
    child = open_below(ctx);
    ambit_schedule_assert(ambit__load_relaxed(&before->head.shards));
    ambit_schedule_thread other = start(1, close_child);
    ambit_ctx_drop(&hold);
    ambit_ctx_drop(&counted);
    end(before);
    make_busy(ctx);
    hold_for(2);
    ambit_ctx_drop(&holds[2]);
    ambit_schedule_assert(!destroyed);
    close_it();
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1);
}

/* ---- Seen by a walk -------------------------------------------------------------------------- */

static unsigned walked;
static void look_at(ambit__slab *slab, ambit__entry *entry, void *argument) {
    (void)argument;
    ambit__facts facts = {0};
    const ambit_site *site = ambit__load_acquire(&entry->site);
    uint32_t marks = ambit__load_acquire(&entry->marks);
    slab->inspect(entry, &facts);
    /* The same one from first to last, or not at all. */
    if (!site || ambit__load_acquire(&entry->site) != site) return;
    ambit_schedule_assert(site->file && site->line > 0);
    ambit_schedule_assert(facts.deadline_ns == AMBIT_NEVER);
    ambit_schedule_assert(!facts.keeps || facts.keeps == ctx || facts.keeps == child);
    if (slab->kind == AMBIT_KIND_CTX) {
        ambit_schedule_assert(facts.depth == 1 || facts.depth == 2);
        ambit_schedule_assert(facts.keepers <= 3);
        if (marks & AMBIT__MARK_CLOSED) ambit_schedule_assert(facts.closed);
    }
    walked++;
}
static void walk_both(void) {
    ambit__slab_walk(&ambit__slab_ctx, look_at, NULL);
    ambit__slab_walk(&ambit__slab_hold, look_at, NULL);
}
AMBIT_SCHEDULE_TEST_WITH(a_walk_sees_only_whole_ones, .before = muster) {
    open_full();
    hold_for(1);
    ambit_schedule_thread walker = start(2, walk_both);
    ambit_schedule_thread other = start(1, open_and_close_child);
    end(ctx);
    ambit_schedule_join(walker);
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1);
}

AMBIT_SCHEDULE_TEST_WITH(a_walk_sees_only_whole_holds, .before = muster) {
    open_full();
    hold_for(1);
    ambit_schedule_thread walker = start(2, walk_both);
    ambit_schedule_thread other = start(1, hold_once_more);
    end(ctx);
    ambit_schedule_join(walker);
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1);
}

/* A zombie of no age is no verdict: what is marked as closed has its time of closing. */
static void expect_none(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(!verdict);
}
static void check_all(void) { ambit_schedule_assert(!ambit_verdict_check(expect_none, NULL)); }
AMBIT_SCHEDULE_TEST_WITH(what_is_closed_has_its_time, .before = muster) {
    open_full();
    hold_for(1);
    ambit_schedule_thread checker = start(2, check_all);
    end(ctx);
    ambit_schedule_join(checker);
    be(1);
    ambit_ctx_drop(&holds[1]);
    ambit_schedule_assert(destroyed == 1);
}
