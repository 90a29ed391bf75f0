/* Descriptors: readable from the end on, for poll and for epoll in both modes, in several loops at
 * once; whose they are; and what happens when none is left. */
#include "ctxs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

static int fd_of(ambit_ctx *ctx) {
    int fd = -1;
    must(!ambit_ctx_fd(ctx, &fd));
    must(fd >= 0);
    return fd;
}
static bool readable(int fd) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN);
}
static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static int watch(int fd, uint32_t events) {
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = events, .data.fd = fd};
    must(epoll_fd >= 0 && !epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event));
    return epoll_fd;
}
static int fires(int epoll_fd, int ms) {
    struct epoll_event event;
    int count = epoll_wait(epoll_fd, &event, 1, ms);
    return count == 1 && (event.events & EPOLLIN) ? 1 : count;
}

/* ---- Readable from the end on ---------------------------------------------------------------- */

static void level_triggered_fires_as_often_as_it_is_asked(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    int epoll_fd = watch(fd_of(ctx), EPOLLIN);
    assert_int_equal(fires(epoll_fd, 0), 0);
    ambit_ctx_cancel(ctx, NULL);
    for (int i = 0; i < 5; i++) assert_int_equal(fires(epoll_fd, 0), 1);
    close(epoll_fd);
    ambit_ctx_close(&ctx);
}

static void edge_triggered_fires_once(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    int epoll_fd = watch(fd_of(ctx), EPOLLIN | EPOLLET);
    ambit_ctx_cancel(ctx, NULL);
    ambit_ctx_cancel(ctx, "again"); /* no second edge */
    assert_int_equal(fires(epoll_fd, 0), 1);
    assert_int_equal(fires(epoll_fd, 0), 0);
    close(epoll_fd);
    epoll_fd = watch(fd_of(ctx), EPOLLIN | EPOLLET); /* who comes later sees an edge of his own */
    assert_int_equal(fires(epoll_fd, 0), 1);
    assert_int_equal(fires(epoll_fd, 0), 0);
    close(epoll_fd);
    ambit_ctx_close(&ctx);
}

static void several_loops_see_one_descriptor(void **state) {
    (void)state;
    enum { LOOPS = 4 };
    int loops[LOOPS];
    ambit_ctx *ctx = open_child(ambit_background());
    int fd = fd_of(ctx);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(fd_of(ctx), fd);
        loops[i] = watch(fd, EPOLLIN | (i % 2 ? (uint32_t)EPOLLET : 0u));
    }
    ambit_ctx_cancel(ctx, NULL);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(fires(loops[i], 0), 1);
        close(loops[i]);
    }
    assert_true(readable(fd));
    ambit_ctx_close(&ctx);
}

/* go#75533: when cancel has returned, whoever polls sees it. */
static void readable_when_cancel_has_returned(void **state) {
    (void)state;
    for (int levels = 1; levels <= 4; levels++) {
        ambit_ctx *chain[5] = {open_child(ambit_background())};
        int fds[5];
        for (int i = 1; i <= levels; i++) chain[i] = open_child(chain[i - 1]);
        for (int i = levels; i >= 0; i--) fds[i] = fd_of(chain[i]);
        ambit_ctx_cancel(chain[1], NULL);
        assert_false(readable(fds[0]));
        for (int i = 1; i <= levels; i++) assert_true(readable(fds[i]));
        for (int i = 0; i <= levels; i++) ambit_ctx_close(&chain[i]);
    }
}

