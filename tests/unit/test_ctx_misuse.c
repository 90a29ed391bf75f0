/* What only a caller's bug can cause stops the program: the message names the call, and the lines
 * of both calls where they are known (Go: TestInvalidDerivedFail). */
#include "ctxs.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

AMBIT_KEY(number, int);

static ambit_ctx *ctx; /* what the wrong calls are made with */
static int *nothing;

/* ---- Every call, with a NULL and with a closed context --------------------------------------- */

static void do_nothing(void *argument) { (void)argument; }
static ambit_cancel node;
static int fd;
static ambit_ctx *out;
static ambit_hold *hold;

static void call_open(void) { (void)!ambit_ctx_open(ctx, &out); }
static void call_open_deadline(void) { (void)!ambit_ctx_open_deadline(ctx, 5, &out); }
static void call_open_timeout(void) { (void)!ambit_ctx_open_timeout(ctx, 5, &out); }
static void call_merge(void) { (void)!ambit_ctx_merge(ctx, ambit_background(), &out); }
static void call_merge_other(void) { (void)!ambit_ctx_merge(ambit_background(), ctx, &out); }
static void call_detach(void) { (void)!ambit_ctx_detach(ctx, 5, &out); }
static void call_order_children(void) { ambit_ctx_order_children(ctx); }
static void call_hold(void) { (void)!ambit_ctx_hold(ctx, &hold); }
static void call_cancel(void) { ambit_ctx_cancel(ctx, NULL); }
static void call_cancel_value(void) { ambit_ctx_cancel_value(ctx, NULL, 1); }
static void call_cause(void) { (void)ambit_ctx_cause(ctx); }
static void call_on_cancel(void) { (void)!ambit_ctx_on_cancel(ctx, &node, count_up, NULL); }
static void call_wait(void) { (void)!ambit_ctx_wait(ctx); }
static void call_sleep(void) { (void)!ambit_ctx_sleep(ctx, 5); }
static void call_sleep_not_at_all(void) { (void)!ambit_ctx_sleep(ctx, 0); }
static void call_sleep_until(void) { (void)!ambit_ctx_sleep_until(ctx, 5); }
static void call_fd(void) { (void)!ambit_ctx_fd(ctx, &fd); }
static void call_put(void) { (void)!ambit_ctx_put(ctx, &number, &fd); }
static void call_own(void) { (void)!ambit_ctx_own(ctx, &number, &fd, 4, NULL); }
static void call_alloc(void) { (void)ambit_ctx_alloc(ctx, 4); }
static void call_defer(void) { (void)!ambit_ctx_defer(ctx, do_nothing, NULL); }
static void call_budget_set(void) { ambit_ctx_budget_set(ctx, 4); }
static void call_mark(void) { ambit_ctx_mark_long_lived(ctx); }
static void call_with(void) { AMBIT_WITH(ctx) do_nothing(NULL); }

static const struct {
    void (*call)(void);
    const char *names; /* the public call in the message */
    const char *from;  /* the function whose line is known, NULL for a call without one */
} calls[] = {
    {call_open, "ambit_ctx_open", "call_open"},
    {call_open_deadline, "ambit_ctx_open", "call_open_deadline"},
    {call_open_timeout, "ambit_ctx_open_timeout", "call_open_timeout"},
    {call_merge, "ambit_ctx_merge", "call_merge"},
    {call_merge_other, "ambit_ctx_merge", "call_merge_other"},
    {call_detach, "ambit_ctx_detach", "call_detach"},
    {call_order_children, "ambit_ctx_order_children", NULL},
    {call_hold, "ambit_ctx_hold", "call_hold"},
    {call_cancel, "ambit_ctx_cancel", "call_cancel"},
    {call_cancel_value, "ambit_ctx_cancel", "call_cancel_value"},
    {call_cause, "ambit_ctx_cause", NULL},
    {call_on_cancel, "ambit_ctx_on_cancel", "call_on_cancel"},
    {call_wait, "ambit_ctx_wait", NULL},
    {call_sleep, "ambit_ctx_sleep", NULL},
    {call_sleep_not_at_all, "ambit_ctx_sleep", NULL},
    {call_sleep_until, "ambit_ctx_sleep_until", NULL},
    {call_fd, "ambit_ctx_fd", "call_fd"},
    {call_put, "ambit_ctx_put", NULL},
    {call_own, "ambit_ctx_own", NULL},
    {call_alloc, "ambit_ctx_alloc", NULL},
    {call_defer, "ambit_ctx_defer", NULL},
    {call_budget_set, "ambit_ctx_budget_set", NULL},
    {call_mark, "ambit_ctx_mark_long_lived", NULL},
    {call_with, "AMBIT_WITH", "call_with"},
};

