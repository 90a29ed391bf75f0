/* Tests by name, and the command line that runs them.
 *
 * One test alone is run in this process, so that a debugger sees it. Several have a child each: what
 * the `before` of one leaves in memory is not there for the next, so a test takes the same way alone as it
 * does among others, and its seeds are worth something. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <regex.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "schedule/main.h"

#define REPLAYS 100 /* for the figures */

static ambit__schedule_test *first_test, **last_link = &first_test;
static unsigned test_count;
static char covers[4096];

void ambit__schedule_register(ambit__schedule_test *test) {
    test->next = NULL;
    *last_link = test;
    last_link = &test->next;
    test_count++;
}

void ambit__schedule_covers(const char *paths) {
    size_t length = strlen(covers);
    if (length + strlen(paths) + 2 > sizeof covers) {
        (void)fprintf(stderr, "AMBIT_SCHEDULE_COVERS: expected at most %zu letters in all\n",
                      sizeof covers);
        abort();
    }
    (void)snprintf(covers + length, sizeof covers - length, "%s ", paths);
}

/* ---- One test -------------------------------------------------------------------------------- */

/* The test's own options, and what the command says instead. */
static ambit_schedule_options options_of(const ambit__schedule_test *test,
                                         const ambit__command *command) {
    ambit_schedule_options options = test->options;
    options.name = test->name; /* --only knows it by this one */
    if (command->schedules) options.schedules = command->schedules;
    if (command->seed) options.seed = command->seed;
    if (command->strategy_given) {
        options.strategy = command->strategy;
        if (options.strategy != AMBIT_SCHEDULE_PCT) options.depth = 0;
        if (options.strategy != AMBIT_SCHEDULE_EXHAUSTIVE) options.preemptions = 0;
    }
    if (command->depth) options.depth = command->depth;
    if (command->preemptions) options.preemptions = command->preemptions;
    if (command->quiet) options.quiet = true;
    return options;
}

void ambit__main_run(const ambit__schedule_test *test, const ambit__command *command,
                     ambit__plan *plan, ambit__outcome *outcome) {
    ambit_schedule_options options = options_of(test, command);
    ambit_schedule_result *asked = options.result;
    options.result = &outcome->result;
    outcome->status = ambit__run(test->scenario, &options, plan);
    outcome->replays_same = plan->replays_same;
    if (asked) *asked = outcome->result;
}

/* ---- Children -------------------------------------------------------------------------------- */

static void run_job(const ambit__job *job, ambit__verdict *verdict) {
    if (job->mutant) ambit__mutants_weaken(job->mutant);
    for (unsigned i = 0; i < job->count; i++) {
        ambit__plan plan = job->plan;
        ambit__main_run(job->tests[i], job->command, &plan, &verdict->outcome);
        verdict->schedules += verdict->outcome.result.schedules;
        verdict->seconds += verdict->outcome.result.seconds;
        if (verdict->outcome.status == 0) continue;
        verdict->failed = i;
        return;
    }
}

/* What both see. NULL: no memory. */
static ambit__verdict *shared_verdict(void) {
    static ambit__verdict *shared;
    if (!shared) {
        void *memory =
            mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return NULL;
        shared = memory;
    }
    return shared;
}

bool ambit__main_fork(const ambit__job *job, ambit__verdict *verdict) {
    ambit__verdict *shared = shared_verdict();
    if (!shared) return false;
    *shared = (ambit__verdict){.failed = job->count, .outcome = {.status = 1}};
    (void)fflush(NULL);
    pid_t child = fork();
    if (child < 0) return false;
    if (child == 0) {
        run_job(job, shared);
        (void)fflush(NULL);
        _exit(0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) return false;
    *verdict = *shared;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        /* It has come to an end by itself, outside of what the runtime sees: stuck, or crashed
         * there. */
        verdict->outcome.status = 1;
        verdict->outcome.signal = WIFSIGNALED(status) ? WTERMSIG(status) : -1;
        if (verdict->failed == job->count) verdict->failed = 0;
    }
    return true;
}

/* ---- Which ones ------------------------------------------------------------------------------ */

static bool named_exactly(const char *name) {
    for (const ambit__schedule_test *test = first_test; test; test = test->next)
        if (strcmp(test->name, name) == 0) return true;
    return false;
}

static bool matches(const char *name, const char *pattern) {
    regex_t expression;
    if (named_exactly(pattern)) return strcmp(name, pattern) == 0;
    if (regcomp(&expression, pattern, REG_EXTENDED | REG_NOSUB)) return false;
    bool matched = regexec(&expression, name, 0, NULL, 0) == 0;
    regfree(&expression);
    return matched;
}

static bool is_chosen(const ambit__schedule_test *test, const ambit__command *command) {
    for (unsigned i = 0; i < command->only_count; i++)
        if (matches(test->name, command->only[i])) return true;
    return command->only_count == 0;
}

