/* Waiting for one of several descriptors, and timers that are descriptors. What is found to be there is ordered with
 * what comes after, as if it had been read: the kernel cannot tell of it otherwise. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "schedule/descriptor.h"
#include "schedule/inside.h"
#include "schedule/times.h"
#include "schedule/wraps.h"

#define HERE __builtin_return_address(0)
#define ASKED 64 /* descriptors of one poll() */

/* ---- Waiting --------------------------------------------------------------------------------- */

typedef struct waiting {
    int (*ask)(
        void *); /* how many are there, without waiting, and without a change to the program's */
    void *argument;
    bool inside; /* somebody in the schedule may end it */
    int64_t deadline_ns;
    const char *name;
    const void *site;
} waiting;

static bool is_there(void *argument) {
    const waiting *of = argument;
    int error = errno; /* of whichever thread picks */
    (void)ambit__timers_tick();
    bool there = of->ask(of->argument) != 0;
    errno = error;
    return there;
}

/* Takes steps until something is there, or the time has come. */
static void wait_for(waiting *of, const void *address) {
    bool waits = of->deadline_ns > ambit__now();
    if (waits && of->deadline_ns == AMBIT__FOREVER && !of->inside && !is_there(of))
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, of->site, NULL,
                    "%s() would wait for descriptors that are not the schedule's, and nobody in it "
                    "could end that",
                    of->name);
    for (;;) {
        int64_t timer = ambit__timers_tick();
        ambit__operation operation = {.kind = waits ? AMBIT__OP_WAIT : AMBIT__OP_CALL,
                                      .name = of->name,
                                      .address = address,
                                      .site = of->site,
                                      .ready = waits ? is_there : NULL,
                                      .argument = of,
                                      .deadline_ns =
                                          timer < of->deadline_ns ? timer : of->deadline_ns,
                                      .waits_for = "a descriptor"};
        ambit__step(&operation);
        /* Timed out for a timer that this does not ask for: on it goes. */
        if (is_there(of) || !waits || ambit__now() >= of->deadline_ns) break;
    }
    ambit__found_nothing(!is_there(of));
}

/* A descriptor that was said to be readable, or at its end: whoever wrote, or closed it, did so before. */
static void learn_from(int descriptor) {
    ambit__channel_acquire(ambit__descriptor_at(descriptor)->in);
}

/* ---- poll ------------------------------------------------------------------------------------ */

typedef struct polled {
    const struct pollfd *asked;
    nfds_t count;
} polled;

/* On a copy: the kernel writes what it finds. */
static int ask_poll(void *argument) {
    const polled *of = argument;
    struct pollfd copy[ASKED];
    memcpy(copy, of->asked, of->count * sizeof *copy);
    return poll(copy, of->count, 0);
}

static int poll_at(struct pollfd *asked, nfds_t count, int64_t deadline_ns, const char *name,
                   const void *site) {
    if (count > ASKED)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "%s() of %lu descriptors: expected at most %d", name, (unsigned long)count,
                    ASKED);
    ambit__will_write(asked, count * sizeof *asked, site);
    polled of = {asked, count};
    waiting wait = {
        .ask = ask_poll, .argument = &of, .deadline_ns = deadline_ns, .name = name, .site = site};
    for (nfds_t i = 0; i < count; i++)
        if (ambit__descriptor_at(asked[i].fd)->kind != AMBIT__OUTSIDE) wait.inside = true;
    wait_for(&wait, count ? ambit__descriptor_at(asked[0].fd) : NULL);
    int there = poll(asked, count, 0);
    for (nfds_t i = 0; i < count; i++)
        if (asked[i].revents & (POLLIN | POLLHUP)) learn_from(asked[i].fd);
    return there;
}

static int64_t after_milliseconds(int timeout) {
    return timeout < 0 ? AMBIT__FOREVER : ambit__time_after(INT64_C(1000000) * timeout);
}

