/* Many schedules of one scenario, until one fails.
 *
 * PCT wants to know how many steps a schedule takes. The first few schedules are played to find
 * out, by random choices from seeds of their own, which are always the same: so a seed that is
 * played alone means the same schedule as it did among the others. If one of those fails, and
 * nothing else does, it is told.
 *
 * The first schedule and every thousandth are played twice, the second time with other addresses on
 * the heap: if the seed then takes another way, no failure of this code could be played again. */
#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#include "schedule/host.h"
#include "schedule/run.h"

#define CALIBRATIONS 8
#define CALIBRATION_SEED UINT64_C(0xca11b8a7e0000000)
#define TWICE_EVERY 1000
#define LOOK_EVERY 16 /* schedules, at the clock */
#define PROGRESS_SECONDS 0.2
#define STEPS_MOST 1000000000 /* the vector clocks count with 32 bits */

const ambit_schedule_options *ambit__options;
ambit_schedule_result ambit__result;
ambit__now_playing ambit__playing;

static const char *const strategy_names[] = {"mixed", "random", "pct", "exhaustive"};
const char *ambit__strategy_name(ambit_schedule_strategy strategy) {
    return strategy_names[strategy];
}

static const ambit__strategy *strategy_of(ambit_schedule_strategy strategy) {
    switch (strategy) {
    case AMBIT_SCHEDULE_RANDOM:
        return &ambit__strategy_random;
    case AMBIT_SCHEDULE_PCT:
        return &ambit__strategy_pct;
    case AMBIT_SCHEDULE_EXHAUSTIVE:
        return &ambit__strategy_explore;
    default:
        return &ambit__strategy_mixed;
    }
}

static double now_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- Options --------------------------------------------------------------------------------- */

static bool refuse(const char *name, const char *what) {
    (void)fprintf(stderr, "ambit_schedule_run: %s: %s\n", name ? name : "(no name)", what);
    return false;
}

static bool make_sense(ambit_schedule_fn *scenario, const ambit_schedule_options *given) {
    char text[160];
    if (!scenario) return refuse(given->name, "scenario is NULL, expected a function");
    if ((unsigned)given->strategy > AMBIT_SCHEDULE_EXHAUSTIVE) {
        (void)snprintf(text, sizeof text,
                       "strategy is %d, expected one of ambit_schedule_strategy, 0 to %d",
                       (int)given->strategy, AMBIT_SCHEDULE_EXHAUSTIVE);
        return refuse(given->name, text);
    }
    const char *name = strategy_names[given->strategy];
    if (given->depth && given->strategy != AMBIT_SCHEDULE_PCT) {
        (void)snprintf(text, sizeof text,
                       "depth is %u with the strategy %s, expected 0: it is PCT's", given->depth,
                       name);
        return refuse(given->name, text);
    }
    if (given->depth > 64) {
        (void)snprintf(text, sizeof text, "depth is %u, expected 1 to 64", given->depth);
        return refuse(given->name, text);
    }
    if (given->preemptions && given->strategy != AMBIT_SCHEDULE_EXHAUSTIVE) {
        (void)snprintf(text, sizeof text,
                       "preemptions is %u with the strategy %s, expected 0: only the exhaustive "
                       "one counts them",
                       given->preemptions, name);
        return refuse(given->name, text);
    }
    if (given->early_ns < 0) {
        (void)snprintf(text, sizeof text, "early_ns is %" PRId64 ", expected 0 or more",
                       given->early_ns);
        return refuse(given->name, text);
    }
    if (given->steps > STEPS_MOST) {
        (void)snprintf(text, sizeof text, "steps is %" PRIu64 ", expected at most %d", given->steps,
                       STEPS_MOST);
        return refuse(given->name, text);
    }
    return true;
}

static void fill_in(ambit_schedule_options *options) {
    if (!options->name) options->name = "scenario";
    if (!options->schedules) options->schedules = 10000;
    if (!options->seed) options->seed = 1;
    if (!options->depth) options->depth = 3;
    if (!options->steps) options->steps = 20000;
    if (!options->early_ns) options->early_ns = 1000000;
}

/* ---- One schedule ---------------------------------------------------------------------------- */

/* The seeds of calibration are random's, whatever the strategy: so they can be played again by
 * themselves. */
static bool play(ambit__run_state *run, const ambit__strategy *strategy, uint64_t seed) {
    if (seed - CALIBRATION_SEED <= CALIBRATIONS) strategy = &ambit__strategy_random;
    run->strategy = strategy;
    run->seed = seed;
    ambit__playing = (ambit__now_playing){strategy, seed};
    bool clean = ambit__play(strategy, seed, run->scenario, run->options.argument);
    if (ambit__found.steps > ambit__result.steps_most)
        ambit__result.steps_most = ambit__found.steps;
    if (ambit__thread_count > run->threads_most) run->threads_most = ambit__thread_count;
    return clean;
}

