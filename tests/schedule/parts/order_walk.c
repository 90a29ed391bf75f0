/* What a walk reads of a context or a hold (inspect() in src/ctx/{open,close}.c), beside one
 * that goes and another that is born in its memory: the facts of either, never a mixture; and
 * the verdicts that are made of them. */
#include "census/verdict.h"
#include "ctxs.h"

AMBIT_SCHEDULE_COVERS(
    "ctx/open.c:inspect ctx/ctx.h:ambit__ctx_show ctx/ctx.h:ambit__ctx_show_second "
    "ctx/ctx.h:ambit__ctx_show_closed_site ctx/ctx.h:ambit__ctx_show_closed "
    "ctx/ctx.h:ambit__ctx_show_callback ctx/close.c:inspect ctx/close.c:ambit_ctx_hold_at "
    "census/slab.h:ambit__free_link census/verdict.h ambit/ctx_inline.h:ambit__ctx_charge")

static const ambit_site early = {"early.c", "open_early", 1}, late = {"late.c", "open_late", 2};
static ambit_ctx *parents[2], *watched, *now_open;
static ambit_hold *holds[2];
static int64_t far_ns = AMBIT_NEVER;

/* Compilers keep C++20's rule of release sequences, whatever the language. Some orders show in
 * few schedules: so all are played that have one preemption. */
#define WALK_TEST(test, ...)                                                                       \
    AMBIT_SCHEDULE_TEST_WITH(test, .cxx20_release_sequences = true,                                \
                             .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .preemptions = 1,              \
                             .schedules = 200000, __VA_ARGS__)

/* An own clock: its times tell who they are of. */
static _Atomic(int64_t) own_ns;
static int64_t read_own(void *user) {
    (void)user;
    return ambit__load_relaxed(&own_ns);
}
static void use_own_clock(void) {
    const ambit_clock own = {read_own, NULL};
    ambit__store_relaxed(&own_ns, 5 * AMBIT_SECOND);
    ambit_clock_set(&own);
}
static void let_a_second_pass(void) { ambit__add_relaxed(&own_ns, AMBIT_SECOND); }

/* ---- The walk -------------------------------------------------------------------------------- */

typedef void look_fn(const ambit__facts *facts, uint32_t marks, bool is_late);

/* As a check reads: the birth, the site, the facts, and the first two again. */
static void look_at(ambit__slab *slab, ambit__entry *entry, look_fn *look) {
    ambit__facts facts = {0};
    int64_t birth_ns = ambit__load_acquire(&entry->birth_ns);
    const ambit_site *site = ambit__load_acquire(&entry->site);
    uint32_t marks = ambit__load_acquire(&entry->marks);
    if (!site) return;
    slab->inspect(entry, &facts);
    if (ambit__load_relaxed(&entry->site) != site ||
        ambit__load_relaxed(&entry->birth_ns) != birth_ns)
        return;
    ambit_schedule_assert(site == &early || site == &late);
    look(&facts, marks, site == &late);
}
static void look_beside(void (*run)(void), look_fn *look) {
    be(1);
    ambit_schedule_thread other = start(0, run);
    look_at(&ambit__slab_ctx, ambit__ctx_entry(watched), look);
    ambit_schedule_join(other);
}

static ambit_ctx *open_at(ambit_ctx *parent, int64_t deadline_ns, const ambit_site *site) {
    ambit_ctx *opened;
    ambit_schedule_assert(!ambit_ctx_open_at(parent, deadline_ns, &opened, site));
    return opened;
}
static ambit_hold *hold_at(ambit_ctx *of, const ambit_site *site) {
    ambit_hold *hold;
    ambit_schedule_assert(!ambit_ctx_hold_at(of, &hold, site));
    return hold;
}
static void end(ambit_ctx *owned) { ambit_ctx_close(&owned); }

static void open_early(void *argument) {
    muster(argument);
    parents[0] = open_below(ambit_background());
    parents[1] = open_below(parents[0]);
    watched = now_open = open_at(parents[0], far_ns, &early);
}
static void reopen_late(ambit_ctx *parent, int64_t deadline_ns) {
    now_open = open_at(parent, deadline_ns, &late);
    ambit_schedule_assert(now_open == watched);
}

/* ---- From the birth on ----------------------------------------------------------------------- */

