/* What was measured, as a table for people and as JSON. */
#include "compare.h"

#include <math.h>
#include <string.h>

#define RATIO_TOLERANCE 0.03
enum { WIDTH = 100, INDENT = 4 };

double median(const bench_series *series) {
    if (!series->rounds) return 0;
    unsigned half = series->rounds / 2;
    if (series->rounds % 2) return series->ns[half];
    return (series->ns[half - 1] + series->ns[half]) / 2;
}

static double lowest(const bench_series *series) { return series->rounds ? series->ns[0] : 0; }
static double highest(const bench_series *series) {
    return series->rounds ? series->ns[series->rounds - 1] : 0;
}

static bool is_floor(const bench_contestant *contestant) {
    return !strcmp(contestant->name, "floor");
}

const bench_series *floor_of(const bench_result *result) {
    for (unsigned i = 1; i < result->row->contestant_count; i++)
        if (is_floor(&result->row->contestants[i]) && result->series[i].rounds)
            return &result->series[i];
    return NULL;
}

unsigned best_peer(const bench_result *result) {
    unsigned best = 0;
    for (unsigned i = 1; i < result->row->contestant_count; i++) {
        const bench_contestant *contestant = &result->row->contestants[i];
        if (is_floor(contestant) || contestant->less || !result->series[i].rounds) continue;
        if (!best || median(&result->series[i]) < median(&result->series[best])) best = i;
    }
    return best;
}

static double ratio(const bench_result *result) {
    double own = median(&result->series[0]);
    unsigned best = best_peer(result);
    return best && own > 0 ? median(&result->series[best]) / own : 0;
}

static bool is_known(const bench_result *result) {
    if (!result->series[0].rounds) return false;
    return result->target.kind == TARGET_RATIO ? best_peer(result) != 0 : result->target_ns > 0;
}

bool is_met(const bench_result *result) {
    if (!is_known(result)) return false;
    if (result->target.kind == TARGET_RATIO)
        return fabs(ratio(result) - result->target.value) <= RATIO_TOLERANCE;
    return median(&result->series[0]) <= result->target_ns;
}

/* ---- The table ------------------------------------------------------------------------------- */

/* Three digits that count, and half of the distance between the lowest and the highest round. */
static void format_series(char *text, size_t size, const bench_series *series) {
    double middle = median(series);
    double spread = middle > 0 ? (highest(series) - lowest(series)) / middle * 50 : 0;
    int digits = middle < 10 ? 2 : middle < 100 ? 1 : 0;
    snprintf(text, size, "%.*f +-%.0f%%", digits, middle, spread);
}

/* Adds to a list that is broken into lines of the table's width. `used` is how much of its line is,
 * 0 before the first. */
static void print_item(const char *text, size_t *used) {
    size_t length = strlen(text);
    if (!*used)
        *used = (size_t)printf("%*s%s", INDENT, "", text);
    else if (*used + 2 + length > WIDTH)
        *used = (size_t)printf(",\n%*s%s", INDENT, "", text) - 2;
    else
        *used += (size_t)printf(", %s", text);
}

void print_programs(void) {
    size_t used = 0;
    for (unsigned i = 0; i < program_count; i++)
        if (programs[i].present) print_item(programs[i].about, &used);
    printf("\n");
    for (unsigned i = 0; i < program_count; i++)
        if (!programs[i].present)
            printf("skipped: %s is not built; is its Debian package there?\n", programs[i].name);
}

void print_heading(void) {
    printf("\nns for an operation, as one thread sees it: median of the rounds, +- half of the "
           "distance\nfrom the lowest to the highest; ahead: the best peer's time over ambit's\n\n"
           "%-25s %7s  %-14s %-16s %-14s %-26s %s\n",
           "row", "threads", "ambit", "target", "floor", "best peer", "ahead");
}

static void format_target(char *text, size_t size, const bench_result *result) {
    if (!is_known(result))
        snprintf(text, size, "-");
    else if (result->target.kind == TARGET_RATIO)
        snprintf(text, size, "ahead %.2f %s", result->target.value, is_met(result) ? "met" : "NO");
    else
        snprintf(text, size, "%.*f %s", result->target_ns < 10 ? 2 : 1, result->target_ns,
                 is_met(result) ? "met" : "MISSED");
}

static void format_floor(char *text, size_t size, const bench_result *result) {
    const bench_series *floor = floor_of(result);
    if (!floor)
        snprintf(text, size, "-");
    else
        snprintf(text, size, "%.2f, x %.2f", median(floor),
                 median(&result->series[0]) / median(floor));
}

static void format_best(char *text, size_t size, const bench_result *result) {
    unsigned best = best_peer(result);
    char figure[64];
    if (!best) {
        snprintf(text, size, "-");
        return;
    }
    format_series(figure, sizeof figure, &result->series[best]);
    snprintf(text, size, "%s %s", result->row->contestants[best].name, figure);
}

static void print_others(const bench_result *result) {
    unsigned best = best_peer(result);
    size_t used = 0;
    for (unsigned i = 1; i < result->row->contestant_count; i++) {
        const bench_contestant *contestant = &result->row->contestants[i];
        const char *skipped = result->series[i].skipped;
        char figure[64], text[TEXT];
        if (i == best || (is_floor(contestant) && !skipped)) continue;
        format_series(figure, sizeof figure, &result->series[i]);
        snprintf(text, sizeof text, "%s%s %s", contestant->less ? "~" : "", contestant->name,
                 skipped ? skipped : figure);
        print_item(text, &used);
    }
    if (used) printf("\n");
}

