/* What a schedule cannot contain is told by name, and a program that ends in the middle of one is a
 * finding: abort(), a failed assertion, exit(), a crash.
 *
 * Calls that would wait for the world outside wait for ever in here, since all threads are one to the
 * kernel; and a copy of the process, or a jump out of frames, would take the runtime with it. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "schedule/descriptor.h"

#define HERE __builtin_return_address(0)

static void refuse(const char *name, const char *advice, const void *site) {
    ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL, "%s() is not controlled: %s", name, advice);
}

/* ---- Refused whatever their arguments -------------------------------------------------------- */

/* All arguments of these are integers or pointers, at most six of them: those travel in registers, and are
 * handed on as they came, whatever their number. Weak: an older C library lacks some. */
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
#define NO_PIPE_END "what goes through it is not seen; use read() and write()"
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
REFUSED(aio_suspend, "what it waits for is not the schedule's; use read() and write()")
REFUSED(epoll_pwait2, "use epoll_wait() or epoll_pwait()")
REFUSED(sigpause, NO_SIGNALS)
REFUSED(splice, NO_PIPE_END)
REFUSED(tee, NO_PIPE_END)
REFUSED(vmsplice, NO_PIPE_END)
REFUSED(dlclose, "what it unloads is not put back for the next schedule")

/* Two that cannot be handed on like that: vfork()'s child would return from our frame, so it is a fork(),
 * which it may be; and clone() has a seventh argument. */
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

/* The lists of these end with NULL, so they are counted, and go on as arrays. */
#define ARGUMENTS_MOST 1024
static void collect(const char *first, va_list *list, char **array) {
    size_t count = 0;
    for (const char *word = first; word && count < ARGUMENTS_MOST; word = va_arg(*list, char *))
        array[count++] = (char *)(uintptr_t)word;
    array[count] = NULL;
}

int __wrap_execl(const char *path, const char *first, ...);
int __wrap_execl(const char *path, const char *first, ...) {
    char *words[ARGUMENTS_MOST + 1];
    va_list list;
    if (ambit__self) refuse("execl", ONE_PROCESS, HERE);
    va_start(list, first);
    collect(first, &list, words);
    va_end(list);
    return execv(path, words);
}

int __wrap_execlp(const char *file, const char *first, ...);
int __wrap_execlp(const char *file, const char *first, ...) {
    char *words[ARGUMENTS_MOST + 1];
    va_list list;
    if (ambit__self) refuse("execlp", ONE_PROCESS, HERE);
    va_start(list, first);
    collect(first, &list, words);
    va_end(list);
    return execvp(file, words);
}

int __wrap_execle(const char *path, const char *first, ...);
int __wrap_execle(const char *path, const char *first, ...) {
    char *words[ARGUMENTS_MOST + 1];
    va_list list;
    if (ambit__self) refuse("execle", ONE_PROCESS, HERE);
    va_start(list, first);
    collect(first, &list, words);
    char *const *environment = va_arg(list, char *const *);
    va_end(list);
    return execve(path, words, environment);
}

/* ---- Signals --------------------------------------------------------------------------------- */

/* Sent to itself, a signal ends the program, stops it for good, or runs a handler in the midst of anything. Those
 * of crashes are what the program has found out about itself. */
static void refuse_signal(const char *name, int signal, const void *site) {
    const char *short_name = sigabbrev_np(signal);
    bool crash = signal == SIGABRT || signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE ||
                 signal == SIGILL || signal == SIGTRAP;
    char known[32];
    (void)snprintf(known, sizeof known, "SIG%s", short_name ? short_name : "?");
    if (crash) ambit__fail(AMBIT_SCHEDULE_ASSERTION, site, NULL, "%s(%s) was called", name, known);
    ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL, "%s() of %s is not controlled: " NO_SIGNALS,
                name, short_name ? known : "a signal");
}

int __real_raise(int signal);
int __wrap_raise(int signal);
int __wrap_raise(int signal) {
    if (ambit__self) refuse_signal("raise", signal, HERE);
    return __real_raise(signal);
}

/* Without a signal it only asks whether somebody is there. */
int __real_kill(pid_t whom, int signal);
int __wrap_kill(pid_t whom, int signal);
int __wrap_kill(pid_t whom, int signal) {
    if (ambit__self && signal) refuse_signal("kill", signal, HERE);
    return __real_kill(whom, signal);
}

int __real_killpg(pid_t whom, int signal);
int __wrap_killpg(pid_t whom, int signal);
int __wrap_killpg(pid_t whom, int signal) {
    if (ambit__self && signal) refuse_signal("killpg", signal, HERE);
    return __real_killpg(whom, signal);
}

__attribute__((weak)) int __real_tgkill(pid_t process, pid_t thread, int signal);
int __wrap_tgkill(pid_t process, pid_t thread, int signal);
int __wrap_tgkill(pid_t process, pid_t thread, int signal) {
    if (ambit__self) refuse_signal("tgkill", signal, HERE);
    return __real_tgkill(process, thread, signal);
}

int __real_sigqueue(pid_t whom, int signal, const union sigval value);
int __wrap_sigqueue(pid_t whom, int signal, const union sigval value);
int __wrap_sigqueue(pid_t whom, int signal, const union sigval value) {
    if (ambit__self && signal) refuse_signal("sigqueue", signal, HERE);
    return __real_sigqueue(whom, signal, value);
}

/* ---- Sockets --------------------------------------------------------------------------------- */

/* All arguments are integers or pointers, the first a descriptor and the fourth flags. To others it may go
 * through, if it does not wait; between threads of the schedule an other call is known. */
#define OF_SOCKET(name, events, known)                                                             \
    long __real_##name(long, long, long, long, long, long);                                        \
    long __wrap_##name(long a, long b, long c, long d, long e, long f);                            \
    long __wrap_##name(long a, long b, long c, long d, long e, long f) {                           \
        if (ambit__self) expect_outside((int)a, (int)d, events, #name, known, HERE);               \
        return __real_##name(a, b, c, d, e, f);                                                    \
    }

static void expect_outside(int descriptor, int flags, short events, const char *name,
                           const char *known, const void *site) {
    bool waits = !(flags & MSG_DONTWAIT) && ambit__descriptor_waits(descriptor);
    if (ambit__descriptor_at(descriptor)->kind != AMBIT__OUTSIDE) refuse(name, known, site);
    (void)ambit__descriptor_step(descriptor, events, waits, name, site);
}

OF_SOCKET(recvfrom, POLLIN, "within a schedule use recv() or recvmsg()")
OF_SOCKET(recvmmsg, POLLIN, "within a schedule use recvmsg()")
OF_SOCKET(sendto, POLLOUT, "within a schedule use send() or sendmsg()")
OF_SOCKET(sendmmsg, POLLOUT, "within a schedule use sendmsg()")

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
