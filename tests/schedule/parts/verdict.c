/* src/census/{check,verdict,crowd}.c: a check beside objects that go, are born again, and are
 * closed. What is reported was so, and is counted as returned once when it is no longer so. */
#include "verdicts.h"

AMBIT_SCHEDULE_COVERS("census/check.c census/verdict.c census/slab.h:ambit__slab_put")

static const ambit_site late = {"late.c", "open_late", 2};

static void bear_again(const ambit_site *site, uint64_t bytes) {
    ambit__entry *again = ambit__slab_get(&ambit__slab_ctx, AMBIT_KIND_CTX, ambit__thread_record);
    ambit_schedule_assert(again == young);
    ambit__slab_born(again, site, start_ns - 100 * AMBIT_SECOND);
    ambit__store_release(&again->bytes, bytes);
}

/* ---- What is large, and goes ----------------------------------------------------------------- */

static void open_large(void *argument) {
    (void)argument;
    prepare(AMBIT_VERDICT_LARGE, 5);
    ambit__store_release(&young->bytes, 10);
}
static void note_early(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->kind == AMBIT_VERDICT_LARGE && verdict->site == &early);
    ambit_schedule_assert(verdict->bytes == 10 && verdict->age_ns < AMBIT_SECOND);
    told++;
}
static void check_early(void) { (void)ambit_verdict_check(note_early, NULL); }
static void reported_as_told(unsigned most) {
    ambit_verdict_counts counts = counts_of(AMBIT_VERDICT_LARGE);
    ambit_schedule_assert(told <= most && counts.reported == told && counts.returned == told);
    ambit_schedule_assert(!(ambit__load_relaxed(&young->marks) & AMBIT__MARK_REPORTED) ||
                          !ambit__load_relaxed(&young->site));
}

AMBIT_SCHEDULE_TEST_WITH(reported_is_returned_once, .before = open_large) {
    be(1);
    ambit_schedule_thread other = start(0, put_young);
    check_early();
    ambit_schedule_join(other);
    reported_as_told(1);
}
AMBIT_SCHEDULE_TEST_WITH(reported_is_returned_once_in_every_schedule, .before = open_large,
                         .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .preemptions = 2,
                         .schedules = 100000) {
    be(1);
    ambit_schedule_thread other = start(0, put_young);
    check_early();
    ambit_schedule_join(other);
    reported_as_told(1);
}

/* The next one is not large, and has no mark. */
static void replace_by_small(void) {
    put_young();
    bear_again(&late, 0);
}
AMBIT_SCHEDULE_TEST_WITH(mark_is_not_inherited, .before = open_large) {
    be(1);
    ambit_schedule_thread other = start(0, replace_by_small);
    check_early();
    ambit_schedule_join(other);
    reported_as_told(1);
    ambit_schedule_assert(!(ambit__load_relaxed(&young->marks) & AMBIT__MARK_REPORTED));
}

/* Nor by one of another line that was born at the same time. */
static void replace_by_a_small_twin(void) {
    put_young();
    ambit__entry *again = ambit__slab_get(&ambit__slab_ctx, AMBIT_KIND_CTX, ambit__thread_record);
    ambit__slab_born(again, &late, start_ns);
}
AMBIT_SCHEDULE_TEST_WITH(mark_is_not_inherited_by_a_twin, .before = open_large) {
    be(1);
    ambit_schedule_thread other = start(0, replace_by_a_small_twin);
    check_early();
    ambit_schedule_join(other);
    reported_as_told(1);
}