void print_result(const bench_result *result) {
    char own[64] = "failed", target[64], floor[64], best[TEXT], ahead[32] = "";
    static const bench_row *last;
    if (result->series[0].rounds) format_series(own, sizeof own, &result->series[0]);
    format_target(target, sizeof target, result);
    format_floor(floor, sizeof floor, result);
    format_best(best, sizeof best, result);
    if (best_peer(result)) snprintf(ahead, sizeof ahead, "x %.2f", ratio(result));
    if (result->row != last) printf("%s: %s\n", result->row->name, result->row->work);
    last = result->row;
    printf("%-25s %7u  %-14s %-16s %-14s %-26s %s\n", "", result->threads, own, target, floor, best,
           ahead);
    print_others(result);
    if (result->disturbed)
        printf("%*s%u of the measurements were disturbed by other processes\n", INDENT, "",
               result->disturbed);
}

static void print_list(const char *title, const bench_result *results, unsigned count,
                       bool (*belongs)(const bench_result *)) {
    for (unsigned i = 0; i < count; i++) {
        const bench_result *at = &results[i];
        if (!belongs(at)) continue;
        if (title) printf("%s\n", title);
        title = NULL;
        printf("%*s%s, %u thread%s\n", INDENT, "", at->row->name, at->threads,
               at->threads == 1 ? "" : "s");
    }
}

static bool is_missed(const bench_result *result) { return is_known(result) && !is_met(result); }
static bool is_behind(const bench_result *result) {
    return result->target.kind != TARGET_RATIO && best_peer(result) && ratio(result) < 1;
}

void print_summary(const bench_result *results, unsigned count) {
    unsigned met = 0, known = 0, rejected = 0, disturbed = 0;
    for (unsigned i = 0; i < count; i++) {
        known += is_known(&results[i]);
        met += is_met(&results[i]);
        rejected += results[i].rejected;
        disturbed += results[i].disturbed;
    }
    printf("\n");
    print_list("targets missed:", results, count, is_missed);
    print_list("behind the best peer:", results, count, is_behind);
    printf("%u of %u targets met; %u measurements were thrown away because others used the "
           "processors, %u taken all the same\n",
           met, known, rejected, disturbed);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void write_text(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', file);
        fputc(*text, file);
    }
    fputc('"', file);
}

static void write_number(FILE *file, const char *name, double value, bool known) {
    fprintf(file, ", \"%s\": ", name);
    if (known)
        fprintf(file, "%.4g", value);
    else
        fprintf(file, "null");
}

static void write_peers(FILE *file, const bench_result *result) {
    const char *comma = "";
    fprintf(file, ", \"peers\": {");
    for (unsigned i = 1; i < result->row->contestant_count; i++) {
        if (is_floor(&result->row->contestants[i]) || !result->series[i].rounds) continue;
        fprintf(file, "%s\"%s\": %.4g", comma, result->row->contestants[i].name,
                median(&result->series[i]));
        comma = ", ";
    }
    fprintf(file, "}, \"does_less\": [");
    comma = "";
    for (unsigned i = 1; i < result->row->contestant_count; i++) {
        if (!result->row->contestants[i].less) continue;
        fprintf(file, "%s\"%s\"", comma, result->row->contestants[i].name);
        comma = ", ";
    }
    fprintf(file, "], \"skipped\": {");
    comma = "";
    for (unsigned i = 1; i < result->row->contestant_count; i++) {
        if (!result->series[i].skipped) continue;
        fprintf(file, "%s\"%s\": \"%s\"", comma, result->row->contestants[i].name,
                result->series[i].skipped);
        comma = ", ";
    }
    fprintf(file, "}");
}

static void write_result(FILE *file, const bench_result *result) {
    const bench_series *own = &result->series[0], *floor = floor_of(result);
    unsigned best = best_peer(result);
    fprintf(file, "  {\"row\": \"%s\", \"threads\": %u", result->row->name, result->threads);
    write_number(file, "ambit_ns", median(own), own->rounds);
    write_peers(file, result);
    fprintf(file, ", \"best_peer\": ");
    if (best)
        write_text(file, result->row->contestants[best].name);
    else
        fprintf(file, "null");
    write_number(file, "ratio", ratio(result), best);
    write_number(file, "floor_ns", floor ? median(floor) : 0, floor);
    write_number(file, "ambit_low_ns", lowest(own), own->rounds);
    write_number(file, "ambit_high_ns", highest(own), own->rounds);
    write_number(file, "target_ns", result->target_ns, result->target_ns > 0);
    fprintf(file, ", \"met\": %s", !is_known(result) ? "null" : is_met(result) ? "true" : "false");
    fprintf(file, ", \"rounds\": %u, \"rejected\": %u, \"disturbed\": %u, \"work\": ", own->rounds,
            result->rejected, result->disturbed);
    write_text(file, result->row->work);
    fprintf(file, "}");
}

void write_json(FILE *file, const bench_result *results, unsigned count) {
    fprintf(file, "[\n");
    for (unsigned i = 0; i < count; i++) {
        write_result(file, &results[i]);
        fprintf(file, i + 1 < count ? ",\n" : "\n");
    }
    fprintf(file, "]\n");
}
