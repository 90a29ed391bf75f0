/* A schedule once more: does it go the same way, can it be shorter, and what happened in it.
 *
 * A schedule that is played again must take the same steps, or its seed is worth nothing. It does
 * not if the code under test asks what the scheduler cannot control: addresses (so the heap's are
 * moved), real time, random numbers, or memory that is not put back. Then both are recorded, and
 * the first step at which they part is told. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "schedule/run.h"

#define SHIFT 1 /* of the heap: see ambit__arena_shift() */
#define RECORDINGS 8

typedef struct recording {
    ambit__operation *rows;
    size_t count;
} recording;

/* ---- The same way? --------------------------------------------------------------------------- */

/* The schedule that was kept, from its decisions or from its seed. */
static bool play_kept(const ambit__run_state *run, unsigned shift) {
    const ambit__strategy *strategy = run->strategy;
    if (strategy == &ambit__strategy_explore) {
        ambit__follow_set(run->choices, run->choice_count);
        strategy = &ambit__strategy_follow;
    }
    ambit__arena_shift(shift);
    bool clean = ambit__play(strategy, run->seed, run->scenario, run->options.argument);
    ambit__arena_shift(0);
    return clean;
}

void ambit__again_keep(ambit__run_state *run) {
    run->first = ambit__found;
    run->choice_count = 0;
    void *grown = realloc(run->choices, (ambit__decision_count + 1) * sizeof *run->choices);
    if (!grown) return;
    run->choices = grown;
    run->choice_count = ambit__decision_count;
    if (run->choice_count)
        memcpy(run->choices, ambit__decisions, run->choice_count * sizeof *run->choices);
}

static bool went_the_same_way(const ambit__finding *first) {
    return ambit__found.hash == first->hash && ambit__found.failure == first->failure &&
           ambit__found.steps == first->steps;
}

static recording record(const ambit__run_state *run, unsigned shift) {
    ambit__recording = true;
    (void)play_kept(run, shift);
    ambit__recording = false;
    recording taken = {malloc((ambit__row_count + 1) * sizeof *taken.rows), ambit__row_count};
    if (!taken.rows)
        taken.count = 0;
    else
        memcpy(taken.rows, ambit__rows, taken.count * sizeof *taken.rows);
    return taken;
}

static bool same_row(const ambit__operation *one, const ambit__operation *other) {
    return one->thread == other->thread && one->kind == other->kind && one->site == other->site &&
           one->timed_out == other->timed_out && one->failed == other->failed &&
           one->time_ns == other->time_ns;
}

static void row_told(const recording *of, size_t index, char *text, size_t bytes) {
    char what[256], where[200];
    if (index >= of->count) {
        (void)snprintf(text, bytes, "the end");
        return;
    }
    const ambit__operation *row = &of->rows[index];
    ambit__row_text(row, what, sizeof what);
    (void)snprintf(text, bytes, "thread %u: %s%s%s", row->thread, what, row->site ? ", " : "",
                   row->site ? ambit__site_text(row->site, where, sizeof where) : "");
}

/* The first row that is not the same; false if there is none. */
static bool part(const recording *first, const recording *second, size_t *index) {
    size_t at = 0;
    while (at < first->count && at < second->count && same_row(&first->rows[at], &second->rows[at]))
        at++;
    *index = at;
    return at < first->count || at < second->count;
}

