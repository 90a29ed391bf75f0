/* The clocks of a schedule: one virtual time, which all of them show.
 *
 * The coarse ones show it as the kernel's do, as it was at the last tick: a program that compares a
 * fine time with a coarse one must live with that. Time moves when somebody reads it, and jumps to
 * the next deadline when all wait. What the processor says of itself (rdtsc) cannot be caught.
 *
 * The vDSO's functions, which a program may look up to spare itself the C library, are ours too:
 * the look-up is caught, whenever it is made. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/time.h>
#include <time.h>

#include "schedule/inside.h"
#include "schedule/times.h"
#include "schedule/wraps.h"

#define HERE __builtin_return_address(0)
#define TICK_NS INT64_C(4000000)

int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __real_clock_getres(clockid_t clock, struct timespec *time);
int __wrap_clock_getres(clockid_t clock, struct timespec *time);
int __real_gettimeofday(struct timeval *time, void *zone);
int __wrap_gettimeofday(struct timeval *time, void *zone);
time_t __real_time(time_t *time);
time_t __wrap_time(time_t *time);
int __real_timespec_get(struct timespec *time, int base);
int __wrap_timespec_get(struct timespec *time, int base);
clock_t __real_clock(void);
clock_t __wrap_clock(void);

static bool is_coarse(clockid_t clock) {
    return clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_REALTIME_COARSE;
}

int ambit__clock_gettime_at(clockid_t clock, struct timespec *time, const void *site) {
    struct timespec resolution;
    /* The kernel knows which clocks there are. */
    if (__real_clock_getres(clock, &resolution) != 0) return -1;
    int64_t now = ambit__read_clock();
    if (is_coarse(clock)) now -= now % TICK_NS;
    ambit__will_write(time, sizeof *time, site);
    *time = ambit__time_spec(now);
    return 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *time) {
    if (!ambit__self) return __real_clock_gettime(clock, time);
    return ambit__clock_gettime_at(clock, time, HERE);
}

int __wrap_clock_getres(clockid_t clock, struct timespec *time) {
    int answer = __real_clock_getres(clock, time);
    if (ambit__self && answer == 0 && time)
        *time = ambit__time_spec(is_coarse(clock) ? TICK_NS : 1);
    return answer;
}

int __wrap_gettimeofday(struct timeval *time, void *zone) {
    if (!ambit__self) return __real_gettimeofday(time, zone);
    int64_t now = ambit__read_clock();
    ambit__will_write(time, sizeof *time, HERE);
    if (time) *time = (struct timeval){now / AMBIT__SECOND_NS, now % AMBIT__SECOND_NS / 1000};
    if (zone) *(struct timezone *)zone = (struct timezone){0, 0};
    return 0;
}

time_t __wrap_time(time_t *time) {
    if (!ambit__self) return __real_time(time);
    time_t now = ambit__read_clock() / AMBIT__SECOND_NS;
    ambit__will_write(time, sizeof *time, HERE);
    if (time) *time = now;
    return now;
}

int __wrap_timespec_get(struct timespec *time, int base) {
    if (!ambit__self) return __real_timespec_get(time, base);
    if (base != TIME_UTC) return 0;
    ambit__will_write(time, sizeof *time, HERE);
    *time = ambit__time_spec(ambit__read_clock());
    return base;
}

/* As if all its time were the program's. */
clock_t __wrap_clock(void) {
    if (!ambit__self) return __real_clock();
    return ambit__read_clock() / (AMBIT__SECOND_NS / CLOCKS_PER_SEC);
}

/* ---- Looked up by name ----------------------------------------------------------------------- */

void *__real_dlsym(void *restrict library, const char *restrict name);
void *__wrap_dlsym(void *restrict library, const char *restrict name);
void *__real_dlvsym(void *restrict library, const char *restrict name,
                    const char *restrict version);
void *__wrap_dlvsym(void *restrict library, const char *restrict name,
                    const char *restrict version);

/* A pointer to a function as dlsym() returns it: POSIX's way. */
#define AS_FOUND(function) (__extension__(void *)(function))

/* What to hand out when `name` was looked up and is there. */
static void *ours(const char *name, void *found) {
    static const struct {
        const char *names[3];
        void *function;
    } known[] = {
        {{"__vdso_clock_gettime", "__kernel_clock_gettime", "clock_gettime"},
         AS_FOUND(__wrap_clock_gettime)},
        {{"__vdso_clock_getres", "__kernel_clock_getres", "clock_getres"},
         AS_FOUND(__wrap_clock_getres)},
        {{"__vdso_gettimeofday", "__kernel_gettimeofday", "gettimeofday"},
         AS_FOUND(__wrap_gettimeofday)},
        {{"__vdso_time", "time", NULL}, AS_FOUND(__wrap_time)},
    };
    if (!found || !name) return found;
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        for (unsigned j = 0; j < 3 && known[i].names[j]; j++)
            if (strcmp(name, known[i].names[j]) == 0) return known[i].function;
    return found;
}

void *__wrap_dlsym(void *restrict library, const char *restrict name) {
    return ours(name, __real_dlsym(library, name));
}

void *__wrap_dlvsym(void *restrict library, const char *restrict name,
                    const char *restrict version) {
    return ours(name, __real_dlvsym(library, name, version));
}
