/* The command line: what it may say, and what is wrong with it. */
#include <errno.h>
#include <regex.h>
#include <stdlib.h>

#include "schedule/main.h"

void ambit__command_help(FILE *out, const char *program) {
    (void)fprintf(
        out,
        "%s [OPTION ...]: plays the program's tests under the controlled scheduler.\n"
        "\n"
        "  --list                  names the tests\n"
        "  --only NAME             plays those alone whose name is NAME, or matches it as an "
        "extended\n"
        "                          regular expression; may be given several times\n"
        "  --schedules N           of each test; else what the test says, usually 10000\n"
        "  --seed S                of the first schedule, the next one has the next; given "
        "without\n"
        "                          --schedules, it alone is played\n"
        "  --strategy NAME         mixed, random, pct or exhaustive\n"
        "  --depth D               of pct, from 1; chooses pct\n"
        "  --preemptions N         at most; chooses exhaustive\n"
        "  --choices STRING        plays the one schedule that a failure printed in this way\n"
        "  --replay N              plays the first schedule N times, and says how often it was the "
        "same\n"
        "  --trace-hash H          of the one schedule that is played: if it is another, the "
        "program "
        "is\n"
        "                          no longer the one that --seed or --choices were printed by\n"
        "  --mutants               weakens each memory order of the covered files in turn: a test "
        "must fail\n"
        "  --mutant-schedules N    of each test for each of those; usually 3000\n"
        "  --halves                weakens also one half of acq_rel, and seq_cst to acq_rel\n"
        "  --survivors-only        names only those that no test noticed\n"
        "  --json FILE             writes the figures there\n"
        "  --part NAME             what they call this program; else its file's name\n"
        "  --quiet                 prints failures only by their name\n"
        "  --help                  prints this\n"
        "\n"
        "AMBIT_SCHEDULE_PATIENCE in the environment: after so many seconds without a step a test "
        "is "
        "stuck; else 5.\n"
        "Status: 0 all is well; 1 a test has failed, or a mutant lives; 2 this was not "
        "understood.\n",
        program);
}

static bool refuse(const char *option, const char *value, const char *expected) {
    if (value)
        (void)fprintf(stderr, "%s: \"%s\", expected %s\n", option, value, expected);
    else
        (void)fprintf(stderr, "%s: expected %s\n", option, expected);
    return false;
}

static bool read_number(const char *option, const char *value, uint64_t least, uint64_t most,
                        uint64_t *number) {
    char expected[80], *end;
    (void)snprintf(expected, sizeof expected, "a number from %llu to %llu",
                   (unsigned long long)least, (unsigned long long)most);
    errno = 0;
    /* strtoull takes "-1", and blanks, which nobody means */
    if (value[0] < '0' || value[0] > '9') return refuse(option, value, expected);
    *number = strtoull(value, &end, 0);
    if (*end || errno || *number < least || *number > most) return refuse(option, value, expected);
    return true;
}

static bool read_unsigned(const char *option, const char *value, unsigned most, unsigned *number) {
    uint64_t wide;
    if (!read_number(option, value, 1, most, &wide)) return false;
    *number = (unsigned)wide;
    return true;
}

static bool read_strategy(const char *value, ambit__command *command) {
    for (int i = AMBIT_SCHEDULE_MIXED; i <= AMBIT_SCHEDULE_EXHAUSTIVE; i++)
        if (strcmp(value, ambit__strategy_name((ambit_schedule_strategy)i)) == 0) {
            command->strategy = (ambit_schedule_strategy)i;
            command->strategy_given = true;
            return true;
        }
    return refuse("--strategy", value, "mixed, random, pct or exhaustive");
}

static bool read_only(const char *value, ambit__command *command) {
    regex_t expression;
    char wrong[128], expected[200];
    if (command->only_count == AMBIT__ONLY_MOST)
        return refuse("--only", value, "at most 32 of them");
    if (!*value) return refuse("--only", value, "a name");
    int error = regcomp(&expression, value, REG_EXTENDED | REG_NOSUB);
    if (error) {
        (void)regerror(error, &expression, wrong, sizeof wrong);
        (void)snprintf(expected, sizeof expected, "an extended regular expression: %s", wrong);
        return refuse("--only", value, expected);
    }
    regfree(&expression);
    command->only[command->only_count++] = value;
    return true;
}

/* Options without a value. */
static bool *flag_of(const char *name, ambit__command *command) {
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"--help", &command->help},
                 {"--list", &command->list},
                 {"--mutants", &command->mutants},
                 {"--halves", &command->halves},
                 {"--survivors-only", &command->survivors_only},
                 {"--quiet", &command->quiet}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (strcmp(name, flags[i].name) == 0) return flags[i].flag;
    return NULL;
}

static const char *const with_values[] = {"--only",
                                          "--schedules",
                                          "--seed",
                                          "--strategy",
                                          "--depth",
                                          "--preemptions",
                                          "--choices",
                                          "--replay",
                                          "--json",
                                          "--part",
                                          "--mutant-schedules",
                                          "--trace-hash"};

