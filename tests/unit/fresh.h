/* Parts of a suite that need a process of their own: to die in, or because the records, slabs and
 * wheels that earlier cases left behind would hide what they are after. A fork() inherits those, so
 * the program is executed anew. */
#ifndef AMBIT_TESTS_FRESH_H
#define AMBIT_TESTS_FRESH_H

#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct fresh_part {
    const char *name;
    int (*run)(long argument); /* what it returns is the exit code */
} fresh_part;

typedef struct fresh_end {
    int code;         /* -1 if a signal ended it */
    int signal;       /* 0 if none did */
    char text[16384]; /* what it wrote, to either stream */
} fresh_end;

/* First in main(), where it does not return in such a process. */
static inline void fresh_enter(int count, char **arguments, const fresh_part *parts) {
    if (count != 4 || strcmp(arguments[1], "--fresh") != 0) return;
    (void)alarm(60); /* a part that hangs is killed */
    for (; parts->name; parts++)
        if (!strcmp(parts->name, arguments[2])) exit(parts->run(strtol(arguments[3], NULL, 10)));
    exit(127);
}

static inline void fresh_read(int from, fresh_end *end) {
    size_t length = 0;
    char rest[512];
    for (;;) {
        bool full = length == sizeof end->text - 1;
        ssize_t got = full ? read(from, rest, sizeof rest)
                           : read(from, end->text + length, sizeof end->text - 1 - length);
        if (got <= 0) break;
        if (!full) length += (size_t)got;
    }
    end->text[length] = '\0';
    (void)close(from);
}

/* Runs the part of that name in a new process, and waits for its end. */
static inline fresh_end fresh_run(const char *name, long argument) {
    static fresh_end end;
    int ends[2];
    char number[24];
    (void)snprintf(number, sizeof number, "%ld", argument);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        /* ThreadSanitizer would wait for a second at the end of each. */
        char options[1024];
        const char *given = getenv("TSAN_OPTIONS");
        (void)snprintf(options, sizeof options, "%s:atexit_sleep_ms=0", given ? given : "");
        (void)setenv("TSAN_OPTIONS", options, 1);
        (void)execl("/proc/self/exe", "suite", "--fresh", name, number, (char *)NULL);
        _exit(126);
    }
    (void)close(ends[1]);
    fresh_read(ends[0], &end);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    end.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return end;
}

/* The part must have ended with that code; what it wrote is shown if not. */
#define assert_fresh(name, argument, wanted)                                                       \
    do {                                                                                           \
        fresh_end end_ = fresh_run((name), (argument));                                            \
        if (end_.code != (wanted))                                                                 \
            fail_msg("%s(%ld): exit code %d, signal %d\n%s", (name), (long)(argument), end_.code,  \
                     end_.signal, end_.text);                                                      \
    } while (0)

#endif