/* The next one is large too: each is told once, at its own line. */
static unsigned told_late;
static void note_either(const ambit_verdict *verdict, void *user) {
    if (verdict->site == &early) {
        note_early(verdict, user);
        return;
    }
    ambit_schedule_assert(verdict->site == &late && verdict->bytes == 20);
    ambit_schedule_assert(verdict->age_ns >= 100 * AMBIT_SECOND);
    told_late++;
}
static void replace_by_large(void) {
    put_young();
    ambit__entry *again = ambit__slab_get(&ambit__slab_ctx, AMBIT_KIND_CTX, ambit__thread_record);
    ambit__slab_born(again, &late, start_ns - 100 * AMBIT_SECOND);
    ambit__store_release(&again->bytes, 20);
}
AMBIT_SCHEDULE_TEST_WITH(both_are_told_by_their_lines, .before = open_large) {
    be(1);
    ambit_schedule_thread other = start(0, replace_by_large);
    (void)ambit_verdict_check(note_either, NULL);
    ambit_schedule_join(other);
    (void)ambit_verdict_check(note_either, NULL);
    ambit_schedule_assert(told <= 1 && told_late == 1);
    be(0);
    put_young();
    ambit_verdict_counts counts = counts_of(AMBIT_VERDICT_LARGE);
    ambit_schedule_assert(counts.reported == told + 1 && counts.returned == told + 1);
}

/* Two checks and one that goes: they take turns. Counts are read meanwhile. */
static void read_counts(void) {
    ambit_verdict_counts before = counts_of(AMBIT_VERDICT_LARGE);
    ambit_verdict_counts after = counts_of(AMBIT_VERDICT_LARGE);
    ambit_schedule_assert(before.reported <= after.reported && before.returned <= after.returned);
}
AMBIT_SCHEDULE_TEST_WITH(two_checks_tell_it_once, .before = open_large) {
    be(1);
    ambit_schedule_thread other = start(2, check_early);
    check_early();
    ambit_schedule_join(other);
    ambit_schedule_assert(told == 1);
    be(0);
    put_young();
    reported_as_told(1);
}
AMBIT_SCHEDULE_TEST_WITH(returned_is_never_more_than_reported, .before = open_large) {
    be(1);
    ambit_schedule_thread other = start(0, put_young), third = start(2, read_counts);
    check_early();
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    reported_as_told(1);
}

/* It is within the limit again: the check takes the mark back, or the one that gives it back. */
static void open_small_again(void *argument) {
    open_large(argument);
    be(1);
    (void)ambit_verdict_check(NULL, NULL);
    ambit__store_release(&young->bytes, 3);
}
AMBIT_SCHEDULE_TEST_WITH(small_again_is_returned_once, .before = open_small_again) {
    be(1);
    ambit_schedule_thread other = start(0, put_young);
    check_early();
    ambit_schedule_join(other);
    ambit_verdict_counts counts = counts_of(AMBIT_VERDICT_LARGE);
    ambit_schedule_assert(!told && counts.reported == 1 && counts.returned == 1);
}

AMBIT_SCHEDULE_TEST_WITH(small_again_is_returned_by_a_check, .before = open_small_again) {
    be(1);
    ambit_schedule_thread other = start(2, check_early);
    check_early();
    ambit_schedule_join(other);
    ambit_verdict_counts counts = counts_of(AMBIT_VERDICT_LARGE);
    ambit_schedule_assert(!told && counts.reported == 1 && counts.returned == 1);
    ambit__store_release(&young->bytes, 10); /* and beyond it again */
    check_early();
    ambit_schedule_assert(told == 1);
}

/* ---- What is closed -------------------------------------------------------------------------- */

/* A zombie goes, and another is opened at its line, in its memory. */
static void open_zombie(void *argument) {
    (void)argument;
    prepare(AMBIT_VERDICT_ZOMBIE, 10 * AMBIT_SECOND);
    ambit__store_relaxed(&((ambit_ctx *)(void *)young)->closed_ns, 1);
    (void)ambit__or_acq_rel(&young->marks, AMBIT__MARK_CLOSED);
}
static void note_zombie(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->kind == AMBIT_VERDICT_ZOMBIE && verdict->site == &early);
    ambit_schedule_assert(verdict->age_ns < AMBIT_SECOND); /* the first one */
    told++;
}
static void replace_on_the_same_line(void) {
    put_young();
    bear_again(&early, 0);
}
AMBIT_SCHEDULE_TEST_WITH(who_is_opened_is_no_zombie, .before = open_zombie) {
    be(1);
    ambit_schedule_thread other = start(0, replace_on_the_same_line);
    (void)ambit_verdict_check(note_zombie, NULL);
    ambit_schedule_join(other);
    ambit_verdict_counts counts = counts_of(AMBIT_VERDICT_ZOMBIE);
    ambit_schedule_assert(counts.reported == told && counts.returned == told);
}