static void open_early_with_deadline(void *argument) {
    far_ns = ambit__clock_now() + 1000 * AMBIT_SECOND;
    open_early(argument);
}
static void open_late_and_hold(void) {
    end(now_open);
    reopen_late(parents[1], far_ns - AMBIT_SECOND);
    for (int i = 0; i < 2; i++) holds[i] = hold_at(now_open, &late);
}
static void look_at_birth(const ambit__facts *facts, uint32_t marks, bool is_late) {
    (void)marks;
    ambit_schedule_assert(!facts->keeps || facts->keeps == parents[is_late]);
    ambit_schedule_assert(facts->depth == (is_late ? 3 : 2));
    ambit_schedule_assert(facts->deadline_ns == (is_late ? far_ns - AMBIT_SECOND : far_ns));
    ambit_schedule_assert(!facts->keepers || (is_late && facts->keepers <= 2));
    ambit_schedule_assert(!facts->keeps_too);
}
WALK_TEST(walk_mixes_no_two_births, .before = open_early_with_deadline) {
    look_beside(open_late_and_hold, look_at_birth);
    for (int i = 0; i < 2; i++) ambit_ctx_drop(&holds[i]);
    end(now_open);
}

/* A merged one keeps two, and its deadline may be that of none. */
static void open_late_merged(void) {
    end(now_open);
    ambit_schedule_assert(!ambit_ctx_merge_at(parents[0], parents[1], &now_open, &late));
    ambit_schedule_assert(now_open == watched);
}
static void look_at_second(const ambit__facts *facts, uint32_t marks, bool is_late) {
    (void)marks;
    ambit_schedule_assert(facts->deadline_ns == (is_late ? AMBIT_NEVER : far_ns));
    ambit_schedule_assert(!facts->keeps_too || (is_late && facts->keeps_too == parents[1]));
}
WALK_TEST(walk_mixes_no_merged_one, .before = open_early_with_deadline) {
    look_beside(open_late_merged, look_at_second);
    end(now_open);
}

/* ---- Closing --------------------------------------------------------------------------------- */

