/* Plays the case book: each half of each case in a process of its own, with a wall cap.
 *
 * stress/run builds the halves and calls this; it is not meant to be called by hand. A half says in
 * its evidence line and in its exit code what it found (oracle.h); both must agree, otherwise the
 * half has failed, whatever it says. A case passes if every wrong half was caught and every right
 * half is clean. What a half wrote is kept in build/stress/<case>-<half>.<preset>.log. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 256, CASES = 64, PRESETS = 2, EXIT_CLEAN = 0, EXIT_CAUGHT = 3, PATH = 1024 };
enum { CASE_RUNS = 3, TAIL_BYTES = 3000 };

typedef struct entry { /* a line of book.txt */
    char name[64];
    bool torture;
    char presets[2][32]; /* [0] the right half's, [1] the wrong half's; a comma list */
    double cap;
} entry;

typedef struct row { /* one half in one preset */
    const entry *entry;
    bool wrong, passed;
    char preset[16];
    char verdict[16];
    char evidence[512];
    uint64_t seed;
    double seconds;
    unsigned runs;
} row;

static struct {
    const char *book, *build, *only, *json;
    bool quick, tty;
    double seconds; /* 0: not a soak */
    uint64_t seed;
} options;

static entry entries[CASES];
static unsigned entry_count;
static row rows[ROWS];
static unsigned row_count;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

_Noreturn static void give_up(const char *what, const char *which) {
    fprintf(stderr, "play: %s: %s\n", what, which);
    exit(2);
}

static const char *half_name(const row *row) {
    return row->entry->torture ? row->wrong ? "mutant" : "torture" : row->wrong ? "wrong" : "right";
}

/* ---- The book -------------------------------------------------------------------------------- */

static void add_rows(const entry *entry, bool wrong) {
    char presets[32], *rest = presets;
    snprintf(presets, sizeof presets, "%s", entry->presets[wrong]);
    for (const char *preset; (preset = strsep(&rest, ",")) != NULL;) {
        if (row_count == ROWS) give_up("more rows than room for them", options.book);
        row *row = &rows[row_count++];
        row->entry = entry;
        row->wrong = wrong;
        snprintf(row->preset, sizeof row->preset, "%.15s", preset);
    }
}

static void read_book(void) {
    FILE *book = fopen(options.book, "r");
    char line[512], kind[16];
    if (!book) give_up("cannot read the book", options.book);
    while (fgets(line, sizeof line, book)) {
        if (line[0] == '#' || isspace((unsigned char)line[0])) continue;
        entry *entry = &entries[entry_count];
        if (entry_count == CASES || sscanf(line, "%63s %15s %31s %31s %lf", entry->name, kind,
                                           entry->presets[1], entry->presets[0], &entry->cap) != 5)
            give_up("a line of the book is not understood", line);
        entry->torture = !strcmp(kind, "torture");
        if (options.only && strcmp(options.only, entry->name)) continue;
        entry_count++;
        add_rows(entry, true);
        add_rows(entry, false);
    }
    fclose(book);
    if (!entry_count) give_up("no such case", options.only ? options.only : options.book);
}

/* ---- One process ----------------------------------------------------------------------------- */

/* Addresses are not randomised: the sanitizers of older compilers cannot map their shadow where
 * newer kernels may put things, and a report's addresses are the same in a replay. Where that is
 * refused (some containers), it goes on without. */
_Noreturn static void become_half(const char *program, const char *log, uint64_t seed,
                                  double seconds) {
    char seed_text[32], seconds_text[32];
    snprintf(seed_text, sizeof seed_text, "%llu", (unsigned long long)seed);
    snprintf(seconds_text, sizeof seconds_text, "%.3f", seconds);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    personality(ADDR_NO_RANDOMIZE);
    int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out >= 0 && dup2(out, STDOUT_FILENO) >= 0 && dup2(out, STDERR_FILENO) >= 0)
        execl(program, program, "--seed", seed_text, "--seconds", seconds_text, (char *)NULL);
    fprintf(stderr, "cannot start %s: %s\n", program, strerror(errno));
    _exit(127);
}