/* False: it is no time. NULL is for ever. */
static bool after_time(const struct timespec *timeout, int64_t *deadline_ns) {
    *deadline_ns = AMBIT__FOREVER;
    if (!timeout) return true;
    if (!ambit__time_ns(timeout, deadline_ns)) {
        errno = EINVAL;
        return false;
    }
    *deadline_ns = ambit__time_after(*deadline_ns);
    return true;
}

int __wrap_poll(struct pollfd *asked, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *asked, nfds_t count, int timeout) {
    if (!ambit__self) return poll(asked, count, timeout);
    return poll_at(asked, count, after_milliseconds(timeout), "poll", HERE);
}

int __wrap___poll_chk(struct pollfd *asked, nfds_t count, int timeout, size_t room);
int __wrap___poll_chk(struct pollfd *asked, nfds_t count, int timeout, size_t room) {
    if (room / sizeof *asked < count) abort();
    if (!ambit__self) return poll(asked, count, timeout);
    return poll_at(asked, count, after_milliseconds(timeout), "poll", HERE);
}

int __wrap_ppoll(struct pollfd *asked, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask);
int __wrap_ppoll(struct pollfd *asked, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask) {
    if (!ambit__self) return ppoll(asked, count, timeout, mask);
    int64_t deadline_ns;
    if (!after_time(timeout, &deadline_ns)) return -1;
    return poll_at(asked, count, deadline_ns, "ppoll", HERE);
}

/* ---- select ---------------------------------------------------------------------------------- */

typedef struct selected {
    int end;
    fd_set *sets[3];
} selected;

static int ask_select_into(const selected *of, fd_set *const sets[3]) {
    struct timeval no_time = {0, 0};
    return select(of->end, sets[0], sets[1], sets[2], &no_time);
}

static int ask_select(void *argument) {
    const selected *of = argument;
    fd_set copies[3];
    fd_set *sets[3] = {NULL, NULL, NULL};
    for (unsigned i = 0; i < 3; i++) {
        if (!of->sets[i]) continue;
        copies[i] = *of->sets[i];
        sets[i] = &copies[i];
    }
    return ask_select_into(of, sets);
}

static bool is_selected(const selected *of, int descriptor) {
    for (unsigned i = 0; i < 3; i++)
        if (of->sets[i] && FD_ISSET(descriptor, of->sets[i])) return true;
    return false;
}

static int select_at(selected *of, int64_t deadline_ns, const char *name, const void *site) {
    for (unsigned i = 0; i < 3; i++)
        ambit__will_write(of->sets[i], ((size_t)of->end + 63) / 64 * 8, site);
    waiting wait = {
        .ask = ask_select, .argument = of, .deadline_ns = deadline_ns, .name = name, .site = site};
    const void *first = NULL;
    for (int i = 0; i < of->end && i < FD_SETSIZE; i++) {
        if (!is_selected(of, i) || ambit__descriptor_at(i)->kind == AMBIT__OUTSIDE) continue;
        wait.inside = true;
        if (!first) first = ambit__descriptor_at(i);
    }
    wait_for(&wait, first);
    int there = ask_select_into(of, of->sets);
    for (int i = 0; there > 0 && of->sets[0] && i < of->end && i < FD_SETSIZE; i++)
        if (FD_ISSET(i, of->sets[0])) learn_from(i);
    return there;
}

int __wrap_select(int end, fd_set *in, fd_set *out, fd_set *except, struct timeval *timeout);
int __wrap_select(int end, fd_set *in, fd_set *out, fd_set *except, struct timeval *timeout) {
    if (!ambit__self) return select(end, in, out, except, timeout);
    selected of = {end, {in, out, except}};
    int64_t deadline_ns = AMBIT__FOREVER;
    if (timeout)
        deadline_ns = ambit__time_after((int64_t)timeout->tv_sec * AMBIT__SECOND_NS +
                                        (int64_t)timeout->tv_usec * 1000);
    return select_at(&of, deadline_ns, "select", HERE);
}

