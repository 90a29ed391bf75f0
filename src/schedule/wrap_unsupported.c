/* What a schedule cannot contain is told by name, and a program that ends in the middle of one is a
 * finding: abort(), a failed assertion, exit(), a crash.
 *
 * Calls that would wait for the world outside wait for ever in here, since all threads are one to
 * the kernel; and a copy of the process, or a jump out of frames, would take the runtime with
 * it. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#include "schedule/inside.h"

#define HERE __builtin_return_address(0)

static void refuse(const char *name, const char *advice, const void *site) {
    ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL, "%s() is not controlled: %s", name, advice);
}

/* ---- Refused whatever their arguments -------------------------------------------------------- */

/* All arguments of these are integers or pointers, at most six of them: those travel in registers,
 * and are handed on as they came, whatever their number. Weak: an older C library lacks some. */
#define REFUSED(name, advice)                                                                      \
    __attribute__((weak)) long __real_##name(long, long, long, long, long, long);                  \
    long __wrap_##name(long a, long b, long c, long d, long e, long f);                            \
    long __wrap_##name(long a, long b, long c, long d, long e, long f) {                           \
        if (ambit__self) refuse(#name, advice, HERE);                                              \
        return __real_##name(a, b, c, d, e, f);                                                    \
    }

#define ONE_PROCESS "a schedule is one process; start others before or after it"
#define NO_CHILDREN "a schedule has no child to wait for"
#define NO_SIGNALS "signals are not part of a schedule; let a thread do what the handler does"
#define NO_JUMPS "a jump out of functions leaves their locks and calls behind; return instead"
#define NO_OUTSIDE "it waits for another process; use a pipe() or an eventfd() of the scenario"

REFUSED(fork, ONE_PROCESS)
REFUSED(_Fork, ONE_PROCESS)
REFUSED(posix_spawn, ONE_PROCESS)
REFUSED(posix_spawnp, ONE_PROCESS)
REFUSED(system, ONE_PROCESS)
REFUSED(popen, ONE_PROCESS)
REFUSED(pclose, ONE_PROCESS)
REFUSED(daemon, ONE_PROCESS)
REFUSED(execv, ONE_PROCESS)
REFUSED(execve, ONE_PROCESS)
REFUSED(execvp, ONE_PROCESS)
REFUSED(execvpe, ONE_PROCESS)
REFUSED(fexecve, ONE_PROCESS)
REFUSED(wait, NO_CHILDREN)
REFUSED(wait3, NO_CHILDREN)
REFUSED(wait4, NO_CHILDREN)
REFUSED(waitid, NO_CHILDREN)
REFUSED(waitpid, NO_CHILDREN)
REFUSED(alarm, NO_SIGNALS)
REFUSED(pause, NO_SIGNALS)
REFUSED(setitimer, NO_SIGNALS)
REFUSED(sigsuspend, NO_SIGNALS)
REFUSED(sigtimedwait, NO_SIGNALS)
REFUSED(sigwait, NO_SIGNALS)
REFUSED(sigwaitinfo, NO_SIGNALS)
REFUSED(signalfd, NO_SIGNALS)
REFUSED(timer_create, NO_SIGNALS)
REFUSED(longjmp, NO_JUMPS)
REFUSED(_longjmp, NO_JUMPS)
REFUSED(siglongjmp, NO_JUMPS)
REFUSED(__longjmp_chk, NO_JUMPS)
REFUSED(setcontext, NO_JUMPS)
REFUSED(swapcontext, NO_JUMPS)
REFUSED(flock, NO_OUTSIDE)
REFUSED(lockf, NO_OUTSIDE)
REFUSED(mq_receive, NO_OUTSIDE)
REFUSED(mq_send, NO_OUTSIDE)
REFUSED(mq_timedreceive, NO_OUTSIDE)
REFUSED(mq_timedsend, NO_OUTSIDE)
REFUSED(msgrcv, NO_OUTSIDE)
REFUSED(msgsnd, NO_OUTSIDE)
REFUSED(semop, NO_OUTSIDE)
REFUSED(semtimedop, NO_OUTSIDE)
REFUSED(dlclose, "what it unloads is not put back for the next schedule")

/* Two that cannot be handed on like that: vfork()'s child would return from our frame, so it is a
 * fork(), which it may be; and clone() has a seventh argument. */