static void stops(size_t row, const ambit_site *before) {
    memset(&suite_bug, 0, sizeof suite_bug);
    assert_stops(calls[row].call());
    assert_string_equal(suite_bug.function, calls[row].names);
    assert_non_null(suite_bug.message);
    if (calls[row].from) {
        assert_non_null(suite_bug.site);
        assert_string_equal(suite_bug.site->function, calls[row].from);
        assert_string_equal(suite_bug.site->file, __FILE__);
    } else {
        assert_null(suite_bug.site);
    }
    assert_ptr_equal(suite_bug.before, before);
}

static void every_call_stops_without_a_context(void **state) {
    (void)state;
    ctx = NULL;
    for (size_t row = 0; row < sizeof calls / sizeof calls[0]; row++) stops(row, NULL);
}

static void every_call_stops_after_close_and_names_the_close(void **state) {
    (void)state;
    static const ambit_site closed = {"a file", "a function", 7};
    ambit_ctx *own = ctx = open_child(ambit_background());
    ambit_ctx_close_at(&own, &closed);
    for (size_t row = 0; row < sizeof calls / sizeof calls[0]; row++) stops(row, &closed);
    assert_int_equal(living(AMBIT_KIND_CTX), 0); /* nothing was done by them */
    assert_int_equal(living(AMBIT_KIND_HOLD), 0);
}

/* ---- Closing and dropping too often ---------------------------------------------------------- */

static void closing_a_copy_stops_and_names_both_lines(void **state) {
    (void)state;
    for (int kept = 0; kept < 3; kept++) { /* given back; kept by a hold; kept by a child */
        ambit_ctx *own = open_child(ambit_background()), *copy = own;
        ambit_hold *held = kept == 1 ? hold_of(own) : NULL;
        ambit_ctx *child = kept == 2 ? open_child(own) : NULL;
        ambit_ctx_close(&own);
        uint32_t line = __LINE__ - 1;
        assert_stops(ambit_ctx_close(&copy));
        assert_string_equal(suite_bug.function, "ambit_ctx_close");
        assert_int_equal(suite_bug.before->line, line);
        assert_int_equal(suite_bug.site->line, line + 2);
        assert_string_equal(suite_bug.site->function, __func__);
        ambit_ctx_drop(&held);
        ambit_ctx_close(&child);
    }
}

static void dropping_too_often_stops_and_names_both_lines(void **state) {
    (void)state;
    ambit_ctx *own = open_child(ambit_background());
    ambit_hold *first = hold_of(own), *copy = first, *again = first;
    ambit_ctx_drop(&first);
    uint32_t line = __LINE__ - 1;
    assert_stops(ambit_ctx_drop(&copy));
    assert_string_equal(suite_bug.function, "ambit_ctx_drop");
    assert_int_equal(suite_bug.before->line, line);
    assert_int_equal(suite_bug.site->line, line + 2);
    assert_stops(ambit_hold_ctx(again));
    assert_string_equal(suite_bug.function, "ambit_hold_ctx");
    assert_int_equal(suite_bug.before->line, line);
    assert_stops(ambit_hold_ctx(NULL));
    assert_string_equal(suite_bug.function, "ambit_hold_ctx");
    assert_null(suite_bug.before);
    assert_ok(ambit_ctx_err(own)); /* its count is as it was */
    ambit_ctx_close(&own);
}

