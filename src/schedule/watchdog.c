/* A schedule that takes no step any more: it waits in the kernel, where nobody controlled looks, or it runs
 * in a loop in which nothing is shared. Neither ends, so the program does, and says which.
 *
 * The watchdog is a thread of the kernel's that looks on from outside: the one thing here that goes by real
 * time. It decides nothing within schedules. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "schedule/inside.h"

#define PATIENCE_SECONDS 5

static pthread_t watcher;
static bool watching;
static unsigned patience_seconds;
static pid_t watched; /* the thread of the kernel's that runs the schedules */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t stopped; /* with the monotonic clock */
static bool stop;

/* What `/proc/self/task/TID/FILE` says; empty if it cannot be read. */
static void read_about(const char *file, char *text, size_t size) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)watched, file);
    text[0] = '\0';
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    ssize_t got = read(descriptor, text, size - 1);
    text[got > 0 ? got : 0] = '\0';
    (void)close(descriptor);
}

/* R, S, D, ...: behind the name, which may have anything in it but ends with the last bracket. */
static char state_letter(void) {
    char text[512];
    read_about("stat", text, sizeof text);
    const char *name_end = strrchr(text, ')');
    if (!name_end || name_end[1] != ' ') return '?';
    return name_end[2];
}

/* ---- Where the thread is --------------------------------------------------------------------- */

typedef struct stand {
    long call; /* system call it is in, -1 if none or not known */
    char argument[24];
    uintptr_t pc, stack_pointer; /* 0: not known */
} stand;

/* Of a thread that waits, /proc tells: number, six arguments, stack pointer, instruction. */
static stand stand_in_kernel(void) {
    stand found = {.call = -1};
    char text[256], *rest;
    read_about("syscall", text, sizeof text);
    long number = strtol(text, &rest, 10);
    if (rest == text) return found; /* "running" */
    found.call = number;
    unsigned index = 0;
    for (char *word = strtok_r(rest, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
        if (index == 0) (void)snprintf(found.argument, sizeof found.argument, "%s", word);
        if (index == 6) found.stack_pointer = (uintptr_t)strtoull(word, NULL, 16);
        if (index == 7) found.pc = (uintptr_t)strtoull(word, NULL, 16);
        index++;
    }
    return found;
}

/* One that runs is asked by a signal, and stays in its handler: there is nothing to go on for. Its registers are
 * there when `asked` is released. */
static struct {
    uintptr_t pc, stack_pointer;
    bool answered;
} asked;

static void answer(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
#ifdef __x86_64__
    const greg_t *registers = ((const ucontext_t *)context)->uc_mcontext.gregs;
    asked.pc = (uintptr_t)registers[REG_RIP];
    asked.stack_pointer = (uintptr_t)registers[REG_RSP];
#else
    (void)context;
#endif
    /* pairs with the load in ask() */
    __atomic_store_n(&asked.answered, true, __ATOMIC_RELEASE);
    for (;;) (void)pause();
}

static void ask(stand *of) {
    struct sigaction own = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaction(SIGPROF, &own, NULL) ||
        syscall(SYS_tgkill, (long)getpid(), (long)watched, (long)SIGPROF))
        return;
    for (unsigned i = 0; i < 100; i++) {
        /* pairs with the store in answer() */
        if (__atomic_load_n(&asked.answered, __ATOMIC_ACQUIRE)) {
            of->pc = asked.pc;
            of->stack_pointer = asked.stack_pointer;
            return;
        }
        (void)usleep(1000);
    }
}

/* Fills in the text; returns the line, NULL if that cannot be found out. */
static const void *describe(char *text, size_t size, unsigned seconds) {
    const ambit__schedule_thread *self = ambit__self;
    /* Where threads cannot be borrowed, the schedule's own run, and the one that was told to watch sleeps. */
    if (self && ambit__crash_thread(self->index)) watched = ambit__crash_thread(self->index);
    char letter = state_letter();
    stand found = stand_in_kernel();
    int length = snprintf(text, size, "no step for %u s: the program ", seconds);
    text += length;
    size -= (size_t)length;
    if (letter == 'R' || found.call < 0) ask(&found);
    if (letter == 'R')
        (void)snprintf(text, size, "runs for ever, in a loop in which nothing is shared");
    else if (found.call >= 0)
        (void)snprintf(text, size, "waits in system call %s (%ld), first argument %s",
                       ambit__system_call_name(found.call), found.call, found.argument);
    else
        (void)snprintf(text, size, "waits in the kernel (state %c), in a call that cannot be seen",
                       letter);
    if (!self || !found.pc) return NULL;
    return ambit__site_on_stack(self->index, found.pc, found.stack_pointer);
}

/* ---- The watchdog ---------------------------------------------------------------------------- */

static unsigned wanted_patience(void) {
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread is under way */
    const char *wish = getenv("AMBIT_SCHEDULE_PATIENCE");
    if (!wish) return PATIENCE_SECONDS;
    char *end;
    errno = 0;
    long seconds = strtol(wish, &end, 10);
    if (end != wish && !*end && !errno && seconds > 0 && seconds < 86400) return (unsigned)seconds;
    (void)fprintf(stderr,
                  "AMBIT_SCHEDULE_PATIENCE: \"%s\", expected seconds from 1 to 86399; it is %d\n",
                  wish, PATIENCE_SECONDS);
    return PATIENCE_SECONDS;
}

/* False when it was told to stop. */
static bool wait_a_second(void) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    (void)pthread_mutex_lock(&lock);
    int error = 0;
    while (!stop && !error) error = pthread_cond_timedwait(&stopped, &lock, &until);
    bool go_on = !stop;
    (void)pthread_mutex_unlock(&lock);
    return go_on;
}

static void *watch(void *given) {
    (void)given;
    unsigned still = 0;
    uint64_t seen = ambit__step_total;
    while (wait_a_second()) {
        uint64_t now = ambit__step_total;
        bool inside = __atomic_load_n(&ambit__self, __ATOMIC_RELAXED) != NULL;
        /* Between schedules there are no steps either, as while a report is made. */
        still = now == seen && inside ? still + 1 : 0;
        seen = now;
        if (still < patience_seconds) continue;
        char text[512];
        const void *site = describe(text, sizeof text, still);
        ambit__report_stuck(text, site);
        _exit(1);
    }
    return NULL;
}

void ambit__watchdog_start(void) {
    if (watching) return;
    watched = (pid_t)syscall(SYS_gettid);
    stop = false;
    patience_seconds = wanted_patience();
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&stopped, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    /* Signals are for the program's own threads. */
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    watching = pthread_create(&watcher, NULL, watch, NULL) == 0; /* else nobody looks */
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void ambit__watchdog_stop(void) {
    if (!watching) return;
    (void)pthread_mutex_lock(&lock);
    stop = true;
    (void)pthread_cond_signal(&stopped);
    (void)pthread_mutex_unlock(&lock);
    (void)pthread_join(watcher, NULL);
    (void)pthread_cond_destroy(&stopped);
    watching = false;
}