static bool takes_value(const char *name) {
    for (size_t i = 0; i < sizeof with_values / sizeof with_values[0]; i++)
        if (strcmp(name, with_values[i]) == 0) return true;
    return false;
}

static bool read_value(const char *name, const char *value, ambit__command *command) {
    if (strcmp(name, "--only") == 0) return read_only(value, command);
    if (strcmp(name, "--schedules") == 0)
        return read_number(name, value, 1, UINT64_MAX, &command->schedules);
    if (strcmp(name, "--seed") == 0) return read_number(name, value, 1, UINT64_MAX, &command->seed);
    if (strcmp(name, "--strategy") == 0) return read_strategy(value, command);
    if (strcmp(name, "--depth") == 0) return read_unsigned(name, value, 64, &command->depth);
    if (strcmp(name, "--preemptions") == 0)
        return read_unsigned(name, value, 1000000, &command->preemptions);
    if (strcmp(name, "--replay") == 0)
        return read_number(name, value, 1, UINT64_MAX, &command->replays);
    if (strcmp(name, "--trace-hash") == 0)
        return read_number(name, value, 1, UINT64_MAX, &command->trace_hash);
    if (strcmp(name, "--mutant-schedules") == 0)
        return read_number(name, value, 1, UINT64_MAX, &command->mutant_schedules);
    if (strcmp(name, "--choices") == 0)
        return ambit__choices_read(value, &command->choices, &command->choice_count) ||
               refuse(name, value, "what a failure has printed after --choices=");
    if (strcmp(name, "--json") == 0)
        command->json = value;
    else
        command->part = value;
    return *value || refuse(name, value, "a name");
}

/* Those that say which schedule it is. */
static bool schedule_fits(const ambit__command *command) {
    if (command->choices && (command->mutants || command->replays))
        return refuse("--choices", NULL, "neither --mutants nor --replay with it");
    if (command->choices && (command->seed || command->schedules || command->json))
        return refuse(
            "--choices", NULL,
            "no --seed, --schedules or --json with it: it is one schedule, and no seed's");
    if (command->choices && command->only_count != 1)
        return refuse("--choices", NULL, "one --only with it: they are of one test");
    if (command->seed && command->strategy_given && command->strategy == AMBIT_SCHEDULE_EXHAUSTIVE)
        return refuse("--seed", NULL, "another strategy than exhaustive, which knows no seeds");
    bool one = command->choices || command->replays || (command->seed && command->schedules <= 1);
    if (command->trace_hash && (command->mutants || !one))
        return refuse("--trace-hash", NULL,
                      "--seed or --choices with it, and no --mutants: it is of one schedule");
    return true;
}

/* What only makes sense together, or not together. */
static bool fits(ambit__command *command) {
    if (command->depth && command->preemptions)
        return refuse("--preemptions", NULL,
                      "not together with --depth: they are of different strategies");
    if (command->depth && command->strategy_given && command->strategy != AMBIT_SCHEDULE_PCT)
        return refuse("--depth", NULL, "--strategy=pct with it");
    if (command->preemptions && command->strategy_given &&
        command->strategy != AMBIT_SCHEDULE_EXHAUSTIVE)
        return refuse("--preemptions", NULL, "--strategy=exhaustive with it");
    if (command->list && (command->mutants || command->json || command->choices))
        return refuse("--list", NULL,
                      "neither --mutants, --json nor --choices with it: it plays nothing");
    if (command->replays && command->mutants)
        return refuse("--replay", NULL, "not together with --mutants");
    if (!command->mutants &&
        (command->halves || command->survivors_only || command->mutant_schedules))
        return refuse("--halves, --survivors-only, --mutant-schedules", NULL,
                      "--mutants with them");
    if (command->depth) command->strategy = AMBIT_SCHEDULE_PCT;
    if (command->preemptions) command->strategy = AMBIT_SCHEDULE_EXHAUSTIVE;
    command->strategy_given = command->strategy_given || command->depth || command->preemptions;
    if (!schedule_fits(command)) return false;
    if (command->seed && !command->schedules && !command->mutants) command->schedules = 1;
    if (!command->mutant_schedules) command->mutant_schedules = 3000;
    return true;
}

bool ambit__command_read(ambit__command *command, int argc, char **argv) {
    char name[64];
    memset(command, 0, sizeof *command);
    for (int i = 1; i < argc; i++) {
        const char *equals = strchr(argv[i], '='), *value = equals ? equals + 1 : NULL;
        size_t length = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        (void)snprintf(name, sizeof name, "%.*s", (int)length, argv[i]);
        bool *flag = flag_of(name, command);
        if (flag) {
            if (value) return refuse(name, value, "no value");
            *flag = true;
            continue;
        }
        if (!takes_value(name)) {
            (void)fprintf(stderr, "%s: not an option; see --help\n", argv[i]);
            return false;
        }
        if (!value && ++i < argc) value = argv[i];
        if (!value) return refuse(name, NULL, "a value");
        if (!read_value(name, value, command)) return false;
    }
    return fits(command);
}
