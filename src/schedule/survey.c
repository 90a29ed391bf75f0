/* --mutants: each memory order in turn is weakened, and a test must notice.
 *
 * Each mutant has a child of its own: one that breaks the program may break it thoroughly. Most are
 * killed within few schedules, so all tests get a few first, and those that remain get the rest. */
#include <inttypes.h>
#include <stdlib.h>

#include "schedule/main.h"

#define FIRST_SHARE 16 /* of the schedules, in the first round */

void ambit__survey_name(const ambit__mutant *mutant, char *text, size_t bytes) {
    char where[300];
    if (mutant->place.file)
        (void)snprintf(where, sizeof where, "%s:%d:%d %s()", mutant->place.file, mutant->place.line,
                       mutant->place.column, mutant->place.function);
    else
        (void)ambit__site_text(mutant->site, where, sizeof where);
    if (mutant->kind == AMBIT__OP_LIGHT_BARRIER || mutant->kind == AMBIT__OP_HEAVY_BARRIER)
        (void)snprintf(text, bytes, "%s %s barrier", where,
                       mutant->kind == AMBIT__OP_LIGHT_BARRIER ? "light" : "heavy");
    else if (mutant->to == AMBIT__RELAXED)
        (void)snprintf(text, bytes, "%s %s", where, ambit__order_name(mutant->from));
    else
        (void)snprintf(text, bytes, "%s %s to %s", where, ambit__order_name(mutant->from),
                       ambit__order_name(mutant->to));
}

typedef struct round {
    uint64_t first_seed, schedules;
} round;

typedef enum fate { SURVIVED, KILLED, UNKNOWN } fate;

static fate try(const ambit__mutant *mutant, const ambit__job *with, const ambit__command *command,
                ambit__verdict *verdict) {
    uint64_t all = command->mutant_schedules, few = all / FIRST_SHARE + 1, before = 0;
    uint64_t seed = command->seed ? command->seed : 1;
    const round rounds[] = {{seed, few}, {seed + few, all > few ? all - few : 0}};
    ambit__command once = *command;
    ambit__job job = *with;
    job.mutant = mutant;
    job.command = &once;
    for (unsigned i = 0; i < 2 && rounds[i].schedules; i++) {
        once.seed = rounds[i].first_seed;
        once.schedules = rounds[i].schedules;
        if (!ambit__main_fork(&job, verdict)) return UNKNOWN;
        verdict->schedules += before;
        before = verdict->schedules;
        if (verdict->failed < job.count) return KILLED;
    }
    return SURVIVED;
}

static void print_killed(const char *name, const ambit__job *job, const ambit__verdict *verdict) {
    const ambit_schedule_result *result = &verdict->outcome.result;
    const char *test = job->tests[verdict->failed]->name;
    (void)printf("killed   %s\n", name);
    if (verdict->outcome.signal)
        (void)printf("           the process died, after %" PRIu64 " schedules\n",
                     verdict->schedules);
    else
        (void)printf("           by %s, seed 0x%" PRIx64 ", schedule %" PRIu64 ": %s\n", test,
                     result->seed, verdict->schedules, ambit__failure_name(result->failure));
}

/* False: that cannot be found out. */
static bool judge(const ambit__mutant *mutant, const ambit__job *job, const ambit__command *command,
                  ambit__survey *survey) {
    ambit__verdict verdict = {.failed = 0};
    char name[512];
    ambit__survey_name(mutant, name, sizeof name);
    switch (try(mutant, job, command, &verdict)) {
    case UNKNOWN:
        perror("--mutants: no process to be had for it");
        return false;
    case SURVIVED:
        survey->survivors[survey->survivor_count++] = mutant;
        (void)printf("SURVIVED %s\n           %" PRIu64 " schedules were clean\n", name,
                     verdict.schedules);
        break;
    case KILLED:
        survey->killed++;
        if (!survey->first_killed && !verdict.outcome.signal) {
            survey->first_killed = mutant;
            survey->killer = job->tests[verdict.failed];
            survey->killer_seed = verdict.outcome.result.seed;
        }
        if (!command->survivors_only) print_killed(name, job, &verdict);
    }
    (void)fflush(stdout);
    return true;
}

bool ambit__survey_run(const ambit__schedule_test *const *tests, unsigned count,
                       const ambit__command *command, const char *covers, ambit__survey *survey) {
    const ambit__mutant *mutants;
    unsigned sites = ambit__mutants_list(covers, command->halves, &mutants);
    ambit__job job = {.tests = tests, .count = count, .plan = {.search_only = true}};
    survey->sites = sites;
    survey->survivors = calloc(sites + 1u, sizeof(ambit__mutant *));
    if (!survey->survivors) return false;
    ambit__mutants_weaken(NULL); /* what is met from here on is of no interest */
    for (unsigned i = 0; i < sites; i++)
        if (!judge(&mutants[i], &job, command, survey)) return false;
    if (!sites)
        (void)printf("No memory order of the covered files was met that is more than relaxed: are "
                     "their names right\n(AMBIT_SCHEDULE_COVERS), and is there debug information "
                     "(-g)?\n");
    (void)printf(
        "%u of %u orders are needed, as a test has noticed; %u survived. Orders that no test "
        "reaches are not known.\n",
        survey->killed, sites, survey->survivor_count);
    return true;
}