static bool each_only_means_something(const ambit__command *command) {
    for (unsigned i = 0; i < command->only_count; i++) {
        bool used = false;
        for (const ambit__schedule_test *test = first_test; test && !used; test = test->next)
            used = matches(test->name, command->only[i]);
        if (used) continue;
        (void)fprintf(stderr,
                      "--only: \"%s\", expected a test's name, or an expression that matches one; "
                      "see --list\n",
                      command->only[i]);
        return false;
    }
    return true;
}

/* ---- Running them ---------------------------------------------------------------------------- */

struct totals {
    uint64_t schedules;
    double seconds;
    unsigned failed, refused;
};

static void print_replay(const ambit__schedule_test *test, const ambit__command *command,
                         const ambit__outcome *outcome) {
    (void)printf("%s: %" PRIu64 "/%" PRIu64 " with trace hash 0x%016" PRIx64 "\n", test->name,
                 outcome->replays_same, command->replays, outcome->result.trace_hash);
}

/* False, and told, if another schedule was played than the one that is meant. */
static bool is_meant(const ambit__schedule_test *test, const ambit__command *command,
                     const ambit__outcome *outcome) {
    uint64_t hash = outcome->result.trace_hash;
    if (!command->trace_hash || outcome->status == 2 || outcome->signal) return true;
    if (hash == command->trace_hash) return true;
    (void)printf("FAIL %s: trace hash 0x%016" PRIx64 ", expected 0x%016" PRIx64
                 ": the program takes other steps than the one\n     that this was printed by, "
                 "so it is another schedule: look for it with --schedules\n",
                 test->name, hash, command->trace_hash);
    return false;
}

static void account(const ambit__schedule_test *test, const ambit__command *command,
                    const ambit__outcome *outcome, struct totals *totals) {
    totals->schedules += outcome->result.schedules;
    totals->seconds += outcome->result.seconds;
    if (outcome->status == 2) totals->refused++;
    bool failed = outcome->status == 1;
    if (outcome->signal > 0)
        (void)printf("FAIL %s: its process died, by signal %d\n", test->name, outcome->signal);
    else if (outcome->signal)
        (void)printf("FAIL %s: its process came to an end before the test did\n", test->name);
    else if (outcome->status == 1)
        (void)printf("FAIL %s: %s, seed 0x%" PRIx64 ", schedule %" PRIu64 "\n", test->name,
                     ambit__failure_name(outcome->result.failure), outcome->result.seed,
                     outcome->result.schedules);
    if (command->replays && outcome->status == 0) {
        print_replay(test, command, outcome);
        if (outcome->replays_same != command->replays) failed = true;
    }
    if (!is_meant(test, command, outcome)) failed = true;
    if (failed) totals->failed++;
    (void)fflush(stdout);
}

static bool run_all(const ambit__schedule_test *const *tests, unsigned count,
                    const ambit__command *command, bool alone, struct totals *totals) {
    for (unsigned i = 0; i < count; i++) {
        ambit__job job = {.tests = &tests[i],
                          .count = 1,
                          .command = command,
                          .plan = {.choices = command->choices,
                                   .choice_count = command->choice_count,
                                   .replays = command->replays}};
        ambit__verdict verdict = {.failed = 1};
        if (alone)
            ambit__main_run(tests[i], command, &job.plan, &verdict.outcome);
        else if (!ambit__main_fork(&job, &verdict)) {
            (void)fprintf(stderr, "%s: no process to be had for it\n", tests[i]->name);
            return false;
        }
        account(tests[i], command, &verdict.outcome, totals);
    }
    return true;
}

/* ---- Figures --------------------------------------------------------------------------------- */

static void print_string(FILE *out, const char *text) {
    (void)fputc('"', out);
    for (; *text; text++) {
        unsigned char letter = (unsigned char)*text;
        if (letter == '"' || letter == '\\')
            (void)fprintf(out, "\\%c", letter);
        else if (letter < ' ')
            (void)fprintf(out, "\\u%04x", letter);
        else
            (void)fputc(letter, out);
    }
    (void)fputc('"', out);
}

static void print_orders(FILE *out, const ambit__survey *survey) {
    char name[512];
    (void)fprintf(out, ", \"order_sites\": %u, \"order_killed\": %u, \"order_survivors\": [",
                  survey->sites, survey->killed);
    for (unsigned i = 0; i < survey->survivor_count; i++) {
        ambit__survey_name(survey->survivors[i], name, sizeof name);
        if (i) (void)fputs(", ", out);
        print_string(out, name);
    }
    (void)fputc(']', out);
}