int __wrap_pselect(int end, fd_set *in, fd_set *out, fd_set *except, const struct timespec *timeout,
                   const sigset_t *mask);
int __wrap_pselect(int end, fd_set *in, fd_set *out, fd_set *except, const struct timespec *timeout,
                   const sigset_t *mask) {
    if (!ambit__self) return pselect(end, in, out, except, timeout, mask);
    selected of = {end, {in, out, except}};
    int64_t deadline_ns;
    if (!after_time(timeout, &deadline_ns)) return -1;
    return select_at(&of, deadline_ns, "pselect", HERE);
}

/* ---- epoll ----------------------------------------------------------------------------------- */

/* Which descriptors an epoll was given: what it tells of them is the program's own data. */
#define WATCHES 64
static struct watch {
    int epoll, descriptor;
    uint32_t schedule; /* 0: that of `before`, for all that come */
} watches[WATCHES];

static void watch(int epoll, int descriptor) {
    for (unsigned i = 0; i < WATCHES; i++) {
        struct watch *at = &watches[i];
        bool taken = at->epoll && (!at->schedule || at->schedule == ambit__schedule_number);
        if (taken && (at->epoll != epoll || at->descriptor != descriptor)) continue;
        *at = (struct watch){epoll, descriptor, ambit__keeping ? 0 : ambit__schedule_number};
        return;
    }
}

static void learn_from_watched(int epoll) {
    for (unsigned i = 0; i < WATCHES; i++) {
        const struct watch *at = &watches[i];
        if (at->epoll != epoll || (at->schedule && at->schedule != ambit__schedule_number))
            continue;
        struct pollfd asked = {.fd = at->descriptor, .events = POLLIN};
        if (poll(&asked, 1, 0) > 0 && !(asked.revents & POLLNVAL)) learn_from(at->descriptor);
    }
}

static int epoll_made(int descriptor) {
    if (descriptor >= 0) ambit__descriptor_made(descriptor, AMBIT__EPOLL, 0, 0);
    return descriptor;
}

int __wrap_epoll_create(int size);
int __wrap_epoll_create(int size) {
    return ambit__self ? epoll_made(epoll_create(size)) : epoll_create(size);
}

int __wrap_epoll_create1(int flags);
int __wrap_epoll_create1(int flags) {
    return ambit__self ? epoll_made(epoll_create1(flags)) : epoll_create1(flags);
}

int __wrap_epoll_ctl(int epoll, int command, int descriptor, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int command, int descriptor, struct epoll_event *event) {
    if (!ambit__self) return epoll_ctl(epoll, command, descriptor, event);
    ambit__operation operation = {.kind = AMBIT__OP_CALL,
                                  .name = "epoll_ctl",
                                  .address = ambit__descriptor_at(epoll),
                                  .writes = true,
                                  .site = HERE,
                                  .deadline_ns = AMBIT__FOREVER};
    ambit__step(&operation);
    (void)ambit__descriptor_at(descriptor); /* an eventfd is adopted now */
    if (command != EPOLL_CTL_DEL) watch(epoll, descriptor);
    return epoll_ctl(epoll, command, descriptor, event);
}

static int ask_epoll(void *argument) {
    struct pollfd asked = {.fd = *(const int *)argument, .events = POLLIN};
    return poll(&asked, 1, 0);
}

static int epoll_wait_at(int epoll, struct epoll_event *events, int most, int64_t deadline_ns,
                         const char *name, const void *site) {
    if (most > 0) ambit__will_write(events, (size_t)most * sizeof *events, site);
    waiting wait = {.ask = ask_epoll,
                    .argument = &epoll,
                    .inside = ambit__descriptor_at(epoll)->kind != AMBIT__OUTSIDE,
                    .deadline_ns = deadline_ns,
                    .name = name,
                    .site = site};
    for (;;) {
        wait_for(&wait, ambit__descriptor_at(epoll));
        int there = epoll_wait(epoll, events, most, 0);
        if (there > 0) learn_from_watched(epoll);
        /* What was there may be gone when the kernel looks closely. */
        if (there != 0 || ambit__now() >= deadline_ns) return there;
    }
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
    if (!ambit__self) return epoll_wait(epoll, events, most, timeout);
    return epoll_wait_at(epoll, events, most, after_milliseconds(timeout), "epoll_wait", HERE);
}

