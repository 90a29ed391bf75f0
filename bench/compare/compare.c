/* Plans: which rows, with how many threads, in rounds of all contestants one after the other. */
#include "compare.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* For so long others may have a contestant's processors: this part of its time, and once for as
 * long as the scheduler leaves a thread in place. Beyond it the measurement is thrown away. */
#define WAITED_PART_MAX 0.01
#define WAITED_ONCE_MS 2.0
enum { PAUSE_US = 100000 };

static struct {
    const char *rows, *folder, *only, *json, *threads;
    unsigned rounds, milliseconds, patience_s;
} options = {.rounds = 7, .milliseconds = 200, .patience_s = 15};

static bench_result results[ROWS * THREADS];
static unsigned result_count, steps, steps_done;
static double started;
static bool failed;

_Noreturn void give_up(const char *what, const char *which) {
    fprintf(stderr, "bench: %s: %s\n", what, which);
    exit(2);
}

double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- Options: bench/run has checked them, and says what they are ----------------------------- */

static unsigned number(const char *text) { return (unsigned)strtoul(text, NULL, 10); }

static void read_options(int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        const char *option = argv[i], *value = argv[i + 1];
        if (!value) give_up("no value for", option);
        if (!strcmp(option, "--rows"))
            options.rows = value;
        else if (!strcmp(option, "--contestants"))
            options.folder = value;
        else if (!strcmp(option, "--only"))
            options.only = value;
        else if (!strcmp(option, "--json"))
            options.json = value;
        else if (!strcmp(option, "--threads"))
            options.threads = value;
        else if (!strcmp(option, "--rounds"))
            options.rounds = number(value);
        else if (!strcmp(option, "--milliseconds"))
            options.milliseconds = number(value);
        else if (!strcmp(option, "--patience"))
            options.patience_s = number(value);
        else
            give_up("unknown option", option);
    }
    if (!options.rows || !options.folder) give_up("must be told", "--rows and --contestants");
    if (options.rounds < 1 || options.rounds > ROUNDS) give_up("rounds", "1 to 99");
    if (options.milliseconds < 1) give_up("milliseconds", "at least 1");
}

/* ---- The plan -------------------------------------------------------------------------------- */

static bool wants_threads(unsigned threads) {
    const char *list = options.threads;
    for (char *end; list && *list; list = end + (*end == ','))
        if (strtoul(list, &end, 10) == threads) return true;
    return !options.threads;
}

static const char *why_skipped(const bench_contestant *contestant) {
    if (!contestant->program->present) return "not built";
    return has_row(contestant->program, contestant->row) ? NULL : "cannot do it";
}

static void plan_row(const bench_row *row) {
    for (unsigned i = 0; i < row->thread_counts; i++) {
        if (!wants_threads(row->threads[i])) continue;
        bench_result *planned = &results[result_count++];
        planned->row = row;
        planned->threads = row->threads[i];
        planned->target = row->targets[i];
        for (unsigned k = 0; k < row->contestant_count; k++) {
            planned->series[k].skipped = why_skipped(&row->contestants[k]);
            if (!planned->series[k].skipped) steps += options.rounds;
        }
        if (planned->series[0].skipped) give_up("ambit itself cannot do the row", row->name);
    }
}

static void plan(void) {
    regex_t only;
    if (regcomp(&only, options.only ? options.only : ".", REG_EXTENDED | REG_NOSUB))
        give_up("not a regular expression", options.only);
    for (unsigned i = 0; i < program_count; i++) look_at(&programs[i], options.folder);
    for (unsigned i = 0; i < row_count; i++)
        if (!regexec(&only, rows[i].name, 0, NULL, 0)) plan_row(&rows[i]);
    regfree(&only);
    if (!result_count) give_up("no row is left", "by --only and --threads");
}

/* ---- The rounds ------------------------------------------------------------------------------ */

static void show_progress(const bench_result *result, const char *contestant, unsigned round) {
    if (!isatty(STDERR_FILENO)) return;
    double passed = now_s() - started;
    unsigned left = steps_done ? (unsigned)(passed / steps_done * (steps - steps_done)) : 0;
    fprintf(stderr, "\r\033[K[%u/%u] %s, %u thread%s, round %u of %u: %s; %u:%02u left",
            (unsigned)(result - results) + 1, result_count, result->row->name, result->threads,
            result->threads == 1 ? "" : "s", round + 1, options.rounds, contestant, left / 60,
            left % 60);
}

static void hide_progress(void) {
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
}

/* Measures until nobody was in the way, or patience with this row is over. */
static void measure_once(bench_result *result, unsigned index, double *patience_s) {
    const bench_contestant *contestant = &result->row->contestants[index];
    bench_series *series = &result->series[index];
    double allowed_part = WAITED_PART_MAX + WAITED_ONCE_MS / options.milliseconds;
    for (;;) {
        bench_measurement measured;
        double began = now_s();
        if (!measure(contestant, options.folder, result->threads, options.milliseconds,
                     &measured)) {
            hide_progress();
            fprintf(stderr, "bench: %s failed in %s\n", contestant->name, result->row->name);
            series->skipped = "failed";
            failed = true;
            return;
        }
        bool disturbed = measured.waited_part > allowed_part;
        if (disturbed && *patience_s > 0) {
            result->rejected++;
            usleep(PAUSE_US); /* what disturbed may be over then */
            *patience_s -= now_s() - began;
            continue;
        }
        result->disturbed += disturbed;
        series->ns[series->rounds++] = measured.ns;
        return;
    }
}

static int compare_ns(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void run_rounds(bench_result *result) {
    double patience_s = options.patience_s;
    for (unsigned round = 0; round < options.rounds; round++) {
        for (unsigned i = 0; i < result->row->contestant_count; i++) {
            if (result->series[i].skipped) continue;
            show_progress(result, result->row->contestants[i].name, round);
            measure_once(result, i, &patience_s);
            steps_done++;
        }
    }
    hide_progress();
    for (unsigned i = 0; i < result->row->contestant_count; i++)
        qsort(result->series[i].ns, result->series[i].rounds, sizeof(double), compare_ns);
}

/* What the target is in nanoseconds, now that the row has been measured. */
static double target_ns(const bench_result *result) {
    const bench_series *floor = floor_of(result);
    switch (result->target.kind) {
    case TARGET_NS:
        return result->target.value;
    case TARGET_FLOOR:
        return floor ? median(floor) * 1.5 : 0;
    case TARGET_SAME:
        for (unsigned i = 0; i < result_count; i++)
            if (results[i].row == result->row && results[i].threads == 1)
                return median(&results[i].series[0]) * 2 / 1.9;
        return 0;
    case TARGET_NONE:
    case TARGET_RATIO:
        break;
    }
    return 0;
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    read_rows(options.rows);
    plan();
    FILE *json = options.json ? fopen(options.json, "w") : NULL;
    if (options.json && !json) give_up("cannot write", options.json);
    printf("%u rounds of %u ms, all contestants of a row in turn\n", options.rounds,
           options.milliseconds);
    print_programs();
    print_heading();
    started = now_s();
    for (unsigned i = 0; i < result_count; i++) {
        run_rounds(&results[i]);
        results[i].target_ns = target_ns(&results[i]);
        print_result(&results[i]);
        fflush(stdout);
        failed |= results[i].target.kind == TARGET_RATIO && !is_met(&results[i]);
    }
    print_summary(results, result_count);
    if (json) {
        write_json(json, results, result_count);
        if (fclose(json)) give_up("cannot write", options.json);
    }
    return failed;
}
