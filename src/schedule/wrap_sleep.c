/* Sleeping and giving way. A sleep takes no time: it is a step that may be taken from its deadline
 * on, or a little before (`early_ns`), and orders nothing.
 *
 * A loop that sleeps until another thread has done something looks at the same things again and
 * again; a sleep counts as such a look, so that the loop is seen to spin and does not use up the
 * schedule's steps while those it waits for could run. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "schedule/inside.h"
#include "schedule/times.h"
#include "schedule/wraps.h"

int __real_nanosleep(const struct timespec *length, struct timespec *left);
int __wrap_nanosleep(const struct timespec *length, struct timespec *left);
int __real_clock_nanosleep(clockid_t clock, int flags, const struct timespec *when,
                           struct timespec *left);
int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *when,
                           struct timespec *left);
int __real_usleep(useconds_t length);
int __wrap_usleep(useconds_t length);
unsigned __real_sleep(unsigned length);
unsigned __wrap_sleep(unsigned length);
int __real_sched_yield(void);
int __wrap_sched_yield(void);
int __wrap_pthread_yield(void);
int __real_thrd_sleep(const struct timespec *length, struct timespec *left);
int __wrap_thrd_sleep(const struct timespec *length, struct timespec *left);
void __wrap_thrd_yield(void);

/* ---- Sleeping -------------------------------------------------------------------------------- */

static bool never(void *argument) {
    (void)argument;
    return false;
}

static void sleep_until(int64_t deadline_ns, const char *name, const void *site) {
    ambit__spin_reads((uint64_t)(uintptr_t)site);
    ambit__operation sleep = {.kind = AMBIT__OP_SLEEP,
                              .name = name,
                              .site = site,
                              .ready = never,
                              .deadline_ns = deadline_ns,
                              .waits_for = "its deadline"};
    ambit__step(&sleep);
}

int ambit__sleep_for(const struct timespec *length, struct timespec *left, const char *name,
                     const void *site) {
    int64_t ns;
    ambit__will_read(length, sizeof *length, site);
    if (!ambit__time_ns(length, &ns)) {
        errno = EINVAL;
        return -1;
    }
    (void)left; /* only for who is interrupted */
    sleep_until(ambit__time_after(ns), name, site);
    return 0;
}

int __wrap_nanosleep(const struct timespec *length, struct timespec *left) {
    if (!ambit__self) return __real_nanosleep(length, left);
    return ambit__sleep_for(length, left, "nanosleep", __builtin_return_address(0));
}

int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *when,
                           struct timespec *left) {
    if (!ambit__self) return __real_clock_nanosleep(clock, flags, when, left);
    int64_t ns;
    ambit__will_read(when, sizeof *when, __builtin_return_address(0));
    if (!ambit__time_ns(when, &ns)) return EINVAL;
    if (!(flags & TIMER_ABSTIME)) ns = ambit__time_after(ns);
    sleep_until(ns, "clock_nanosleep", __builtin_return_address(0));
    return 0;
}

int __wrap_usleep(useconds_t length) {
    if (!ambit__self) return __real_usleep(length);
    sleep_until(ambit__time_after((int64_t)length * 1000), "usleep", __builtin_return_address(0));
    return 0;
}

unsigned __wrap_sleep(unsigned length) {
    if (!ambit__self) return __real_sleep(length);
    sleep_until(ambit__time_after((int64_t)length * AMBIT__SECOND_NS), "sleep",
                __builtin_return_address(0));
    return 0;
}

int __wrap_thrd_sleep(const struct timespec *length, struct timespec *left) {
    if (!ambit__self) return __real_thrd_sleep(length, left);
    /* -1 is for a signal, other failures are less than that. */
    return ambit__sleep_for(length, left, "thrd_sleep", __builtin_return_address(0)) == 0 ? 0 : -2;
}

/* ---- Giving way ------------------------------------------------------------------------------ */

void ambit__yield_at(const char *name, const void *site) {
    ambit__operation yield = {
        .kind = AMBIT__OP_YIELD, .name = name, .site = site, .deadline_ns = AMBIT__FOREVER};
    ambit__loops();
    ambit__step(&yield);
}

int __wrap_sched_yield(void) {
    if (!ambit__self) return __real_sched_yield();
    ambit__yield_at("sched_yield", __builtin_return_address(0));
    return 0;
}

int __wrap_pthread_yield(void) {
    if (!ambit__self) return __real_sched_yield();
    ambit__yield_at("pthread_yield", __builtin_return_address(0));
    return 0;
}

void __wrap_thrd_yield(void) {
    if (!ambit__self)
        (void)__real_sched_yield();
    else
        ambit__yield_at("thrd_yield", __builtin_return_address(0));
}