/* The older one is a zombie of 5 s, the newer one soon one of 6 s. */
static const ambit_site closings[2] = {{"early.c", "close", 3}, {"late.c", "close", 4}};
static void close_and_keep(unsigned which) {
    holds[which] = hold_at(now_open, &closings[which]);
    ambit_ctx_close_at(&now_open, &closings[which]);
}
static void open_early_zombie(void *argument) {
    use_own_clock();
    open_early(argument);
    close_and_keep(0);
    let_a_second_pass();
}
static void replace_zombie(void) {
    ambit_ctx_drop(&holds[0]);
    reopen_late(parents[0], AMBIT_NEVER);
    close_and_keep(1);
}
static void look_at_zombie(const ambit__facts *facts, uint32_t marks, bool is_late) {
    if (!(marks & AMBIT__MARK_CLOSED)) return;
    ambit_schedule_assert(facts->closed == &closings[is_late]);
    ambit_schedule_assert(facts->closed_ns == (is_late ? 6 : 5) * AMBIT_SECOND);
}
WALK_TEST(walk_mixes_no_zombies, .before = open_early_zombie) {
    look_beside(replace_zombie, look_at_zombie);
    ambit_ctx_drop(&holds[1]);
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

/* A snapshot counts what values own. */
typedef struct wide {
    int numbers[25];
} wide;
AMBIT_KEY(wide_key, wide);
static void open_early_with_memory(void *argument) {
    open_early(argument);
    ambit_schedule_assert(ambit_ctx_alloc(now_open, 4));
}
static void put_into_late(void) {
    static const wide value;
    end(now_open);
    reopen_late(parents[0], AMBIT_NEVER);
    ambit_schedule_assert(!ambit_ctx_put(now_open, &wide_key, &value));
}
WALK_TEST(snapshot_mixes_no_bytes, .before = open_early_with_memory) {
    be(1);
    ambit_schedule_thread other = start(0, put_into_late);
    ambit_census *census;
    const ambit_census_row *row;
    ambit_schedule_assert(!ambit_census_take(&census));
    for (size_t i = 0; (row = ambit_census_row_at(census, i)); i++) {
        if (row->site == &early) ambit_schedule_assert(row->count == 1 && row->bytes == 4);
        if (row->site == &late) ambit_schedule_assert(!row->bytes || row->bytes == sizeof(wide));
    }
    ambit_census_free(census);
    ambit_schedule_join(other);
    end(now_open);
}

/* ---- Callbacks ------------------------------------------------------------------------------- */

/* The one that begins at 5 s is that of line 0, and the one that begins at 6 s that of line 1. */
static ambit_cancel nodes[2];
static const ambit_site lines[2] = {{"early.c", "wait", 5}, {"late.c", "wait", 6}};
static void pass_time(ambit_ctx *of, void *argument) {
    (void)of;
    (void)argument;
    let_a_second_pass();
}
static void wait_at(unsigned line) {
    ambit_schedule_assert(
        !ambit_ctx_on_cancel_at(now_open, &nodes[line], pass_time, NULL, &lines[line]));
}
static void cancel_it(void) { ambit_ctx_cancel(now_open, NULL); }
static unsigned line_of(const ambit__facts *facts) {
    int64_t since_s = facts->callback_since_ns / AMBIT_SECOND;
    ambit_schedule_assert(since_s == 5 || since_s == 6);
    return since_s == 6;
}

static void open_with_two_callbacks(void *argument) {
    use_own_clock();
    open_early(argument);
    wait_at(1);
    wait_at(0);
}
static void look_at_two_callbacks(const ambit__facts *facts, uint32_t marks, bool is_late) {
    (void)marks;
    ambit_schedule_assert(!is_late);
    if (facts->callback_since_ns) ambit_schedule_assert(facts->callback == &lines[line_of(facts)]);
}
WALK_TEST(callback_is_seen_with_its_line, .before = open_with_two_callbacks) {
    look_beside(cancel_it, look_at_two_callbacks);
    end(now_open);
}

/* One is the older context's, and one the newer's. */
static void open_with_callback(void *argument) {
    use_own_clock();
    open_early(argument);
    wait_at(0);
}
static void cancel_both(void) {
    cancel_it();
    end(now_open);
    reopen_late(parents[0], AMBIT_NEVER);
    wait_at(1);
    cancel_it();
}
static void look_at_either_callback(const ambit__facts *facts, uint32_t marks, bool is_late) {
    (void)marks;
    if (!facts->callback_since_ns) return;
    ambit_schedule_assert(line_of(facts) == is_late && facts->callback == &lines[is_late]);
}
WALK_TEST(walk_mixes_no_callbacks, .before = open_with_callback) {
    look_beside(cancel_both, look_at_either_callback);
    end(now_open);
}

/* ---- Holds ----------------------------------------------------------------------------------- */

static void look_at_hold(const ambit__facts *facts, uint32_t marks, bool is_late) {
    (void)marks;
    ambit_schedule_assert(!facts->keeps || facts->keeps == parents[is_late]);
}
static void look_at_hold_beside(void (*run)(void)) {
    ambit__entry *entry = &holds[0]->entry;
    be(1);
    ambit_schedule_thread other = start(0, run);
    look_at(&ambit__slab_hold, entry, look_at_hold);
    ambit_schedule_join(other);
}

static void hold_early(void *argument) {
    open_early(argument);
    holds[0] = hold_at(parents[0], &early);
}
static void hold_another(void) {
    const ambit_hold *before = holds[0];
    ambit_ctx_drop(&holds[0]);
    holds[1] = hold_at(parents[1], &late);
    ambit_schedule_assert(holds[1] == before);
}
WALK_TEST(walk_mixes_no_holds, .before = hold_early) {
    look_at_hold_beside(hold_another);
    ambit_ctx_drop(&holds[1]);
}

/* It goes to the depot, where what it kept is overwritten by the link to the next free one. */
static void hold_early_with_full_hands(void *argument) {
    ambit_hold *more[2 * AMBIT__CACHE_ITEMS];
    hold_early(argument);
    for (int i = 0; i < 2 * AMBIT__CACHE_ITEMS; i++) more[i] = hold_at(parents[0], &late);
    for (int i = 0; i < 2 * AMBIT__CACHE_ITEMS; i++) ambit_ctx_drop(&more[i]);
    while (crew[0]->caches[AMBIT_KIND_HOLD].count < AMBIT__CACHE_ITEMS) {
        more[0] = hold_at(parents[0], &late);
        be(1);
        more[1] = hold_at(parents[0], &late);
        be(0);
        ambit_ctx_drop(&more[1]);
        ambit_ctx_drop(&more[0]);
    }
    ambit_schedule_assert(ambit__load_relaxed(&ambit__slab_hold.depot));
}
static void drop_it(void) { ambit_ctx_drop(&holds[0]); }
WALK_TEST(hold_in_the_depot_keeps_nothing, .before = hold_early_with_full_hands) {
    look_at_hold_beside(drop_it);
}

/* By what a check makes of it: who keeps a zombie is told by its line. A child keeps it all the
 * time. */
static unsigned told;
static void note_keeper(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->kind == AMBIT_VERDICT_ZOMBIE && verdict->keeper == &late);
    told++;
}
static void open_zombie_and_hold(void *argument) {
    for (int other = 0; other < AMBIT_VERDICT_KINDS; other++)
        ambit_verdict_limit_set((ambit_verdict_kind)other, AMBIT_VERDICT_OFF);
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, 10 * AMBIT_SECOND);
    use_own_clock();
    muster(argument);
    parents[0] = open_below(ambit_background());
    parents[1] = open_below(ambit_background());
    now_open = open_at(parents[1], AMBIT_NEVER, &late);
    ambit_ctx_close(&(ambit_ctx *){parents[1]});
    ambit__add_relaxed(&own_ns, 100 * AMBIT_SECOND);
    holds[0] = hold_at(parents[0], &early);
}
AMBIT_SCHEDULE_TEST_WITH(keeper_is_told_by_its_line, .before = open_zombie_and_hold,
                         .cxx20_release_sequences = true) {
    be(1);
    ambit_schedule_thread other = start(0, hold_another);
    (void)ambit_verdict_check(note_keeper, NULL);
    ambit_schedule_join(other);
    ambit_schedule_assert(told == 1);
    ambit_ctx_drop(&holds[1]);
    end(now_open);
}