pid_t __real_vfork(void);
pid_t __wrap_vfork(void);
pid_t __wrap_vfork(void) {
    if (ambit__self) refuse("vfork", ONE_PROCESS, HERE);
    return (pid_t)__real_fork(0, 0, 0, 0, 0, 0);
}

long __real_clone(long, long, long, long, long, long, long);
long __wrap_clone(long, long, long, long, long, long, long);
long __wrap_clone(long a, long b, long c, long d, long e, long f, long g) {
    if (ambit__self) refuse("clone", "use pthread_create()", HERE);
    return __real_clone(a, b, c, d, e, f, g);
}

/* ---- Refused where they would wait ----------------------------------------------------------- */

/* Refuses unless what is to be read from a stream is there: in it, or behind its descriptor. */
static void expect_input(FILE *stream, const char *name, const void *site) {
    if (stream->_IO_read_ptr < stream->_IO_read_end) return; /* it has been read */
    int descriptor = fileno(stream);
    struct pollfd input = {.fd = descriptor, .events = POLLIN};
    if (descriptor < 0 || poll(&input, 1, 0) != 0) return;
    ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                "%s() of descriptor %d would wait for input: read it before the schedule", name,
                descriptor);
}

int __real_getchar(void);
int __wrap_getchar(void);
int __wrap_getchar(void) {
    if (ambit__self) expect_input(stdin, "getchar", HERE);
    return __real_getchar();
}

int __real_fgetc(FILE *stream);
int __wrap_fgetc(FILE *stream);
int __wrap_fgetc(FILE *stream) {
    if (ambit__self) expect_input(stream, "fgetc", HERE);
    return __real_fgetc(stream);
}

int __real_getc(FILE *stream);
int __wrap_getc(FILE *stream);
int __wrap_getc(FILE *stream) {
    if (ambit__self) expect_input(stream, "getc", HERE);
    return __real_getc(stream);
}

char *__real_fgets(char *line, int bytes, FILE *stream);
char *__wrap_fgets(char *line, int bytes, FILE *stream);
char *__wrap_fgets(char *line, int bytes, FILE *stream) {
    if (ambit__self) expect_input(stream, "fgets", HERE);
    return __real_fgets(line, bytes, stream);
}

/* ---- The program ends ------------------------------------------------------------------------ */

#define ENDS(name)                                                                                 \
    void __real_##name(int status) __attribute__((noreturn));                                      \
    void __wrap_##name(int status) __attribute__((noreturn));                                      \
    void __wrap_##name(int status) {                                                               \
        if (ambit__self)                                                                           \
            ambit__fail(AMBIT_SCHEDULE_ASSERTION, HERE, NULL, #name "(%d) was called", status);    \
        __real_##name(status);                                                                     \
    }

ENDS(exit)
ENDS(_exit)
ENDS(_Exit)
ENDS(quick_exit)

void __real_abort(void) __attribute__((noreturn));
void __wrap_abort(void) __attribute__((noreturn));
void __wrap_abort(void) {
    if (ambit__self) ambit__fail(AMBIT_SCHEDULE_ASSERTION, HERE, NULL, "abort() was called");
    __real_abort();
}

void __real___assert_fail(const char *text, const char *file, unsigned line, const char *function)
    __attribute__((noreturn));
void __wrap___assert_fail(const char *text, const char *file, unsigned line, const char *function)
    __attribute__((noreturn));
void __wrap___assert_fail(const char *text, const char *file, unsigned line, const char *function) {
    if (ambit__self)
        ambit__fail(AMBIT_SCHEDULE_ASSERTION, HERE, NULL, "assertion failed: %s, in %s() at %s:%u",
                    text, function ? function : "?", file, line);
    __real___assert_fail(text, file, line, function);
}

void __real___assert_perror_fail(int error, const char *file, unsigned line, const char *function)
    __attribute__((noreturn));
void __wrap___assert_perror_fail(int error, const char *file, unsigned line, const char *function)
    __attribute__((noreturn));
void __wrap___assert_perror_fail(int error, const char *file, unsigned line, const char *function) {
    if (ambit__self)
        ambit__fail(AMBIT_SCHEDULE_ASSERTION, HERE, NULL, "error %d, in %s() at %s:%u", error,
                    function ? function : "?", file, line);
    __real___assert_perror_fail(error, file, line, function);
}