/* It is closed a moment ago, and not since the beginning of time. */
static ambit_ctx *closed;
static ambit_hold *held;
static void open_to_close(void *argument) {
    prepare(AMBIT_VERDICT_ZOMBIE, 10 * AMBIT_SECOND);
    (void)argument;
    be(0);
    closed = open_below(ambit_background());
    held = hold_of(closed);
}
static void close_it(void) { ambit_ctx_close(&closed); }
AMBIT_SCHEDULE_TEST_WITH(closed_now_is_no_zombie, .before = open_to_close) {
    be(1);
    ambit_schedule_thread other = start(0, close_it);
    ambit_schedule_assert(!ambit_verdict_check(NULL, NULL));
    ambit_schedule_join(other);
}

/* Who keeps a zombie is told by its line. A hold on something else goes, and in its memory the
 * zombie is held from another line. */
static ambit_hold *hold;
static void open_zombie_and_hold(void *argument) {
    open_zombie(argument);
    hold = ambit__slab_get(&ambit__slab_hold, AMBIT_KIND_HOLD, crew[0]);
    ambit__store_relaxed(&hold->ctx, ambit_background());
    ambit__slab_born(&hold->entry, &early, start_ns);
}
static void hold_the_zombie(void) {
    ambit__slab_put(&ambit__slab_hold, AMBIT_KIND_HOLD, ambit__thread_record, &hold->entry);
    ambit_hold *again = ambit__slab_get(&ambit__slab_hold, AMBIT_KIND_HOLD, ambit__thread_record);
    ambit_schedule_assert(again == hold);
    ambit__store_release(&again->ctx, (ambit_ctx *)(void *)young); /* as ambit_ctx_hold_at() */
    ambit__slab_born(&again->entry, &late, start_ns);
}
static void note_keeper(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(!verdict->keeper || verdict->keeper == &late);
    told++;
}
AMBIT_SCHEDULE_TEST_WITH(keeper_is_the_one_who_keeps, .before = open_zombie_and_hold) {
    be(1);
    ambit_schedule_thread other = start(0, hold_the_zombie);
    (void)ambit_verdict_check(note_keeper, NULL);
    ambit_schedule_join(other);
    ambit_schedule_assert(told == 1);
}

/* A hold that is seen is seen with what it holds. */
static void open_zombie_alone(void *argument) {
    open_zombie(argument);
    hold = ambit__slab_get(&ambit__slab_hold, AMBIT_KIND_HOLD, crew[0]);
    ambit__store_relaxed(&hold->ctx, (ambit_ctx *)(void *)young);
}
static bool is_held(void) { return ambit__load_acquire(&hold->entry.site) != NULL; }
static void hold_it_now(void) {
    ambit__store_relaxed(&hold->ctx, ambit_background());
    ambit__slab_born(&hold->entry, &late, start_ns);
}
static void note_no_keeper(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(!verdict->keeper);
    told++;
}
AMBIT_SCHEDULE_TEST_WITH(hold_is_seen_with_what_it_holds, .before = open_zombie_alone) {
    be(1);
    ambit_schedule_thread other = start(0, hold_it_now);
    (void)ambit_verdict_check(note_no_keeper, NULL);
    ambit_schedule_join(other);
    ambit_schedule_assert(told == 1 && is_held());
}

