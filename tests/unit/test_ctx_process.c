/* Threads that end, and processes that fork. */
#include "ctxs.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

AMBIT_KEY(number, int);

/* ---- Threads that end ------------------------------------------------------------------------ */

static _Atomic(int) destroyed;
static void note_destroyed(void *argument) {
    (void)argument;
    atomic_fetch_add(&destroyed, 1);
}
struct left {
    ambit_ctx *ctx, *child;
    ambit_hold *hold;
    ambit_cancel *node;
    _Atomic(int) ran;
};
static void *open_and_end(void *argument) {
    struct left *left = argument;
    int one = 1;
    left->ctx = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
    left->child = open_child(left->ctx);
    left->hold = hold_of(left->child);
    left->node = calloc(1, sizeof *left->node);
    must(!ambit_ctx_put(left->ctx, &number, &one));
    must(!ambit_ctx_defer(left->child, note_destroyed, NULL));
    must(!ambit_ctx_on_cancel(left->child, left->node, count_up, &left->ran));
    return NULL;
}
static void *close_what_is_left(void *argument) {
    struct left *left = argument;
    ambit_ctx_close(&left->ctx);
    must(atomic_load(&left->ran) == 1);
    must(*ambit_ctx_get(left->child, &number) == 1);
    ambit_ctx_close(&left->child);
    ambit_ctx_drop(&left->hold);
    return NULL;
}
static void what_a_thread_leaves_open_another_closes(void **state) {
    (void)state;
    atomic_store(&destroyed, 0);
    for (int round = 0; round < 50; round++) {
        struct left left = {.ran = 0};
        (void)on_thread(open_and_end, &left);
        assert_ok(ambit_ctx_err(left.child)); /* it belongs to no thread, and is seen */
        assert_int_equal(living(AMBIT_KIND_CTX), 2);
        assert_int_equal(living(AMBIT_KIND_HOLD), 1);
        assert_int_equal(timers_armed(), 1);
        if (round % 2)
            (void)close_what_is_left(&left);
        else
            (void)on_thread(close_what_is_left, &left);
        assert_int_equal(atomic_load(&destroyed), round + 1);
        assert_int_equal(timers_armed(), 0);
        free(left.node);
    }
}

/* The program's own thread-specific data: a context that is closed by its destructor, which asks to
 * be called again until the last round that POSIX grants. */
static pthread_key_t exit_key;
static int rounds_wanted;
struct at_exit {
    ambit_ctx *ctx, *late;
    int rounds;
};
static void close_at_exit(void *argument) {
    struct at_exit *at_exit = argument;
    int one = 1;
    at_exit->rounds++;
    must(!ambit_ctx_put(at_exit->late ? at_exit->late : at_exit->ctx, &number, &one) ||
         at_exit->rounds > 1);
    ambit_ctx_close(&at_exit->late);
    if (at_exit->rounds < rounds_wanted) { /* opens and closes in every round */
        at_exit->late = open_child(at_exit->ctx);
        must(!pthread_setspecific(exit_key, at_exit));
        return;
    }
    ambit_ctx_close(&at_exit->ctx);
    free(at_exit);
    atomic_fetch_add(&destroyed, 1);
}
static void *leave_to_the_destructor(void *argument) {
    struct at_exit *at_exit = calloc(1, sizeof *at_exit);
    (void)argument;
    at_exit->ctx = open_child(ambit_background());
    must(!pthread_setspecific(exit_key, at_exit));
    return NULL;
}
static void destructors_of_thread_data_close_contexts_in_every_round(void **state) {
    (void)state;
    ambit_memory_stats steady = {0}, after;
    must(!pthread_key_create(&exit_key, close_at_exit));
    /* ThreadSanitizer takes its own state down in the last round: no code may run beside it. */
    int rounds = BUILD_TSAN ? 2 : 4;
    for (rounds_wanted = 1; rounds_wanted <= rounds; rounds_wanted++) {
        atomic_store(&destroyed, 0);
        for (int i = 0; i < 150; i++) {
            if (i == 50) ambit_memory_stats_read(&steady);
            (void)on_thread(leave_to_the_destructor, NULL);
        }
        ambit_memory_stats_read(&after);
        assert_int_equal(atomic_load(&destroyed), 150);
        assert_int_equal(living(AMBIT_KIND_CTX), 0);
        if (rounds_wanted <= 3) /* the fourth is the last: no hook of ours follows it */
            assert_int_equal(after.live_bytes, steady.live_bytes);
    }
    pthread_key_delete(exit_key);
}