/* The same schedule many times: one that a mutant fails, if there is one. */
static uint64_t count_replays(const ambit__schedule_test *test, const ambit__command *command,
                              const ambit__survey *survey) {
    ambit__command once = *command;
    ambit__job job = {.tests = &test, .count = 1, .command = &once, .plan = {.replays = REPLAYS}};
    ambit__verdict verdict;
    if (survey && survey->first_killed) {
        job.tests = &survey->killer;
        job.mutant = survey->first_killed;
        once.seed = survey->killer_seed;
    }
    return ambit__main_fork(&job, &verdict) ? verdict.outcome.replays_same : 0;
}

/* Before anything is played: whether the file can be written. Nothing is in it yet. */
static bool can_write(const char *path, bool *made) {
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    *made = file >= 0;
    if (file < 0) file = open(path, O_WRONLY | O_CLOEXEC);
    if (file >= 0) return close(file) == 0;
    (void)fprintf(stderr, "--json: expected a file that can be written: %s: %s\n", path,
                  strerror(errno)); /* NOLINT(concurrency-mt-unsafe): no other thread */
    return false;
}

static void leave_json(const char *path, bool made) {
    if (made) (void)unlink(path);
    (void)fprintf(stderr, "--json: %s is not written: figures are of a run that is clean\n", path);
}

static bool write_json(const char *program, const ambit__command *command,
                       const struct totals *totals, const ambit__survey *survey,
                       const ambit__schedule_test *test) {
    uint64_t same = count_replays(test, command, survey);
    FILE *out = fopen(command->json, "w");
    if (out) {
        const char *slash = strrchr(program, '/');
        (void)fputs("[{\"part\": ", out);
        print_string(out, command->part ? command->part : slash ? slash + 1 : program);
        (void)fprintf(out, ", \"schedules\": %" PRIu64 ", \"schedules_per_second\": %.0f",
                      totals->schedules,
                      totals->seconds > 0 ? (double)totals->schedules / totals->seconds : 0);
        if (survey) print_orders(out, survey);
        (void)fprintf(out, ", \"replay\": \"%" PRIu64 "/%d\"}]\n", same, REPLAYS);
    }
    bool written = out && !ferror(out);
    if (out && fclose(out)) written = false;
    if (!written) perror(command->json);
    return written;
}

/* ---- The program ----------------------------------------------------------------------------- */

static int list_tests(const ambit__schedule_test *const *tests, unsigned count) {
    for (unsigned i = 0; i < count; i++) (void)printf("%s\n", tests[i]->name);
    return 0;
}

static int run_program(const char *program, const ambit__command *command,
                       const ambit__schedule_test *const *tests, unsigned count) {
    struct totals totals = {0};
    ambit__survey survey = {0};
    bool alone = count == 1 && !command->mutants && !command->json, made = false;
    if (command->json && !can_write(command->json, &made)) return 1;
    if (command->mutants && !ambit__mutants_watch()) {
        perror("--mutants");
        return 1;
    }
    bool played = run_all(tests, count, command, alone, &totals);
    if (command->json && (!played || totals.refused || totals.failed))
        leave_json(command->json, made);
    if (!played) return 1;
    if (totals.refused) return 2;
    if (totals.failed) {
        if (command->mutants)
            (void)fprintf(stderr, "no mutants: the tests must be clean without them\n");
        return 1;
    }
    if (command->mutants && !ambit__survey_run(tests, count, command, covers, &survey)) {
        if (command->json) leave_json(command->json, made);
        return 1;
    }
    if (command->json &&
        !write_json(program, command, &totals, command->mutants ? &survey : NULL, tests[0])) {
        if (made) (void)unlink(command->json);
        return 1;
    }
    return survey.survivor_count ? 1 : 0;
}

int ambit_schedule_main(int argc, char **argv) {
    static ambit__command command;
    if (!ambit__command_read(&command, argc, argv)) return 2;
    if (command.help) {
        ambit__command_help(stdout, argv[0]);
        return 0;
    }
    if (!test_count) {
        (void)fprintf(stderr, "%s: expected an AMBIT_SCHEDULE_TEST in the program, found none\n",
                      argv[0]);
        return 2;
    }
    if (!each_only_means_something(&command)) return 2;
    const ambit__schedule_test **tests = calloc(test_count, sizeof(void *));
    unsigned count = 0;
    if (!tests) return 1;
    for (ambit__schedule_test *test = first_test; test; test = test->next)
        if (is_chosen(test, &command)) tests[count++] = test;
    if ((command.choices || command.trace_hash) && count != 1) {
        (void)fprintf(stderr, "%s: %u tests chosen, expected one --only that names one\n",
                      command.choices ? "--choices" : "--trace-hash", count);
        count = 0;
    }
    int status = !count         ? 2
                 : command.list ? list_tests(tests, count)
                                : run_program(argv[0], &command, tests, count);
    free(tests);
    free(command.choices);
    return status;
}
