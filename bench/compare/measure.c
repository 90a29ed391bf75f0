/* Runs one contestant once, on the processors that are meant for it. */
#include "compare.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST_S = 120, PATH = 1024 };

/* The last ones of those that this process may use: the first one is where interrupts go. */
static cpu_set_t choose_processors(unsigned threads) {
    cpu_set_t allowed, chosen;
    CPU_ZERO(&chosen);
    if (sched_getaffinity(0, sizeof allowed, &allowed)) give_up("sched_getaffinity", "failed");
    for (size_t i = CPU_SETSIZE; i-- > 0 && threads > 0;)
        if (CPU_ISSET(i, &allowed)) CPU_SET(i, &chosen), threads--;
    return chosen;
}

_Noreturn static void become(char *const arguments[], const cpu_set_t *processors, int out) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (processors) sched_setaffinity(0, sizeof *processors, processors);
    if (dup2(out, STDOUT_FILENO) >= 0) execv(arguments[0], arguments);
    fprintf(stderr, "cannot start %s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

/* Everything that it prints, up to its end or, as long as it lasts, the limit. */
static void read_all(int from, pid_t child, char *text, size_t size) {
    double until = now_s() + LONGEST_S;
    size_t length = 0;
    for (;;) {
        struct pollfd ready = {.fd = from, .events = POLLIN};
        if (poll(&ready, 1, (int)((until - now_s()) * 1000)) <= 0) {
            if (now_s() < until) continue;
            kill(child, SIGKILL);
            break;
        }
        ssize_t got = read(from, text + length, size - 1 - length);
        if (got <= 0) break;
        length += (size_t)got;
    }
    text[length] = 0;
}

/* Runs a program and takes what it prints; true if it ended with 0. */
static bool run(char *const arguments[], const cpu_set_t *processors, char *text, size_t size) {
    int ends[2], status;
    if (pipe(ends)) give_up("pipe", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) give_up("fork", strerror(errno));
    if (!child) {
        close(ends[0]);
        become(arguments, processors, ends[1]);
    }
    close(ends[1]);
    read_all(ends[0], child, text, size);
    close(ends[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void look_at(bench_program *program, const char *folder) {
    char path[PATH];
    snprintf(path, sizeof path, "%s/%s", folder, program->name);
    if (access(path, X_OK)) return;
    char *list[] = {path, "--list", NULL}, *about[] = {path, "--about", NULL};
    program->rows[0] = '\n';
    if (!run(list, NULL, program->rows + 1, sizeof program->rows - 1) ||
        !run(about, NULL, program->about, sizeof program->about))
        give_up("does not tell its rows and its version", path);
    program->about[strcspn(program->about, "\n")] = 0;
    program->present = true;
}

bool has_row(const bench_program *program, const char *row) {
    char line[NAME + 2];
    snprintf(line, sizeof line, "\n%s\n", row);
    return strstr(program->rows, line) != NULL;
}

bool measure(const bench_contestant *contestant, const char *folder, unsigned threads,
             unsigned milliseconds, bench_measurement *out) {
    char path[PATH], threads_text[16], milliseconds_text[16], said[TEXT];
    char name[NAME];
    snprintf(path, sizeof path, "%s/%s", folder, contestant->program->name);
    snprintf(threads_text, sizeof threads_text, "%u", threads);
    snprintf(milliseconds_text, sizeof milliseconds_text, "%u", milliseconds);
    snprintf(name, sizeof name, "%s", contestant->row);
    char *arguments[] = {
        path, "--row", name, "--threads", threads_text, "--milliseconds", milliseconds_text, NULL};
    cpu_set_t processors = choose_processors(threads);
    return run(arguments, &processors, said, sizeof said) &&
           sscanf(said, "%lf %lf", &out->ns, &out->waited_part) == 2 && out->ns > 0;
}