/* ---- Slow callbacks -------------------------------------------------------------------------- */

static void stay(ambit_ctx *of, void *argument) {
    (void)of;
    (void)argument;
}
static void look_for_slow_ones_only(void *argument) {
    for (int other = 0; other < AMBIT_VERDICT_KINDS; other++)
        ambit_verdict_limit_set((ambit_verdict_kind)other, AMBIT_VERDICT_OFF);
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, AMBIT_SECOND / 2);
    use_own_clock();
    open_early(argument);
}
static void note_slow(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->kind == AMBIT_VERDICT_SLOW_CALLBACK);
    ambit_schedule_assert(verdict->site == &lines[0]);
    told++;
}
/* What has ended before this check is told by it at the latest, and returned. */
static void check_counts(void) {
    (void)ambit_verdict_check(note_slow, NULL);
    ambit_verdict_counts counts = ambit_verdict_counts_read(AMBIT_VERDICT_SLOW_CALLBACK);
    ambit_schedule_assert(counts.reported == told && counts.returned == told);
    end(now_open);
}

/* A slow one, which runs already, and then a quick one, as deliver_callback() has them: the
 * first is told once, by its line, and the second is not. Some of it takes four
 * turns in the right places, and the rest shows in the schedules with two preemptions, all of them. */
static void open_with_a_slow_one(void *argument) {
    look_for_slow_ones_only(argument);
    ambit__ctx_show_callback(watched, &lines[0], ambit__clock_coarse());
    let_a_second_pass();
}
static void end_callback(unsigned line, int64_t took_ns) {
    ambit__store_relaxed(&watched->callback_since_ns, 0);
    ambit__verdict_callback_ended(ambit__ctx_entry(watched), &lines[line], took_ns);
}
static void end_both(void) {
    end_callback(0, AMBIT_SECOND);
    ambit__ctx_show_callback(watched, &lines[1], ambit__clock_coarse());
    end_callback(1, 0);
}
static void check_beside_both(void) {
    be(1);
    ambit_schedule_thread other = start(0, end_both);
    (void)ambit_verdict_check(note_slow, NULL);
    ambit_schedule_join(other);
    check_counts();
    ambit_schedule_assert(told == 1);
}
AMBIT_SCHEDULE_TEST_WITH(slow_callback_is_told_once, .before = open_with_a_slow_one,
                         .strategy = AMBIT_SCHEDULE_PCT, .depth = 4) {
    check_beside_both();
}
AMBIT_SCHEDULE_TEST_WITH(slow_callback_is_told_once_in_all, .before = open_with_a_slow_one,
                         .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .preemptions = 2,
                         .schedules = 200000) {
    check_beside_both();
}

/* It ends when it has just become slow: told or not, but if it is, then returned. */
static void open_with_one_that_stays(void *argument) {
    look_for_slow_ones_only(argument);
    ambit_schedule_assert(!ambit_ctx_on_cancel_at(now_open, &nodes[0], stay, NULL, &lines[0]));
}
WALK_TEST(slow_at_its_end_is_returned, .before = open_with_one_that_stays) {
    be(1);
    ambit_schedule_thread other = start(0, cancel_it);
    ambit_schedule_yield();
    let_a_second_pass();
    (void)ambit_verdict_check(note_slow, NULL);
    ambit_schedule_join(other);
    check_counts();
}