/* ---- The background is nobody's -------------------------------------------------------------- */

static void the_background_is_not_cancelled_closed_or_filled(void **state) {
    (void)state;
    static const struct {
        void (*call)(void);
        const char *names;
    } refused[] = {{call_cancel, "ambit_ctx_cancel"},
                   {call_cancel_value, "ambit_ctx_cancel"},
                   {call_put, "ambit_ctx_put"},
                   {call_own, "ambit_ctx_own"},
                   {call_alloc, "ambit_ctx_alloc"},
                   {call_defer, "ambit_ctx_defer"},
                   {call_order_children, "ambit_ctx_order_children"}};
    ctx = ambit_background();
    for (int i = 0; i < 7; i++) {
        assert_stops(refused[i].call());
        assert_string_equal(suite_bug.function, refused[i].names);
        assert_non_null(strstr(suite_bug.message, "background"));
    }
    ambit_ctx *copy = ambit_background();
    assert_stops(ambit_ctx_close(&copy));
    assert_string_equal(suite_bug.function, "ambit_ctx_close");
    assert_non_null(suite_bug.site);
    assert_ok(ambit_ctx_err(ambit_background()));
    assert_int_equal(ambit_ctx_bytes(ambit_background()), 0);
}

/* ---- Keys and nodes -------------------------------------------------------------------------- */

static void a_null_key_stops(void **state) {
    (void)state;
    ambit_ctx *own = open_child(ambit_background());
    assert_stops((void)!ambit_ctx_put_bytes(own, NULL, "x", 1));
    assert_string_equal(suite_bug.function, "ambit_ctx_put");
    assert_stops((void)!ambit_ctx_own_pointer(own, NULL, nothing, 1, NULL));
    assert_string_equal(suite_bug.function, "ambit_ctx_own");
    assert_stops((void)ambit_ctx_get_bytes(own, NULL, NULL));
    assert_string_equal(suite_bug.function, "ambit_ctx_get");
    assert_int_equal(ambit_ctx_bytes(own), 0);
    ambit_ctx_close(&own);
}

static void a_node_registered_twice_stops_and_names_both_lines(void **state) {
    (void)state;
    ambit_ctx *own = open_child(ambit_background()), *other = open_child(ambit_background());
    ambit_cancel twice = {0};
    _Atomic(int) ran = 0;
    assert_ok(ambit_ctx_on_cancel(own, &twice, count_up, &ran));
    uint32_t line = __LINE__ - 1;
    ambit_ctx *targets[] = {own, other};
    for (int i = 0; i < 2; i++) { /* the same context, and another */
        assert_stops((void)!ambit_ctx_on_cancel(targets[i], &twice, count_up, &ran));
        assert_string_equal(suite_bug.function, "ambit_ctx_on_cancel");
        assert_int_equal(suite_bug.before->line, line);
        assert_int_equal(suite_bug.site->line, line + 4);
    }
    ambit_ctx_close(&own);
    ambit_ctx_close(&other);
    assert_int_equal(atomic_load(&ran), 1); /* the first registration stands */
}

