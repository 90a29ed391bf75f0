/* src/census/slab.{c,h} and the walk of a snapshot: objects go from thread to thread, new ones are made, and
 * walks go by. Nobody has what another has, nothing is lost, and a walk sees what is alive, whole.
 *
 * What the holder of an object writes is plain memory: two holders, or a way from one to the next that
 * orders nothing, race on it. */
#include "ctxs.h"

AMBIT_SCHEDULE_COVERS("census/slab.c census/slab.h:ambit__slab_born census/snapshot.c:count_object")

/* A kind of our own, and as small as can be. */
enum { KIND = AMBIT_KIND_COUNT, CHUNK = 4, MOST = 24 };
_Static_assert(KIND < AMBIT__CACHE_KINDS, "threads have a stack of them");

typedef struct thing {
    ambit__entry entry;
    _Atomic(struct thing *) next; /* in the depot */
    unsigned held;
    _Atomic(uint32_t) number; /* as walks read it */
} thing;
_Static_assert(sizeof(thing) <= 64, "it fits");

static ambit__slab slab = {AMBIT__SLAB_LOCK, .kind = (ambit_kind)KIND, .object_bytes = 64};
static const ambit_site early = {"early.c", "open_early", 1};
static const ambit_site late = {"late.c", "open_late", 2};

static thing *take(void) {
    thing *mine = ambit__slab_get(&slab, slab.kind, ambit__thread_record);
    ambit_schedule_assert(mine && !mine->held);
    mine->held = 1;
    return mine;
}
static void give(thing *mine) {
    ambit_schedule_assert(mine->held == 1);
    mine->held = 0;
    ambit__slab_put(&slab, slab.kind, ambit__thread_record, &mine->entry);
    if (ambit__thread_record)
        ambit_schedule_assert(ambit__thread_record->caches[KIND].count <= AMBIT__CACHE_ITEMS);
}

/* Nobody uses them any more: all that were made are there, each once. */
static void count_all(void) {
    unsigned made = 0, found = 0;
    thing *all[MOST];
    for (void *const *chunk = (void *)ambit__load_acquire(&slab.chunks); chunk; chunk = *chunk)
        made += CHUNK;
    for (unsigned i = 0; i < CREW; i++)
        for (ambit__cache *cache = &crew[i]->caches[KIND]; cache->count; found++)
            all[found] = cache->items[--cache->count];
    for (thing *at = (thing *)(void *)ambit__load_acquire(&slab.depot); at;
         at = ambit__load_relaxed(&at->next), found++)
        if (found < MOST) all[found] = at;
    ambit_schedule_assert(found == made);
    for (unsigned i = 0; i < found; i++) ambit_schedule_assert(!all[i]->held++);
}

/* ---- Taking and giving ----------------------------------------------------------------------- */

static void take_two(void) {
    thing *first = take(), *second = take();
    ambit_schedule_yield();
    give(first);
    give(second);
}

/* Some find the depot empty at once, and make a chunk each. */
AMBIT_SCHEDULE_TEST_WITH(each_has_its_own, .before = muster) {
    be(0);
    ambit_schedule_thread one = start(1, take_two), two = start(2, take_two);
    take_two();
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    count_all();
}

/* One gives what another takes: six in a stack of four go by the depot. */
static thing *given[6];
static void take_six(void) {
    for (unsigned i = 0; i < 6; i++) given[i] = take();
}
static void give_six(void) {
    for (unsigned i = 0; i < 6; i++) give(given[i]);
}
static void take_and_give(void) {
    thing *mine[4];
    for (unsigned i = 0; i < 4; i++) mine[i] = take();
    for (unsigned i = 0; i < 4; i++) give(mine[i]);
}
static void muster_six(void *argument) {
    muster(argument);
    take_six();
}

AMBIT_SCHEDULE_TEST_WITH(given_here_and_taken_there, .before = muster_six) {
    be(0);
    ambit_schedule_thread other = start(1, take_and_give);
    give_six();
    ambit_schedule_join(other);
    count_all();
}

