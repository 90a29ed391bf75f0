/* A caller's bug ends the program with one message, and the hook hears of it first. */
#include "suite.h"

#include <signal.h>
#include <stdlib.h>

#include "base/bug.h"
#include "fresh.h"

static const ambit_site here = {"here.c", "caller", 12};
static const ambit_site before = {"before.c", "earlier_caller", 7};

/* ---- The message ----------------------------------------------------------------------------- */

static int without_hook(long sites) {
    ambit__bug("ambit_thing_close", "expected an open thing, found a closed one",
               sites & 1 ? &here : NULL, sites & 2 ? &before : NULL);
}
static void bug_without_a_hook_aborts_and_names_both_sites(void **state) {
    (void)state;
    static const char *const tails[] = {
        "\n",
        "; here: here.c:12 in caller()\n",
        "; before: before.c:7 in earlier_caller()\n",
        "; here: here.c:12 in caller(); before: before.c:7 in earlier_caller()\n",
    };
    for (int sites = 0; sites < 4; sites++) {
        char wanted[512];
        (void)snprintf(wanted, sizeof wanted,
                       "ambit: ambit_thing_close: expected an open thing, found a closed one%s",
                       tails[sites]);
        fresh_end end = fresh_run("without_hook", sites);
        assert_int_equal(end.signal, SIGABRT);
        assert_string_equal(end.text, wanted);
    }
}

static int close_background(long unused) {
    (void)unused;
    ambit_ctx *root = ambit_background();
    ambit_ctx_close(&root);
    return 0;
}
static void bug_of_a_public_call_names_its_line(void **state) {
    (void)state;
    fresh_end end = fresh_run("close_background", 0);
    assert_int_equal(end.signal, SIGABRT);
    assert_non_null(strstr(end.text, "ambit: ambit_ctx_close: "));
    assert_non_null(strstr(end.text, "test_bug.c:"));
    assert_non_null(strstr(end.text, " in close_background()"));
}

static int without_anyone_to_tell(long unused) {
    (void)unused;
    (void)close(STDOUT_FILENO);
    (void)close(STDERR_FILENO);
    return without_hook(3);
}
static void bug_aborts_though_nobody_hears_of_it(void **state) {
    (void)state;
    assert_int_equal(fresh_run("without_anyone_to_tell", 0).signal, SIGABRT);
}

/* ---- The hook -------------------------------------------------------------------------------- */

static void say_and_return(const ambit_bug *bug, void *user) {
    (void)fprintf(stderr, "hook %s: %s: %s: %u, %u\n", (const char *)user, bug->function,
                  bug->message, bug->site->line, bug->before->line);
}
static int hook_returns(long unused) {
    (void)unused;
    ambit_bug_hook_set(say_and_return, "user");
    return without_hook(3);
}
static void bug_aborts_though_the_hook_returns(void **state) {
    (void)state;
    fresh_end end = fresh_run("hook_returns", 0);
    assert_int_equal(end.signal, SIGABRT);
    const char *message = strstr(end.text, "ambit: ambit_thing_close"),
               *hook = strstr(end.text, "hook user: ambit_thing_close: expected an open thing, "
                                        "found a closed one: 12, 7\n");
    assert_true(message && hook && message < hook);
}

static int hook_taken_back(long unused) {
    (void)unused;
    ambit_bug_hook_set(say_and_return, "user");
    ambit_bug_hook_set(NULL, NULL);
    return without_hook(3);
}
static void hook_that_was_taken_back_is_not_called(void **state) {
    (void)state;
    fresh_end end = fresh_run("hook_taken_back", 0);
    assert_int_equal(end.signal, SIGABRT);
    assert_null(strstr(end.text, "hook"));
}

static void hook_may_leave_by_longjmp(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_stops(ambit__bug("f", "m", &here, NULL));
        assert_string_equal(suite_bug.function, "f");
        assert_string_equal(suite_bug.message, "m");
        assert_ptr_equal(suite_bug.site, &here);
        assert_null(suite_bug.before);
    }
}

/* ---- Names without end ----------------------------------------------------------------------- */

static char endless[3001];
/* Each of the four parts in turn is longer than the message can be, or (5 and up) ends near its
 * edge. */
static int long_names(long which) {
    size_t length = which < 5 ? 3000 : (size_t)which + 900;
    memset(endless, 'x', length);
    ambit_site long_site = here;
    if (which == 3) long_site.file = endless;
    if (which == 4) long_site.function = endless;
    ambit__bug(which == 1 ? endless : "f", which == 2 || which >= 5 ? endless : "m",
               which >= 3 ? &long_site : &here, &long_site);
}
static void names_without_end_are_cut_and_the_line_still_ends(void **state) {
    (void)state;
    for (int which = 1; which < 150; which += which < 5 ? 1 : 3) {
        fresh_end end = fresh_run("long_names", which);
        size_t length = strlen(end.text);
        assert_int_equal(end.signal, SIGABRT);
        assert_in_range(length, 900, 1024);
        assert_ptr_equal(strchr(end.text, '\n'), end.text + length - 1);
        assert_memory_equal(end.text, "ambit: ", 7);
    }
}

int main(int count, char **arguments) {
    static const fresh_part parts[] = {
        {"without_hook", without_hook},
        {"close_background", close_background},
        {"without_anyone_to_tell", without_anyone_to_tell},
        {"hook_returns", hook_returns},
        {"hook_taken_back", hook_taken_back},
        {"long_names", long_names},
        {NULL, NULL},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bug_without_a_hook_aborts_and_names_both_sites),
        cmocka_unit_test(bug_of_a_public_call_names_its_line),
        cmocka_unit_test(bug_aborts_though_nobody_hears_of_it),
        cmocka_unit_test(bug_aborts_though_the_hook_returns),
        cmocka_unit_test(hook_that_was_taken_back_is_not_called),
        cmocka_unit_test(hook_may_leave_by_longjmp),
        cmocka_unit_test(names_without_end_are_cut_and_the_line_still_ends),
    };
    fresh_enter(count, arguments, parts);
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