/* Fills in ambit__found: where the two part, if they do so again within a few attempts. */
static void tell_divergence(const ambit__run_state *run) {
    char one[600], other[600], parting[1300] = "";
    recording first = record(run, 0), second = record(run, SHIFT);
    const void *site = NULL;
    size_t index;
    bool parted = part(&first, &second, &index);
    for (unsigned i = 2; !parted && i < RECORDINGS; i++) {
        free(second.rows);
        second = record(run, i % 2 * SHIFT);
        parted = part(&first, &second, &index);
    }
    if (parted) {
        row_told(&first, index, one, sizeof one);
        row_told(&second, index, other, sizeof other);
        site = index < first.count ? first.rows[index].site : second.rows[index].site;
        (void)snprintf(parting, sizeof parting,
                       "\n    the first time:  %s\n    the second time: %s", one, other);
    }
    ambit__found.failure = AMBIT_SCHEDULE_DIVERGED;
    ambit__found.site = site;
    ambit__found.other_site = NULL;
    ambit__found.address = NULL;
    (void)snprintf(ambit__found.message, sizeof ambit__found.message,
                   "the same seed took another way when it was played again: the code depends on "
                   "addresses, on real\n    time, or on state that is not put back%.320s",
                   parting);
    free(first.rows);
    free(second.rows);
}

bool ambit__again_same(ambit__run_state *run) {
    ambit__again_keep(run);
    (void)play_kept(run, SHIFT);
    if (went_the_same_way(&run->first)) return true;
    run->diverged = true;
    tell_divergence(run);
    ambit__found.hash = run->first.hash;
    return false;
}

/* ---- What happened --------------------------------------------------------------------------- */

static bool follow(const ambit__run_state *run, const ambit__written *choices, size_t count) {
    ambit__follow_set(choices, count);
    return ambit__play(&ambit__strategy_follow, 0, run->scenario, run->options.argument);
}

/* The shortest that still fails in the same way is played for its table; else the one that was
 * found. */
static void play_for_table(ambit__run_state *run, const ambit__written *full, size_t full_count) {
    ambit_schedule_failure failure = run->first.failure;
    ambit__recording = true;
    bool clean = follow(run, run->choices, run->choice_count);
    if (clean || ambit__found.failure != failure) {
        run->choice_count = full_count;
        memcpy(run->choices, full, full_count * sizeof *full);
        clean = follow(run, full, full_count);
    }
    if (clean || ambit__found.failure != failure) {
        /* It takes another way each time: at least what was found is told, with the steps of some
         * way. */
        if (play_kept(run, 0)) ambit__found = run->first;
    }
    ambit__recording = false;
}

/* What stands on the command line for options that change what a schedule is. */
static void settings(const ambit__run_state *run, char *text, size_t bytes) {
    text[0] = '\0';
    if (run->strategy == &ambit__strategy_pct)
        (void)snprintf(text, bytes, " --depth=%u", run->options.depth);
}

static void tell(ambit__run_state *run) {
    char with[64];
    settings(run, with, sizeof with);
    bool by_choices =
        run->strategy == &ambit__strategy_explore || run->strategy == &ambit__strategy_follow;
    ambit__story story = {.name = run->options.name,
                          .strategy = run->strategy->name,
                          .asked = ambit__strategy_name(run->options.strategy),
                          .seed = run->seed,
                          .hash = run->first.hash,
                          .steps = run->first.steps,
                          .by_choices = by_choices,
                          .settings = with,
                          .choices = run->choices,
                          .choice_count = run->choice_count,
                          .diverged = run->diverged,
                          .before = run->before_failed};
    (void)fflush(stdout);
    ambit__report_failure(stderr, &story);
}

/* Twice: with the same addresses, and with others. */
static void check_again(ambit__run_state *run) {
    for (unsigned i = 0; i < 2 && !run->diverged; i++) {
        (void)play_kept(run, i * SHIFT);
        run->diverged = !went_the_same_way(&run->first);
    }
}

void ambit__again_explain(ambit__run_state *run) {
    if (run->first.failure != AMBIT_SCHEDULE_DIVERGED) {
        check_again(run);
        size_t full_count = run->choice_count;
        ambit__written *full = malloc((full_count + 1) * sizeof *full);
        if (full && !run->options.quiet) {
            memcpy(full, run->choices, full_count * sizeof *full);
            (void)ambit__shrink(run->scenario, run->options.argument, run->choices,
                                &run->choice_count);
            play_for_table(run, full, full_count);
        }
        free(full);
    }
    if (!run->options.quiet) tell(run);
}