static bool play_before(ambit__run_state *run) {
    if (!run->options.before) return true;
    bool no_leaks = run->options.no_leaks;
    ambit__follow_set(NULL, 0);
    run->options.no_leaks = true; /* what it leaves is for the schedules */
    ambit__keeping = true;
    run->strategy = &ambit__strategy_follow;
    bool clean = ambit__play(run->strategy, 0, run->options.before, run->options.argument);
    ambit__keeping = false;
    if (clean) {
        ambit__keep_all();
        run->options.no_leaks = no_leaks;
    } else {
        ambit__undo_all(); /* it is what is told, as a schedule of its own */
        run->scenario = run->options.before;
        run->before_failed = true;
    }
    return clean;
}

/* The seed of the first that failed, or 0. */
static uint64_t calibrate(ambit__run_state *run) {
    uint64_t failed = 0;
    run->pct_steps = 0;
    for (uint64_t i = 1; i <= CALIBRATIONS; i++) {
        if (!play(run, &ambit__strategy_random, CALIBRATION_SEED + i) && !failed)
            failed = CALIBRATION_SEED + i;
        if (ambit__found.picked > run->pct_steps) run->pct_steps = ambit__found.picked;
    }
    ambit__pct_set(run->options.depth, run->pct_steps);
    return failed;
}

/* ---- All of them ----------------------------------------------------------------------------- */

static void print_progress(const ambit__run_state *run, uint64_t done, double seconds) {
    (void)fprintf(stderr, "\r%s: %" PRIu64 " of %" PRIu64 " schedules, %.0f/s ", run->options.name,
                  done, run->options.schedules, (double)done / seconds);
    (void)fflush(stderr);
}

/* Often at first, for short runs. */
static bool is_played_twice(uint64_t done) {
    return done % TWICE_EVERY == 0 || !(done & (done - 1));
}

/* True: all are clean. */
static bool play_all(ambit__run_state *run) {
    const ambit__strategy *strategy = strategy_of(run->options.strategy);
    bool shows = !run->options.quiet && !run->plan->search_only && isatty(STDERR_FILENO);
    double start = now_seconds(), shown = start;
    bool clean = true;
    for (uint64_t done = 0; clean && done < run->options.schedules; done++) {
        clean = play(run, strategy, run->options.seed + done);
        ambit__result.schedules++;
        if (!clean) break;
        uint64_t hash = ambit__found.hash;
        if (strategy->finish && !strategy->finish()) ambit__result.complete = true;
        if (is_played_twice(done)) clean = ambit__again_same(run);
        ambit__result.trace_hash = hash;
        if (ambit__result.complete) break;
        if (!shows || done % LOOK_EVERY) continue;
        double now = now_seconds();
        if (now - shown < PROGRESS_SECONDS) continue;
        print_progress(run, done + 1, now - start);
        shown = now;
    }
    if (shows && shown > start) (void)fputs("\r\033[K", stderr);
    return clean;
}

static bool search(ambit__run_state *run) {
    uint64_t failed = 0;
    bool calibrated = run->options.strategy == AMBIT_SCHEDULE_PCT ||
                      run->options.strategy == AMBIT_SCHEDULE_MIXED;
    ambit__explore_set(run->options.preemptions);
    if (calibrated) failed = calibrate(run);
    if (!play_all(run)) return false;
    return !failed || play(run, &ambit__strategy_random, failed);
}

/* The first seed, many times. */
static bool replay(ambit__run_state *run) {
    const ambit__strategy *strategy = strategy_of(run->options.strategy);
    uint64_t hash = 0;
    if (run->options.strategy != AMBIT_SCHEDULE_RANDOM) (void)calibrate(run);
    run->plan->replays_same = 0;
    for (uint64_t i = 0; i < run->plan->replays; i++) {
        (void)play(run, strategy, run->options.seed);
        ambit__result.schedules++;
        if (i == 0) hash = ambit__found.hash;
        if (ambit__found.hash == hash) run->plan->replays_same++;
    }
    ambit__result.trace_hash = hash;
    ambit__found.failure = AMBIT_SCHEDULE_CLEAN; /* whether it fails is not what was asked */
    return true;
}