static void show_progress(const row *row, double since) {
    if (!options.tty) return;
    printf("\r\033[K  [%u/%u] %s: %s, %s, %.1f s", (unsigned)(row->entry - entries) + 1,
           entry_count, row->entry->name, half_name(row), row->preset, now() - since);
    fflush(stdout);
}

/* The exit status as waitpid gives it, or -1 if the cap had to end it. */
static int wait_for(pid_t half, double cap, const row *row, double since) {
    int status;
    for (unsigned turn = 0;; turn++) {
        if (waitpid(half, &status, WNOHANG) == half) return status;
        if (now() - since > cap) {
            kill(-half, SIGKILL);
            waitpid(half, &status, 0);
            return -1;
        }
        if (turn % 40 == 0) show_progress(row, since);
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
}

static void log_path(const row *row, char *path) {
    snprintf(path, PATH, "%s/stress/%s-%s.%s.log", options.build, row->entry->name, half_name(row),
             row->preset);
}

/* Takes the last evidence line out of the log. False if there is none. */
static bool read_evidence(const char *log, row *row) {
    FILE *file = fopen(log, "r");
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    while (file && getline(&line, &room, file) > 0) {
        if (sscanf(line, "evidence: %15s %511[^\n]", row->verdict, row->evidence) == 2)
            found = true;
    }
    free(line);
    if (file) fclose(file);
    return found;
}

static void judge(row *row, int status, const char *log) {
    const char *wanted = row->wrong ? "caught" : "clean";
    int code = status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    row->verdict[0] = row->evidence[0] = 0;
    bool said = read_evidence(log, row);
    if (said && !strcmp(row->verdict, wanted) && code == (row->wrong ? EXIT_CAUGHT : EXIT_CLEAN)) {
        row->passed = true;
        return;
    }
    row->passed = false;
    bool agrees = said && code == (!strcmp(row->verdict, "clean")    ? EXIT_CLEAN
                                   : !strcmp(row->verdict, "caught") ? EXIT_CAUGHT
                                                                     : 4);
    if (agrees) return;
    snprintf(row->verdict, sizeof row->verdict, "%s", row->wrong ? "missed" : "failed");
    if (status < 0)
        snprintf(row->evidence, sizeof row->evidence, "was ended after the wall cap");
    else if (WIFSIGNALED(status))
        snprintf(row->evidence, sizeof row->evidence, "died of signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(row->evidence, sizeof row->evidence, "exit code %d%s", code,
                 said ? " does not agree with its evidence" : " and no evidence");
}

/* ---- One row --------------------------------------------------------------------------------- */

/* A torture is told how long; a case is one shot, repeated with the next seed. */
static void play_row(row *row) {
    char program[PATH], log[PATH];
    double start = now(), share = options.seconds / row_count;
    double torture_seconds = options.seconds > 0 ? share : options.quick ? 1 : 3;
    unsigned runs = row->entry->torture || options.quick ? 1 : CASE_RUNS;
    snprintf(program, sizeof program, "%s/%s/stress/%s-%s", options.build, row->preset,
             row->entry->name, row->wrong ? "wrong" : "right");
    log_path(row, log);
    do {
        row->seed = options.seed + row->runs++;
        fflush(stdout);
        double since = now();
        pid_t half = fork();
        if (half < 0) give_up("cannot fork", strerror(errno));
        if (!half) become_half(program, log, row->seed, torture_seconds);
        double cap = row->entry->cap + (row->entry->torture ? torture_seconds : 0);
        judge(row, wait_for(half, cap, row, since), log);
    } while (row->passed && (options.seconds > 0 ? now() - start < share : row->runs < runs));
    row->seconds = now() - start;
}

static void show_tail(const row *row) {
    char log[PATH], text[TAIL_BYTES + 1];
    log_path(row, log);
    FILE *file = fopen(log, "r");
    if (!file) return;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    fseek(file, size > TAIL_BYTES ? size - TAIL_BYTES : 0, SEEK_SET);
    text[fread(text, 1, TAIL_BYTES, file)] = 0;
    fclose(file);
    printf("---- the end of %s\n%s\n----\n", log, text);
}

/* Rows of one case stand together. Returns whether all of them passed. */
static bool play_case(row *first, row **end) {
    double start = now();
    bool passed = true;
    row *at = first;
    for (; at < rows + row_count && at->entry == first->entry; at++) {
        play_row(at);
        if (!at->passed) passed = false;
    }
    if (options.tty) printf("\r\033[K");
    printf("%s %-20s %6.1f s\n", passed ? "  ok  " : "FAILED", first->entry->name, now() - start);
    for (const row *row = first; row < at; row++)
        if (!row->passed) show_tail(row);
    fflush(stdout);
    *end = at;
    return passed;
}

/* ---- What comes out -------------------------------------------------------------------------- */

static void write_table(void) {
    printf("\n%-20s %-8s %-5s %-7s %5s %8s  %s\n", "case", "half", "build", "verdict", "runs",
           "seconds", "evidence");
    for (const row *row = rows; row < rows + row_count; row++)
        printf("%-20s %-8s %-5s %-7s %5u %8.1f  %s%s%s\n", row->entry->name, half_name(row),
               row->preset, row->verdict, row->runs, row->seconds,
               row->passed ? "" : "FAILED: ", row->evidence, "");
}

static void write_string(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\')
            fprintf(file, "\\%c", byte);
        else if (byte < 0x20 || byte > 0x7e)
            fprintf(file, "\\u%04x", byte);
        else
            fputc(byte, file);
    }
    fputc('"', file);
}