/* A hold is named before a child, whatever goes meanwhile. */
static ambit_ctx *small_child;
static void open_a_kept_zombie(void *argument) {
    open_to_close(argument);
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, -1);
    small_child = open_below(closed);
    close_it();
}
static void close_small_child(void) { ambit_ctx_close(&small_child); }
static void note_hold(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->keeper == ambit__load_relaxed(&held->entry.site));
    told++;
}
AMBIT_SCHEDULE_TEST_WITH(hold_is_named_before_a_child, .before = open_a_kept_zombie) {
    be(1);
    ambit_schedule_thread other = start(0, close_small_child);
    (void)ambit_verdict_check(note_hold, NULL);
    ambit_schedule_join(other);
    ambit_schedule_assert(told == 1);
}

/* Nothing tells two apart that were born at one time and line, but the second has no mark. */
static void replace_by_a_twin(void) {
    put_young();
    ambit__entry *again = ambit__slab_get(&ambit__slab_ctx, AMBIT_KIND_CTX, ambit__thread_record);
    ambit__slab_born(again, &early, start_ns);
}
AMBIT_SCHEDULE_TEST_WITH(twin_has_no_mark, .before = open_large) {
    be(1);
    ambit_schedule_thread other = start(0, replace_by_a_twin);
    check_early();
    ambit_schedule_join(other);
    check_early(); /* a mark that came so late that the twin has it is taken back */
    be(0);
    put_young();
    reported_as_told(2);
}

/* Lines that are crowded: one of each, with its bytes. */
static void open_in_a_crowd(void *argument) {
    (void)argument;
    prepare(AMBIT_VERDICT_CROWDED, 0);
    ambit__store_release(&young->bytes, 10);
}
static void note_crowd(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->kind == AMBIT_VERDICT_CROWDED && verdict->measured == 1);
    if (verdict->site == &early)
        ambit_schedule_assert(verdict->bytes == 10);
    else
        ambit_schedule_assert(verdict->bytes == 20 || !verdict->bytes);
}
static void replace_in_the_crowd(void) {
    put_young();
    bear_again(&late, 20);
}
AMBIT_SCHEDULE_TEST_WITH(crowd_is_counted_whole, .before = open_in_a_crowd,
                         .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .preemptions = 2,
                         .schedules = 100000) {
    be(1);
    ambit_schedule_thread other = start(0, replace_in_the_crowd);
    ambit_schedule_assert(ambit_verdict_check(note_crowd, NULL) <= 1);
    ambit_schedule_join(other);
}

/* The same at one line, where age and bytes tell the two apart. */
static void note_crowd_of_one_line(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->site == &early && verdict->measured == 1);
    if (verdict->age_ns < AMBIT_SECOND)
        ambit_schedule_assert(verdict->bytes == 10);
    else
        ambit_schedule_assert(verdict->bytes == 20 || !verdict->bytes);
}
static void replace_on_the_line_of_the_crowd(void) {
    put_young();
    bear_again(&early, 20);
}
AMBIT_SCHEDULE_TEST_WITH(crowd_of_one_line_is_counted_whole, .before = open_in_a_crowd) {
    be(1);
    ambit_schedule_thread other = start(0, replace_on_the_line_of_the_crowd);
    ambit_schedule_assert(ambit_verdict_check(note_crowd_of_one_line, NULL) <= 1);
    ambit_schedule_join(other);
}

/* Two checks at once: the line is told by one of them, and returned by the one that no longer
 * finds it. */
static void note_told(const ambit_verdict *verdict, void *user) {
    note_crowd(verdict, user);
    told++;
}
static void check_crowd(void) { (void)ambit_verdict_check(note_told, NULL); }
AMBIT_SCHEDULE_TEST_WITH(two_checks_tell_a_crowd_once, .before = open_in_a_crowd) {
    be(1);
    ambit_schedule_thread other = start(2, check_crowd);
    check_crowd();
    ambit_schedule_join(other);
    ambit_schedule_assert(told == 1);
    be(0);
    put_young();
    check_crowd();
    ambit_verdict_counts counts = counts_of(AMBIT_VERDICT_CROWDED);
    ambit_schedule_assert(told == 1 && counts.reported == 1 && counts.returned == 1);
}