int __wrap_epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout,
                       const sigset_t *mask);
int __wrap_epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout,
                       const sigset_t *mask) {
    if (!ambit__self) return epoll_pwait(epoll, events, most, timeout, mask);
    return epoll_wait_at(epoll, events, most, after_milliseconds(timeout), "epoll_pwait", HERE);
}

/* ---- timerfd --------------------------------------------------------------------------------- */

/* An eventfd that the schedule writes when the virtual time has come. */
int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags) {
    if (!ambit__self) return timerfd_create(clock, flags);
    int events =
        (flags & TFD_NONBLOCK ? EFD_NONBLOCK : 0) | (flags & TFD_CLOEXEC ? EFD_CLOEXEC : 0);
    int made = eventfd(0, events);
    if (made >= 0) ambit__descriptor_made(made, AMBIT__TIMER, 0, 0);
    return made;
}

static struct itimerspec timer_left(const ambit__descriptor *timer) {
    struct itimerspec left = {{0, 0}, {0, 0}};
    if (timer->due_ns == AMBIT__FOREVER) return left;
    left.it_value = ambit__time_spec(timer->due_ns - ambit__now());
    left.it_interval = ambit__time_spec(timer->every_ns);
    return left;
}

static ambit__descriptor *timer_at(int descriptor, const char *name, const void *site) {
    ambit__descriptor *timer = ambit__descriptor_at(descriptor);
    if (timer->kind != AMBIT__TIMER)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "%s() of descriptor %d, which no timerfd_create() of the schedule made", name,
                    descriptor);
    return timer;
}

int __wrap_timerfd_settime(int descriptor, int flags, const struct itimerspec *new,
                           struct itimerspec *old);
int __wrap_timerfd_settime(int descriptor, int flags, const struct itimerspec *new,
                           struct itimerspec *old) {
    if (!ambit__self) return timerfd_settime(descriptor, flags, new, old);
    ambit__descriptor *timer = timer_at(descriptor, "timerfd_settime", HERE);
    ambit__operation operation = {.kind = AMBIT__OP_CALL,
                                  .name = "timerfd_settime",
                                  .address = timer,
                                  .writes = true,
                                  .site = HERE,
                                  .deadline_ns = AMBIT__FOREVER};
    ambit__step(&operation);
    int64_t due, every;
    if (!ambit__time_ns(&new->it_value, &due) || !ambit__time_ns(&new->it_interval, &every)) {
        errno = EINVAL;
        return -1;
    }
    ambit__will_write(old, sizeof *old, HERE);
    if (old) *old = timer_left(timer);
    /* What had been counted is forgotten. */
    eventfd_t counted;
    struct pollfd asked = {.fd = descriptor, .events = POLLIN};
    if (poll(&asked, 1, 0) > 0) (void)eventfd_read(descriptor, &counted);
    timer->every_ns = every;
    if (due == 0)
        timer->due_ns = AMBIT__FOREVER;
    else
        timer->due_ns = flags & TFD_TIMER_ABSTIME ? due : ambit__time_after(due);
    return 0;
}

int __wrap_timerfd_gettime(int descriptor, struct itimerspec *left);
int __wrap_timerfd_gettime(int descriptor, struct itimerspec *left) {
    if (!ambit__self) return timerfd_gettime(descriptor, left);
    (void)ambit__timers_tick();
    ambit__will_write(left, sizeof *left, HERE);
    *left = timer_left(timer_at(descriptor, "timerfd_gettime", HERE));
    return 0;
}