/* A thread that has no record puts them into the depot. */
static void give_without_a_record(void) {
    ambit__thread_record = NULL;
    give(given[0]);
    give(given[1]);
}
AMBIT_SCHEDULE_TEST_WITH(given_without_a_record, .before = muster_six) {
    be(0);
    ambit_schedule_thread other = start(1, give_without_a_record), third = start(2, take_two);
    for (unsigned i = 2; i < 6; i++) give(given[i]);
    take_two();
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    count_all();
}

/* A child of fork() sees a copy from between any two stores: the depot's chain is whole in it. Here a thread
 * reads it without the lock, as the copy is made; what is behind the first one does not change. */
static void give_to_the_depot(void) {
    for (unsigned i = 0; i < 4; i++) {
        ambit__store_relaxed(&given[i]->number, i + 1);
        ambit__slab_spill(&slab, NULL, given[i]);
    }
}
AMBIT_SCHEDULE_TEST_WITH(depot_is_whole_at_any_time, .before = muster) {
    be(0);
    take_six();
    unsigned behind = 0; /* before the first of ours */
    for (thing *at = (thing *)(void *)ambit__load_acquire(&slab.depot); at;
         at = ambit__load_relaxed(&at->next))
        behind++;
    ambit_schedule_thread other = start(1, give_to_the_depot);
    thing *at = (thing *)(void *)ambit__load_acquire(&slab.depot);
    unsigned expected = at ? ambit__load_relaxed(&at->number) + behind : 0, length = 0;
    for (; at && length < MOST; at = ambit__load_relaxed(&at->next)) length++;
    ambit_schedule_assert(length == expected);
    ambit_schedule_join(other);
}

/* The handler of fork() is registered once, and the slabs' own locks are opened by it. */
static void make_ready(void) { ambit__census_ready(); }
AMBIT_SCHEDULE_TEST(ready_once) {
    for (unsigned i = 0; i < 7; i++) ambit__on_fork(make_ready); /* there is room for one */
    ambit_schedule_thread one = start(1, make_ready), two = start(2, make_ready);
    make_ready();
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}

/* ---- Walks ----------------------------------------------------------------------------------- */

static unsigned seen;
static void look(ambit__slab *of, ambit__entry *entry, void *argument) {
    (void)argument;
    ambit_schedule_assert(of == &slab);
    const ambit_site *site = ambit__load_acquire(&entry->site);
    if (!site) return;
    ambit_schedule_assert(ambit__load_relaxed(&entry->birth_ns) == 5);
    ambit_schedule_assert(ambit__load_relaxed(&((thing *)(void *)entry)->number) == 7);
    seen++;
}
static void open_two(void) {
    for (unsigned i = 0; i < 2; i++) {
        thing *mine = take();
        ambit__store_relaxed(&mine->number, 7);
        ambit__slab_born(&mine->entry, &early, 5);
    }
}
/* The first chunk is being made. */
AMBIT_SCHEDULE_TEST_WITH(walk_sees_whole_ones, .before = muster) {
    be(0);
    ambit_schedule_thread other = start(1, open_two);
    ambit__slab_walk(&slab, look, NULL);
    ambit_schedule_assert(seen <= 2);
    ambit_schedule_join(other);
    seen = 0;
    ambit__slab_walk(&slab, look, NULL);
    ambit_schedule_assert(seen == 2);
}

/* What stays is seen once, beside what comes and goes; a walk gives what it has found the site alone. */
static unsigned stays;
static void look_for_the_one(ambit__slab *of, ambit__entry *entry, void *argument) {
    (void)of;
    if (ambit__load_relaxed(&((thing *)(void *)entry)->number) == 9) stays++;
    (void)argument;
}
static void come_and_go(void) {
    for (unsigned i = 0; i < 2; i++) {
        thing *mine = take();
        ambit__store_relaxed(&mine->number, 7);
        ambit__slab_born(&mine->entry, &early, 5);
        give(mine);
    }
}
static void muster_one(void *argument) {
    muster(argument);
    thing *mine = take();
    ambit__store_relaxed(&mine->number, 9);
    ambit__slab_born(&mine->entry, &early, 5);
}
AMBIT_SCHEDULE_TEST_WITH(what_stays_is_seen_once, .before = muster_one) {
    be(0);
    ambit_schedule_thread other = start(1, come_and_go), third = start(2, come_and_go);
    ambit__slab_walk(&slab, look_for_the_one, NULL);
    ambit_schedule_assert(stays == 1);
    ambit_schedule_join(other);
    ambit_schedule_join(third);
}

