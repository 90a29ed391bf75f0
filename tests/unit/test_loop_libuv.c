/* A context's end inside a libuv loop. */
#include <uv.h>

#include "loops.h"

struct loop {
    uv_loop_t loop;
    uv_timer_t limit, work;
    int waiting;
    bool expired;
};
static void note_readable(uv_poll_t *handle, int status, int events) {
    struct loop *loop = handle->data;
    must(!status && (events & UV_READABLE));
    uv_poll_stop(handle);
    uv_close((uv_handle_t *)handle, NULL);
    if (--loop->waiting) return;
    uv_close((uv_handle_t *)&loop->limit, NULL);
    uv_close((uv_handle_t *)&loop->work, NULL);
}
static void expire(uv_timer_t *timer) {
    struct loop *loop = timer->data;
    loop->expired = true;
    uv_stop(&loop->loop);
}
static void do_other_work(uv_timer_t *timer) { (void)timer; }

/* libuv watches level-triggered only, so both ways are the same here. */
static bool loop_stops(const int *fds, int count, bool edge) {
    struct loop loop = {.waiting = count};
    uv_poll_t *handles = calloc((size_t)count, sizeof *handles);
    (void)edge;
    must(!uv_loop_init(&loop.loop));
    must(!uv_timer_init(&loop.loop, &loop.limit) && !uv_timer_init(&loop.loop, &loop.work));
    loop.limit.data = &loop;
    must(!uv_timer_start(&loop.limit, expire, 10000, 0));
    must(!uv_timer_start(&loop.work, do_other_work, 1, 1));
    for (int i = 0; i < count; i++) {
        must(!uv_poll_init(&loop.loop, &handles[i], fds[i]));
        handles[i].data = &loop;
        must(!uv_poll_start(&handles[i], UV_READABLE, note_readable));
    }
    (void)uv_run(&loop.loop, UV_RUN_DEFAULT);
    if (!loop.expired) must(!uv_loop_close(&loop.loop)); /* nothing is left in it */
    free(handles);
    return !loop.expired;
}

static const struct CMUnitTest tests[] = {LOOP_CASES};
RUN(tests);