static void write_json(void) {
    FILE *file = fopen(options.json, "w");
    if (!file) give_up("cannot write", options.json);
    fputs("[\n", file);
    for (const row *row = rows; row < rows + row_count; row++) {
        fputs("  {\"name\": ", file);
        write_string(file, row->entry->name);
        fprintf(file,
                ", \"half\": \"%s\", \"build\": \"%s\", \"%s\": %s, \"evidence\": ", half_name(row),
                row->preset, row->wrong ? "caught" : "clean", row->passed ? "true" : "false");
        write_string(file, row->evidence);
        fprintf(file, ", \"seed\": %llu, \"runs\": %u, \"seconds\": %.3f}%s\n",
                (unsigned long long)row->seed, row->runs, row->seconds,
                row + 1 < rows + row_count ? "," : "");
    }
    fputs("]\n", file);
    if (fclose(file)) give_up("cannot write", options.json);
}

/* ---- Start ----------------------------------------------------------------------------------- */

static void read_options(int argc, char **argv) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    options.seed = ((uint64_t)time.tv_sec << 16) ^ (uint64_t)time.tv_nsec;
    for (int at = 1; at < argc; at++) {
        const char *option = argv[at];
        if (!strcmp(option, "--quick")) {
            options.quick = true;
            continue;
        }
        if (++at >= argc) give_up("unknown option, or no value for it", option);
        if (!strcmp(option, "--book"))
            options.book = argv[at];
        else if (!strcmp(option, "--build"))
            options.build = argv[at];
        else if (!strcmp(option, "--case"))
            options.only = argv[at];
        else if (!strcmp(option, "--json"))
            options.json = argv[at];
        else if (!strcmp(option, "--seconds"))
            options.seconds = strtod(argv[at], NULL);
        else if (!strcmp(option, "--seed"))
            options.seed = strtoull(argv[at], NULL, 0);
        else
            give_up("unknown option", option);
    }
    if (!options.book || !options.build) give_up("needed", "--book FILE --build FOLDER");
    options.tty = isatty(STDOUT_FILENO);
}

int main(int argc, char **argv) {
    char folder[PATH];
    unsigned passed = 0, failed = 0;
    read_options(argc, argv);
    read_book();
    snprintf(folder, sizeof folder, "%s/stress", options.build);
    if (mkdir(folder, 0777) && errno != EEXIST) give_up("cannot make", folder);
    printf("seed %llu (repeat with --seed %llu)\n", (unsigned long long)options.seed,
           (unsigned long long)options.seed);
    for (row *at = rows; at < rows + row_count;) {
        if (play_case(at, &at))
            passed++;
        else
            failed++;
    }
    write_table();
    if (options.json) write_json();
    printf("\n%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