/* All that live, in the last place of a chunk as in the first. */
static void bear_six(void *argument) {
    muster(argument);
    for (unsigned i = 0; i < 6; i++) {
        thing *mine = take();
        ambit__store_relaxed(&mine->number, 9);
        ambit__slab_born(&mine->entry, i % 2 ? &early : &late, 5);
    }
}
AMBIT_SCHEDULE_TEST_WITH(all_that_live_are_seen, .before = bear_six) {
    be(0);
    ambit_schedule_thread other = start(1, come_and_go);
    ambit__slab_walk(&slab, look_for_the_one, NULL);
    ambit_schedule_assert(stays == 6);
    ambit_schedule_join(other);
}

/* One goes and another is born in its memory while a snapshot is taken: it counts either or neither, and no
 * mixture. They differ in age, marks and bytes, and the line is another one or the same. */
static const ambit_site *sites[2] = {&early, &late};
static ambit__entry *young;
static int64_t start_ns;

static void bear(ambit__entry *entry, unsigned which) {
    ambit__slab_born(entry, sites[which], start_ns - which * 100 * AMBIT_SECOND);
    if (!which) ambit__or_relaxed(&entry->marks, AMBIT__MARK_LONG_LIVED);
}
static void replace(void) {
    ambit__slab_put(&ambit__slab_ctx, AMBIT_KIND_CTX, ambit__thread_record, young);
    ambit__entry *again = ambit__slab_get(&ambit__slab_ctx, AMBIT_KIND_CTX, ambit__thread_record);
    ambit_schedule_assert(again == young);
    bear(again, 1);
    ambit__store_release(&again->bytes, 20); /* as a value that is put */
}
/* Holds and timers there are none, and a walk is short. */
static void open_early(void *argument) {
    (void)argument;
    for (unsigned i = 0; i < 3; i++) {
        ambit__thread_record = NULL;
        ambit__thread *record = ambit__thread_register();
        if (i < 2) crew[i] = record;
    }
    start_ns = ambit__clock_coarse();
    young = ambit__slab_get(&ambit__slab_ctx, AMBIT_KIND_CTX, crew[0]);
    bear(young, 0);
    ambit__store_release(&young->bytes, 10);
}
static void open_both_here(void *argument) {
    sites[1] = &early;
    open_early(argument);
}
static void take_snapshot(void) {
    be(1);
    ambit_schedule_thread other = start(0, replace);
    ambit_census *census;
    ambit_schedule_assert(!ambit_census_take(&census));
    const ambit_census_row *row;
    for (size_t i = 0; (row = ambit_census_row_at(census, i)); i++) {
        unsigned which = row->age_band == 3;
        ambit_schedule_assert(row->count == 1 && row->site == sites[which]);
        ambit_schedule_assert(row->age_band == (which ? 3u : 0u));
        ambit_schedule_assert(row->long_lived == !which);
        ambit_schedule_assert(row->bytes == (which ? 20u : 10u) || (which && !row->bytes));
    }
    ambit_schedule_assert(ambit_census_rows(census) <= 1);
    ambit_census_free(census);
    ambit_schedule_join(other);
}
AMBIT_SCHEDULE_TEST_WITH(snapshot_mixes_no_two, .before = open_early) { take_snapshot(); }
AMBIT_SCHEDULE_TEST_WITH(snapshot_mixes_no_two_of_one_line, .before = open_both_here) {
    take_snapshot();
}

/* Every schedule with two preemptions: some orders show in few of them. */
AMBIT_SCHEDULE_TEST_WITH(every_snapshot_mixes_no_two, .before = open_early,
                         .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .preemptions = 2,
                         .schedules = 100000) {
    take_snapshot();
}
AMBIT_SCHEDULE_TEST_WITH(every_snapshot_mixes_no_two_of_one_line, .before = open_both_here,
                         .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .preemptions = 2,
                         .schedules = 100000) {
    take_snapshot();
}
