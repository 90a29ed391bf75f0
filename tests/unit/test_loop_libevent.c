/* A context's end inside a libevent loop, level and edge triggered. */
#include <event2/event.h>

#include "loops.h"

struct loop {
    struct event_base *base;
    int waiting;
    bool expired;
};
struct watcher {
    struct event *event;
    struct loop *loop;
    bool edge;
    int fired;
};
static void note_readable(evutil_socket_t fd, short events, void *argument) {
    struct watcher *watcher = argument;
    (void)fd;
    must(events & EV_READ);
    /* Level triggered it comes as often as it is asked: take it out the second time. */
    if (++watcher->fired == (watcher->edge ? 1 : 2)) {
        event_del(watcher->event);
        if (!--watcher->loop->waiting) event_base_loopbreak(watcher->loop->base);
    }
}
static void expire(evutil_socket_t fd, short events, void *argument) {
    struct loop *loop = argument;
    (void)fd, (void)events;
    loop->expired = true;
    event_base_loopbreak(loop->base);
}

static bool loop_stops(const int *fds, int count, bool edge) {
    struct loop loop = {.base = event_base_new(), .waiting = count};
    struct watcher *watchers = calloc((size_t)count, sizeof *watchers);
    struct timeval limit = {10, 0};
    must(loop.base);
    struct event *timeout = event_new(loop.base, -1, EV_TIMEOUT, expire, &loop);
    must(timeout && !event_add(timeout, &limit));
    for (int i = 0; i < count; i++) {
        watchers[i] = (struct watcher){.loop = &loop, .edge = edge};
        short events = (short)(EV_READ | EV_PERSIST | (edge ? EV_ET : 0));
        watchers[i].event = event_new(loop.base, fds[i], events, note_readable, &watchers[i]);
        must(watchers[i].event && !event_add(watchers[i].event, NULL));
    }
    must(event_base_dispatch(loop.base) >= 0);
    for (int i = 0; i < count; i++) event_free(watchers[i].event);
    event_free(timeout);
    event_base_free(loop.base);
    free(watchers);
    return !loop.expired;
}

static const struct CMUnitTest tests[] = {LOOP_CASES};
RUN(tests);
