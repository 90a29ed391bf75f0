/* The command line of a program of schedules, and what it runs. */
#ifndef AMBIT_SCHEDULE_MAIN_H
#define AMBIT_SCHEDULE_MAIN_H

#include "schedule/mutant.h"
#include "schedule/run.h"

#define AMBIT__ONLY_MOST 32

typedef struct ambit__command {
    bool help, list, mutants, halves, survivors_only, quiet;
    bool strategy_given;
    ambit_schedule_strategy strategy;
    const char *only[AMBIT__ONLY_MOST];
    unsigned only_count;
    const char *part, *json;
    uint64_t schedules, seed, replays, mutant_schedules;
    uint64_t trace_hash; /* 0: any */
    unsigned depth, preemptions;
    ambit__written *choices;
    size_t choice_count;
} ambit__command;

/* command.c: false if it makes no sense, told on standard error. */
bool ambit__command_read(ambit__command *command, int argc, char **argv);
void ambit__command_help(FILE *out, const char *program);

/* What was found out about one test, in memory shared with the child that runs it. */
typedef struct ambit__outcome {
    int status; /* of ambit__run() */
    int signal; /* that ended it; 0: none */
    ambit_schedule_result result;
    uint64_t replays_same;
} ambit__outcome;

/* main.c: one test by the command's options, in this process. */
void ambit__main_run(const ambit__schedule_test *test, const ambit__command *command,
                     ambit__plan *plan, ambit__outcome *outcome);
/* The same for `count` of them in a child of its own, so that what it leaves behind stays there. The
 * first that fails ends it; `*failed` is its index, else `count`. */
typedef struct ambit__job {
    const ambit__schedule_test *const *tests;
    unsigned count;
    const ambit__command *command;
    ambit__plan plan;
    const ambit__mutant *mutant; /* in force; NULL: none */
} ambit__job;
typedef struct ambit__verdict {
    ambit__outcome outcome;
    unsigned failed;
    uint64_t schedules; /* in all */
    double seconds;
} ambit__verdict;
/* False: no child, or no memory. */
bool ambit__main_fork(const ambit__job *job, ambit__verdict *verdict);

/* survey.c: --mutants. */
typedef struct ambit__survey {
    unsigned sites, killed;
    const ambit__mutant **survivors;
    unsigned survivor_count;
    /* the first that was killed: to be played again */
    const ambit__mutant *first_killed;
    const ambit__schedule_test *killer;
    uint64_t killer_seed;
} ambit__survey;
bool ambit__survey_run(const ambit__schedule_test *const *tests, unsigned count,
                       const ambit__command *command, const char *covers, ambit__survey *survey);
void ambit__survey_name(const ambit__mutant *mutant, char *text, size_t bytes);

#endif