static jmp_buf inside;
static void leave_callback(const ambit_bug *bug, void *user) {
    (void)user;
    suite_bug = *bug;
    longjmp(inside, 1);
}
static void register_self(ambit_ctx *own, void *argument) {
    ambit_bug_hook_set(leave_callback, NULL);
    if (!setjmp(inside)) {
        (void)!ambit_ctx_on_cancel(own, argument, count_up, NULL);
        must(!"stopped");
    }
    ambit_bug_hook_set(NULL, NULL);
}
static void a_running_node_registered_from_inside_stops(void **state) {
    (void)state;
    ambit_ctx *own = open_child(ambit_background());
    ambit_cancel running = {0};
    assert_ok(ambit_ctx_on_cancel(own, &running, register_self, &running));
    ambit_ctx_cancel(own, NULL);
    assert_string_equal(suite_bug.function, "ambit_ctx_on_cancel");
    assert_string_equal(suite_bug.site->function, "register_self");
    assert_string_equal(suite_bug.before->function, __func__);
    ambit_ctx_close(&own);
}

/* ---- The end of it --------------------------------------------------------------------------- */

static void return_from_hook(const ambit_bug *bug, void *user) {
    (void)bug;
    if (write(*(int *)user, "hook\n", 5) != 5) _exit(3);
}
/* Closes twice in a process of its own; gives what it wrote, and how it ended. */
static int die(char *text, size_t size, bool hook) {
    int pipe_fds[2];
    must(!pipe(pipe_fds));
    pid_t child = fork();
    if (!child) {
        struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        dup2(pipe_fds[1], STDERR_FILENO);
        if (hook) ambit_bug_hook_set(return_from_hook, &pipe_fds[1]);
        ambit_ctx *own = open_child(ambit_background()), *copy = own;
        ambit_ctx_close(&own);
        ambit_ctx_close(&copy);
        _exit(0);
    }
    close(pipe_fds[1]);
    size_t length = 0;
    ssize_t got;
    while (length < size - 1 && (got = read(pipe_fds[0], text + length, size - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = 0;
    close(pipe_fds[0]);
    int status;
    must(waitpid(child, &status, 0) == child);
    return status;
}
static void one_line_is_written_and_the_program_aborts(void **state) {
    (void)state;
    char text[4096];
    for (int hook = 0; hook < 2; hook++) { /* a hook that returns changes nothing */
        int status = die(text, sizeof text, hook);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
        assert_int_equal(strncmp(text, "ambit: ambit_ctx_close: expected ", 33), 0);
        char *first = strstr(text, "test_ctx_misuse.c:");
        assert_non_null(first);
        char *second = strstr(first + 1, "test_ctx_misuse.c:"); /* both lines of it */
        assert_non_null(second);
        assert_int_equal(atoi(first + 18), atoi(second + 18) + 1);
        char *end = strchr(text, '\n');
        assert_non_null(end);
        assert_true(second < end);
        if (hook) assert_int_equal(strncmp(end + 1, "hook\n", 5), 0);
    }
}

static void a_null_function_or_node_stops(void **state) {
    (void)state;
    ambit_ctx *open = open_child(ambit_background());
    ambit_cancel mine = {0};
    ambit_timer timer;
    assert_stops((void)!ambit_ctx_on_cancel(open, &mine, NULL, NULL));
    assert_stops((void)!ambit_ctx_on_cancel(open, NULL, count_up, NULL));
    assert_stops((void)!ambit_ctx_defer(open, NULL, NULL));
    assert_stops((void)!ambit_timer_arm(0, NULL, NULL, &timer));
    assert_stops((void)ambit_ctx_off_cancel(NULL, &mine));
    ambit_ctx_close(&open);
}

static const struct CMUnitTest tests[] = {
    CASE(every_call_stops_without_a_context),
    CASE(every_call_stops_after_close_and_names_the_close),
    CASE(closing_a_copy_stops_and_names_both_lines),
    CASE(dropping_too_often_stops_and_names_both_lines),
    CASE(the_background_is_not_cancelled_closed_or_filled),
    CASE(a_null_key_stops),
    CASE(a_node_registered_twice_stops_and_names_both_lines),
    CASE(a_running_node_registered_from_inside_stops),
    CASE(a_null_function_or_node_stops),
    CASE(one_line_is_written_and_the_program_aborts),
};
RUN(tests);
