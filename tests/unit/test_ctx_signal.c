/* Signal handlers: err and the deadline may be asked for, whatever call was interrupted. A suite of
 * its own, since clang 14's ThreadSanitizer fails a check of its own when a signal meets a process
 * that has had some hundred threads. */
#include "ctxs.h"

#include <signal.h>
#include <sys/time.h>

AMBIT_KEY(number, int);

static ambit_ctx *_Atomic watched[3];
static _Atomic(int) handled, ended_seen;
static void look(int signal_number) {
    (void)signal_number;
    for (int i = 0; i < 3; i++) {
        ambit_ctx *ctx = atomic_load(&watched[i]);
        if (!ctx) continue;
        ambit_status first = ambit_ctx_err(ctx), second = ambit_ctx_err(ctx);
        if (first && first != second) abort(); /* it does not go back, or change */
        if (ambit_ctx_deadline_ns(ctx) < 0) abort();
        if (first) atomic_fetch_add(&ended_seen, 1);
    }
    atomic_fetch_add(&handled, 1);
}
/* A handler that interrupts whatever call this thread is in, locks held or not. */
static void err_and_deadline_are_safe_in_a_handler(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = look, .sa_flags = SA_RESTART}, usual;
    struct itimerval often = {{0, 150}, {0, 150}}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, &usual);
    setitimer(ITIMER_REAL, &often, NULL);
    int64_t until_ns = ambit_clock_now_ns() + 400 * AMBIT_MILLISECOND;
    for (int i = 0; ambit_clock_now_ns() < until_ns; i++) {
        _Atomic(int) ran = 0;
        ambit_cancel node = {0};
        ambit_ctx *root = open_timeout(ambit_background(), i % 2 ? 20000 : AMBIT_SECOND);
        ambit_ctx *child = open_child(root), *leaf = open_child(child);
        atomic_store(&watched[0], root);
        atomic_store(&watched[1], child);
        atomic_store(&watched[2], leaf);
        must(ambit_ctx_on_cancel(leaf, &node, count_up, &ran) < AMBIT_EMEMORY);
        must(ambit_ctx_put(leaf, &number, &i) == AMBIT_OK);
        (void)!ambit_ctx_sleep(leaf, 1000);
        if (i % 3) ambit_ctx_cancel(root, "busy");
        (void)ambit_ctx_cause(leaf);
        (void)ambit_ctx_off_cancel(leaf, &node);
        for (int at = 0; at < 3; at++) atomic_store(&watched[at], NULL);
        ambit_ctx_close(&leaf);
        ambit_ctx_close(&child);
        ambit_ctx_close(&root);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &usual, NULL);
    assert_true(atomic_load(&handled) > 20);
    assert_true(atomic_load(&ended_seen) > 0);
}

/* The same from a timer of the kernel's on another thread's calls: cancels and opens of the tree. */
static _Atomic(int) stop;
static void *cancel_and_close(void *argument) {
    sigset_t alarm_only;
    (void)argument;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_only, NULL); /* the handler runs on the other thread */
    while (!atomic_load(&stop)) {
        ambit_ctx *root = atomic_load(&watched[0]);
        if (root) ambit_ctx_cancel(root, "from another thread");
        nap_ms(0);
    }
    return NULL;
}
static void a_handler_beside_a_cancel_sees_one_end(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = look, .sa_flags = SA_RESTART}, usual;
    struct itimerval often = {{0, 150}, {0, 150}}, never = {{0, 0}, {0, 0}};
    ambit_ctx *contexts[200];
    sigaction(SIGALRM, &action, &usual);
    atomic_store(&handled, 0);
    atomic_store(&stop, 0);
    pthread_t thread = start(cancel_and_close, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 200; i++) {
        contexts[i] = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
        atomic_store(&watched[0], contexts[i]);
        while (!ambit_ctx_err(contexts[i])) {
        }
        must(!strcmp(ambit_ctx_cause(contexts[i]).text, "from another thread"));
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &usual, NULL);
    atomic_store(&stop, 1);
    join(thread);
    atomic_store(&watched[0], NULL);
    for (int i = 0; i < 200; i++) ambit_ctx_close(&contexts[i]);
    assert_true(atomic_load(&handled) > 0);
}

static const struct CMUnitTest tests[] = {
    CASE(err_and_deadline_are_safe_in_a_handler),
    CASE(a_handler_beside_a_cancel_sees_one_end),
};
RUN(tests);