static bool play_choices(ambit__run_state *run) {
    ambit__follow_set(run->plan->choices, run->plan->choice_count);
    bool clean = play(run, &ambit__strategy_follow, 0);
    ambit__result.schedules = 1;
    ambit__result.trace_hash = ambit__found.hash;
    return clean;
}

/* ---- The end --------------------------------------------------------------------------------- */

static double power(double base, uint64_t exponent) {
    double result = 1;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1) result *= base;
        base *= base;
    }
    return result;
}

/* 1 / (n k^(d-1)) for a schedule; for all of them, as they know nothing of each other, 1 - (1 -
 * p)^N. */
static void print_bound(const ambit__run_state *run) {
    double one = 1 / (run->threads_most * power((double)run->pct_steps, run->options.depth - 1));
    double all =
        one * (double)ambit__result.schedules; /* if that is so small that 1 - p is inexact */
    if (all > 1e-6) all = 1 - power(1 - one, ambit__result.schedules);
    (void)printf(
        "     PCT, %u threads, %" PRIu64 " steps: a bug of depth %u shows in a schedule with a "
        "probability of %.2g\n     or more, in %" PRIu64 " of them with %.3g or more\n",
        run->threads_most, run->pct_steps, run->options.depth, one, ambit__result.schedules, all);
}

static void print_clean(const ambit__run_state *run) {
    double seconds = ambit__result.seconds;
    (void)printf("ok   %s: %" PRIu64 " schedules (%s), %" PRIu64 " steps at most, %.2f s, %.0f/s\n",
                 run->options.name, ambit__result.schedules, strategy_names[run->options.strategy],
                 ambit__result.steps_most, seconds,
                 seconds > 0 ? (double)ambit__result.schedules / seconds : 0);
    if (run->options.strategy == AMBIT_SCHEDULE_PCT && run->threads_most) print_bound(run);
    if (run->options.strategy == AMBIT_SCHEDULE_EXHAUSTIVE)
        (void)printf(ambit__result.complete
                         ? "     complete: there is no other schedule%s\n"
                         : "     not complete: there are more schedules than were asked for%s\n",
                     run->options.preemptions ? " with so few preemptions" : "");
    (void)fflush(stdout);
}

static int finish(ambit__run_state *run, bool clean) {
    if (!clean) {
        ambit__again_keep(run);
        ambit__result.failure = run->first.failure;
        ambit__result.seed = run->seed;
        ambit__result.trace_hash = run->first.hash;
        if (!run->plan->search_only) ambit__again_explain(run);
        if (run->plan->search_only || run->options.quiet) ambit__found = run->first;
        ambit__report_message(&ambit__found, ambit__result.message, sizeof ambit__result.message);
    } else if (!run->options.quiet && !run->plan->search_only && !run->plan->replays) {
        print_clean(run);
    }
    if (run->options.result) *run->options.result = ambit__result;
    return clean ? 0 : 1;
}

int ambit__run(ambit_schedule_fn *scenario, const ambit_schedule_options *options,
               ambit__plan *plan) {
    static const ambit_schedule_options none;
    static ambit__run_state run;
    if (!options) options = &none;
    if (!make_sense(scenario, options)) return 2;
    if (!ambit__instrumented) {
        (void)refuse(options->name, "nothing in this program is compiled with -fsanitize=thread");
        return 2;
    }
    run = (ambit__run_state){
        .scenario = scenario, .options = *options, .plan = plan, .choices = run.choices};
    fill_in(&run.options);
    if (!ambit__host_prepare(AMBIT__THREADS)) {
        (void)refuse(run.options.name, "no threads to be had from the system, expected 8");
        return 2;
    }
    ambit__result = (ambit_schedule_result){.failure = AMBIT_SCHEDULE_CLEAN};
    ambit__options = &run.options;
    ambit__forget_all();
    ambit__crash_catch(true);
    ambit__watchdog_start();
    double start = now_seconds();
    bool clean = play_before(&run);
    if (clean) {
        if (plan->choices)
            clean = play_choices(&run);
        else
            clean = plan->replays ? replay(&run) : search(&run);
    }
    ambit__result.seconds = now_seconds() - start;
    int status = finish(&run, clean);
    ambit__watchdog_stop();
    ambit__crash_catch(false);
    ambit__options = NULL;
    return status;
}

int ambit_schedule_run(ambit_schedule_fn *scenario, const ambit_schedule_options *options) {
    ambit__plan plan = {.search_only = false};
    if (ambit__self)
        ambit__fail(AMBIT_SCHEDULE_MISUSE, __builtin_return_address(0), NULL,
                    "ambit_schedule_run() was called in a scenario, expected outside of one");
    return ambit__run(scenario, options, &plan);
}
