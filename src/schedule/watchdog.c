/* A schedule that takes no step any more: it waits in the kernel, where nobody controlled looks, or
 * it runs in a loop in which nothing is shared. Neither ends, so the program does, and says which.
 *
 * The watchdog is a thread of the kernel's that looks on from outside: the one thing here that goes
 * by real time. It decides nothing within schedules. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "schedule/inside.h"

#define PATIENCE_SECONDS 5
#ifdef SYS_pause
#define SYS_PAUSE SYS_pause
#else
#define SYS_PAUSE SYS_ppoll
#endif

static pthread_t watcher;
static bool watching;
static unsigned patience_seconds;
static pid_t watched; /* the thread of the kernel's that runs the schedules */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t stopped; /* with the monotonic clock */
static bool stop;

static const struct {
    long number;
    const char *name;
} blocking[] = {
    {SYS_read, "read"},
    {SYS_write, "write"},
    {SYS_pread64, "pread"},
    {SYS_readv, "readv"},
    {SYS_writev, "writev"},
#ifdef SYS_poll
    {SYS_poll, "poll"},
    {SYS_select, "select"},
    {SYS_epoll_wait, "epoll_wait"},
    {SYS_pause, "pause"},
#endif
    {SYS_ppoll, "ppoll"},
    {SYS_pselect6, "pselect"},
    {SYS_epoll_pwait, "epoll_pwait"},
    {SYS_accept, "accept"},
    {SYS_accept4, "accept4"},
    {SYS_connect, "connect"},
    {SYS_recvfrom, "recvfrom"},
    {SYS_recvmsg, "recvmsg"},
    {SYS_sendto, "sendto"},
    {SYS_sendmsg, "sendmsg"},
    {SYS_futex, "futex"},
    {SYS_nanosleep, "nanosleep"},
    {SYS_clock_nanosleep, "clock_nanosleep"},
    {SYS_wait4, "wait4"},
    {SYS_waitid, "waitid"},
    {SYS_flock, "flock"},
    {SYS_fcntl, "fcntl"},
    {SYS_openat, "openat"},
    {SYS_fsync, "fsync"},
    {SYS_msgrcv, "msgrcv"},
    {SYS_semtimedop, "semtimedop"},
    {SYS_mq_timedreceive, "mq_timedreceive"},
    {SYS_rt_sigtimedwait, "rt_sigtimedwait"},
    {SYS_rt_sigsuspend, "rt_sigsuspend"},
    {SYS_io_getevents, "io_getevents"},
    {SYS_io_uring_enter, "io_uring_enter"},
};

static const char *call_name(long number) {
    for (unsigned i = 0; i < sizeof blocking / sizeof *blocking; i++)
        if (blocking[i].number == number) return blocking[i].name;
    return "without a name here";
}

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

/* The system call a thread is in, -1 if it runs or nobody knows. */
static long call_of(pid_t thread) {
    char text[256];
    pid_t before = watched;
    watched = thread;
    read_about("syscall", text, sizeof text);
    watched = before;
    char *rest;
    long number = strtol(text, &rest, 10);
    return rest == text ? -1 : number;
}

/* Where threads cannot be borrowed, the schedule's own run, and the one that was told to watch
 * sleeps: then it is the one of the others that does something else. */
static void find_watched(void) {
    DIR *tasks = call_of(watched) == SYS_futex ? opendir("/proc/self/task") : NULL;
    if (!tasks) return;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the directory is this call's own */
    for (const struct dirent *entry; (entry = readdir(tasks));) {
        pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
        if (thread <= 0 || thread == (pid_t)syscall(SYS_gettid)) continue;
        long number = call_of(thread);
        if (number != SYS_futex && number != SYS_PAUSE) watched = thread;
    }
    (void)closedir(tasks);
}

static void describe(char *text, size_t size, unsigned seconds) {
    char call[256];
    find_watched();
    char letter = state_letter();
    read_about("syscall", call, sizeof call);
    int length = snprintf(text, size, "no step for %u s: the program ", seconds);
    text += length;
    size -= (size_t)length;
    char *rest;
    long number = strtol(call, &rest, 10);
    if (letter == 'R')
        (void)snprintf(text, size, "runs for ever, in a loop in which nothing is shared");
    else if (rest != call && number >= 0)
        (void)snprintf(text, size, "waits in system call %s (%ld), first argument %s",
                       call_name(number), number, strtok_r(rest, " \n", &rest));
    else
        (void)snprintf(text, size, "waits in the kernel (state %c), in a call that cannot be seen",
                       letter);
}

static unsigned wanted_patience(void) {
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread is under way */
    const char *wish = getenv("AMBIT_SCHEDULE_PATIENCE");
    long seconds = wish ? strtol(wish, NULL, 10) : 0;
    return seconds > 0 && seconds < 86400 ? (unsigned)seconds : PATIENCE_SECONDS;
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
        describe(text, sizeof text, still);
        ambit__report_stuck(text);
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