static void an_ended_context_gives_a_readable_one(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *child = open_child(root);
    ambit_ctx *past = open_timeout(ambit_background(), 0);
    ambit_ctx_cancel(root, NULL);
    assert_true(readable(fd_of(root)));
    assert_true(readable(fd_of(child)));
    assert_true(readable(fd_of(past)));
    ambit_ctx_close(&past);
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

static void own_and_inherited_deadlines_make_it_readable(void **state) {
    (void)state;
    ambit_ctx *root = open_timeout(ambit_background(), 20 * AMBIT_MILLISECOND);
    ambit_ctx *child = open_child(root);
    int own = watch(fd_of(root), EPOLLIN), inherited = watch(fd_of(child), EPOLLIN);
    assert_int_equal(fires(own, 10000), 1);
    assert_int_equal(fires(inherited, 10000), 1);
    assert_true(ambit_clock_now_ns() >= ambit_ctx_deadline_ns(root));
    assert_int_equal(ambit_ctx_err(child), AMBIT_TIMED_OUT);
    close(own);
    close(inherited);
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

/* ---- Whose it is ----------------------------------------------------------------------------- */

static void it_lives_as_long_as_the_memory(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_hold *hold = hold_of(ctx);
    int fd = fd_of(ctx);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ambit_ctx_close(&ctx);
    assert_true(is_open(fd));
    assert_true(readable(fd));
    assert_int_equal(fd_of(ambit_hold_ctx(hold)), fd);
    ambit_ctx_drop(&hold);
    assert_false(is_open(fd));
}

static void a_context_that_is_opened_next_has_none_of_the_last(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) { /* memory is reused at once */
        ambit_ctx *ctx = open_child(ambit_background());
        int fd = fd_of(ctx);
        assert_false(readable(fd));
        if (i % 2) ambit_ctx_cancel(ctx, NULL);
        ambit_ctx_close(&ctx);
        assert_false(is_open(fd));
    }
}

static void the_background_has_none(void **state) {
    (void)state;
    int fd = 7;
    assert_int_equal(ambit_ctx_fd(ambit_background(), &fd), AMBIT_EINVALID);
    assert_int_equal(fd, -1);
}

/* ---- Threads --------------------------------------------------------------------------------- */

enum { ASKERS = 3, ROUNDS = 1500 };
struct asker {
    pthread_barrier_t together;
    ambit_ctx *ctx;
    _Atomic(int) fds[ASKERS], tickets;
};
static void *ask(void *argument) {
    struct asker *asker = argument;
    int mine = atomic_fetch_add(&asker->tickets, 1);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&asker->together);
        atomic_store(&asker->fds[mine], fd_of(asker->ctx));
        pthread_barrier_wait(&asker->together);
    }
    return NULL;
}
static void all_threads_are_given_the_same_one(void **state) {
    (void)state;
    struct asker asker = {.tickets = 0};
    pthread_t threads[ASKERS];
    pthread_barrier_init(&asker.together, NULL, ASKERS + 1);
    for (int i = 0; i < ASKERS; i++) threads[i] = start(ask, &asker);
    for (int round = 0; round < ROUNDS; round++) {
        asker.ctx = open_child(ambit_background());
        pthread_barrier_wait(&asker.together);
        if (round % 2) ambit_ctx_cancel(asker.ctx, NULL); /* a race with the end */
        pthread_barrier_wait(&asker.together);
        for (int i = 0; i < ASKERS; i++) assert_int_equal(asker.fds[i], asker.fds[0]);
        assert_int_equal(readable(asker.fds[0]), round % 2);
        ambit_ctx_close(&asker.ctx);
        assert_false(is_open(asker.fds[0]));
    }
    for (int i = 0; i < ASKERS; i++) join(threads[i]);
    pthread_barrier_destroy(&asker.together);
}

static void *cancel_a_little_later(void *argument) {
    nap_ms(15);
    ambit_ctx_cancel(argument, NULL);
    return NULL;
}
static void a_cancel_elsewhere_wakes_the_loop(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *child = open_child(root);
    int epoll_fd = watch(fd_of(child), EPOLLIN);
    pthread_t thread = start(cancel_a_little_later, root);
    assert_int_equal(fires(epoll_fd, 10000), 1);
    assert_int_equal(ambit_ctx_err(child), AMBIT_CANCELLED); /* who is woken finds it ended */
    join(thread);
    close(epoll_fd);
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

/* ---- None left ------------------------------------------------------------------------------- */

static void without_descriptors_nothing_is_half_done_and_a_retry_works(void **state) {
    (void)state;
    struct rlimit usual, none;
    int fd = 7;
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_ctx *timed = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
    int lowest = dup(0);
    assert_true(lowest >= 0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    none = (struct rlimit){(rlim_t)lowest, usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    ambit_status first = ambit_ctx_fd(ctx, &fd);
    int first_fd = fd;
    fd = 7;
    ambit_status second = ambit_ctx_fd(timed, &fd);
    int second_fd = fd;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_int_equal(first, AMBIT_EFILES);
    assert_int_equal(second, AMBIT_EFILES);
    assert_int_equal(first_fd, -1);
    assert_int_equal(second_fd, -1);
    assert_ok(ambit_ctx_err(ctx));
    int epoll_fd = watch(fd_of(ctx), EPOLLIN);
    assert_false(readable(fd_of(timed)));
    assert_int_equal(fires(epoll_fd, 0), 0);
    ambit_ctx_cancel(ctx, NULL);
    assert_int_equal(fires(epoll_fd, 0), 1);
    close(epoll_fd);
    ambit_ctx_close(&ctx);
    ambit_ctx_close(&timed);
}

static const struct CMUnitTest tests[] = {
    CASE(level_triggered_fires_as_often_as_it_is_asked),
    CASE(edge_triggered_fires_once),
    CASE(several_loops_see_one_descriptor),
    CASE(readable_when_cancel_has_returned),
    CASE(an_ended_context_gives_a_readable_one),
    CASE(own_and_inherited_deadlines_make_it_readable),
    CASE(it_lives_as_long_as_the_memory),
    CASE(a_context_that_is_opened_next_has_none_of_the_last),
    CASE(the_background_has_none),
    CASE(all_threads_are_given_the_same_one),
    CASE(a_cancel_elsewhere_wakes_the_loop),
    CASE(without_descriptors_nothing_is_half_done_and_a_retry_works),
};
RUN(tests);