static void *work_and_end(void *argument) {
    ambit_ctx *root = argument, *child = open_child(root);
    must(ambit_ctx_alloc(child, 3000));
    must(!ambit_ctx_sleep(child, 1));
    ambit_hold *hold = hold_of(root);
    ambit_ctx_close(&child);
    ambit_ctx_drop(&hold);
    return NULL;
}
static void threads_come_and_go_and_memory_stays_flat(void **state) {
    (void)state;
    ambit_memory_stats steady = {0}, after;
    ambit_ctx *root = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
    for (int i = 0; i < 1000; i++) {
        if (i == 100) ambit_memory_stats_read(&steady);
        (void)on_thread(work_and_end, root);
    }
    ambit_memory_stats_read(&after);
    assert_int_equal(after.live_bytes, steady.live_bytes);
    ambit_ctx_close(&root);
}

/* ---- fork ------------------------------------------------------------------------------------ */

static int fork_and(int (*run)(void *argument), void *argument) {
    fflush(NULL);
    pid_t child = fork();
    must(child >= 0);
    if (!child) {
        int answer = run(argument);
        ambit_timer_stop();
        _exit(answer);
    }
    int status = 0;
    must(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) print_error("the child died by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool readable(int fd) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}
struct inherited {
    ambit_ctx *root, *child, *timed;
    ambit_hold *hold;
    ambit_cancel node;
    _Atomic(int) ran;
    int fd;
};
static void prepare(struct inherited *inherited, bool armed) {
    int one = 1;
    *inherited = (struct inherited){.root = open_child(ambit_background()), .fd = -1};
    inherited->child = open_child(inherited->root);
    inherited->timed = open_timeout(ambit_background(), 40 * AMBIT_MILLISECOND);
    inherited->hold = hold_of(inherited->root);
    must(!ambit_ctx_put(inherited->root, &number, &one));
    must(!ambit_ctx_defer(inherited->child, note_destroyed, NULL));
    must(!ambit_ctx_on_cancel(inherited->child, &inherited->node, count_up, &inherited->ran));
    if (armed) must(!ambit_ctx_fd(inherited->child, &inherited->fd));
    atomic_store(&destroyed, 0);
}
static int read_and_close(void *argument) {
    struct inherited *inherited = argument;
    if (ambit_ctx_err(inherited->child) || ambit_ctx_cause(inherited->root).code) return 2;
    if (*ambit_ctx_get(inherited->child, &number) != 1) return 3;
    if (living(AMBIT_KIND_CTX) != 3) return 4;
    ambit_ctx_close(&inherited->root);
    if (ambit_ctx_err(inherited->child) != AMBIT_CANCELLED) return 5;
    if (atomic_load(&inherited->ran) != 1 || atomic_load(&destroyed)) return 6;
    ambit_ctx_close(&inherited->child);
    ambit_ctx_drop(&inherited->hold);
    ambit_ctx_close(&inherited->timed);
    if (atomic_load(&destroyed) != 1) return 7;
    return living(AMBIT_KIND_CTX) || living(AMBIT_KIND_HOLD) ? 8 : 0;
}
static void close_in_parent(struct inherited *inherited) {
    assert_ok(ambit_ctx_err(inherited->child)); /* nothing of what the child did is seen here */
    assert_int_equal(atomic_load(&inherited->ran), 0);
    assert_int_equal(atomic_load(&destroyed), 0);
    assert_int_equal(read_and_close(inherited), 0);
}
static void a_forked_child_reads_and_closes_what_it_inherits(void **state) {
    (void)state;
    struct inherited inherited;
    prepare(&inherited, false);
    for (int i = 0; i < 3; i++) assert_int_equal(fork_and(read_and_close, &inherited), 0);
    close_in_parent(&inherited);
}

/* The descriptor is one and the same for both processes: the child's close is no news here. */
static void a_forked_child_s_close_does_not_wake_the_parent_s_loop(void **state) {
    (void)state;
    struct inherited inherited;
    prepare(&inherited, true);
    assert_int_equal(fork_and(read_and_close, &inherited), 0);
    assert_false(readable(inherited.fd));
    int fd = inherited.fd;
    ambit_ctx_cancel(inherited.root, NULL);
    assert_true(readable(fd));
    atomic_store(&inherited.ran, 0);
    ambit_ctx_close(&inherited.root);
    ambit_ctx_close(&inherited.child);
    ambit_ctx_drop(&inherited.hold);
    ambit_ctx_close(&inherited.timed);
}

static int wait_in_child(void *argument) {
    struct inherited *inherited = argument;
    int fd = -1;
    if (ambit_ctx_wait(inherited->timed) != AMBIT_TIMED_OUT) return 2; /* inherited, not armed */
    ambit_ctx *own = open_timeout(inherited->root, 5 * AMBIT_MILLISECOND);
    if (ambit_ctx_wait(own) != AMBIT_TIMED_OUT) return 3;
    if (ambit_ctx_sleep(inherited->child, AMBIT_MILLISECOND)) return 4;
    if (ambit_ctx_fd(own, &fd) || !readable(fd)) return 5;
    ambit_ctx_close(&own);
    ambit_ctx_close(&inherited->timed);
    return 0;
}
static void a_forked_child_waits_with_a_timer_thread_of_its_own(void **state) {
    (void)state;
    struct inherited inherited;
    prepare(&inherited, false);
    assert_int_equal(fork_and(wait_in_child, &inherited), 0);
    assert_int_equal(ambit_ctx_wait(inherited.timed), AMBIT_TIMED_OUT);
    close_in_parent(&inherited);
}

/* Here the parent's timer thread runs, and its deadlines are armed, when it forks. */
static int close_armed(void *argument) {
    struct inherited *inherited = argument;
    if (ambit_ctx_err(inherited->timed)) return 2;
    ambit_ctx *own = open_timeout(ambit_background(), 5 * AMBIT_MILLISECOND);
    if (ambit_ctx_wait(own) != AMBIT_TIMED_OUT) return 3;
    ambit_ctx_close(&own);
    return read_and_close(inherited);
}
static void a_fork_beside_the_timer_thread_leaves_both_whole(void **state) {
    (void)state;
    if (BUILD_TSAN) skip(); /* by default it refuses threads after a fork with several */
    for (int round = 0; round < 20; round++) {
        struct inherited inherited;
        prepare(&inherited, false);
        ambit_ctx_close(&inherited.timed);
        inherited.timed = open_timeout(ambit_background(), 600 * AMBIT_SECOND);
        ambit_cancel node = {0};
        _Atomic(int) ran = 0;
        assert_ok(ambit_ctx_on_cancel(inherited.timed, &node, count_up, &ran));
        assert_int_equal(fork_and(close_armed, &inherited), 0);
        assert_int_equal(timers_armed(), 1);
        close_in_parent(&inherited);
    }
}
/* The thread that forks waits, armed, while the child comes and goes. */
static void a_deadline_comes_after_a_fork(void **state) {
    (void)state;
    if (BUILD_TSAN) skip();
    struct inherited inherited;
    prepare(&inherited, false);
    ambit_ctx *soon = open_timeout(ambit_background(), 100 * AMBIT_MILLISECOND);
    ambit_cancel node = {0};
    _Atomic(int) ran = 0;
    assert_ok(ambit_ctx_on_cancel(soon, &node, count_up, &ran));
    (void)fork_and(close_armed, &inherited);
    assert_int_equal(ambit_ctx_wait(soon), AMBIT_TIMED_OUT);
    ambit_ctx_close(&soon);
    close_in_parent(&inherited);
}

static const struct CMUnitTest tests[] = {
    /* The forks of a process with one thread come first. */
    CASE(a_forked_child_reads_and_closes_what_it_inherits),
    CASE(a_forked_child_s_close_does_not_wake_the_parent_s_loop),
    CASE(a_forked_child_waits_with_a_timer_thread_of_its_own),
    CASE(what_a_thread_leaves_open_another_closes),
    CASE(destructors_of_thread_data_close_contexts_in_every_round),
    CASE(threads_come_and_go_and_memory_stays_flat),
    CASE(a_fork_beside_the_timer_thread_leaves_both_whole),
    CASE(a_deadline_comes_after_a_fork),
};
RUN(tests);
