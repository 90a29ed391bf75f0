/* --mutants: orders that are needed are told from those that are not. */
#include "capture.h"

#include <ambit/schedule.h>
#include <stdatomic.h>

/* ---- Under test: only what is in this file is covered ---------------------------------------- */

static int body;
static atomic_int sent, tally;

/* clang-format off */
#line 100 "planted/covered.c"
static void send_it(void *argument) {
    (void)argument;
    body = 42;
    atomic_store_explicit(&sent, 1, memory_order_release);
    atomic_fetch_add_explicit(&tally, 1, memory_order_seq_cst);
    atomic_fetch_add_explicit(&tally, 1, memory_order_relaxed);
}
static int take_it(void) {
    return atomic_load_explicit(&sent, memory_order_acquire);
}
static atomic_int holders;
static void let_go(void *argument) {
    int *last = argument;
    ++*last;
    if (atomic_fetch_sub_explicit(&holders, 1, memory_order_acq_rel) == 1) *last = 0;
}
#line 200 "planted/other.c"
static void elsewhere(void) {
    atomic_store_explicit(&tally, 0, memory_order_release);
}
#line 35 "test_mutant.c"
/* clang-format on */

AMBIT_SCHEDULE_COVERS("nowhere/at/all.c planted/covered.c")

AMBIT_SCHEDULE_TEST_WITH(message_is_whole, .schedules = 200) {
    elsewhere();
    ambit_schedule_thread sender = ambit_schedule_spawn(send_it, NULL);
    if (take_it()) ambit_schedule_assert(body == 42);
    ambit_schedule_join(sender);
}

static int uses[2];
static void lets_go_first(void *argument) { let_go(argument); }
AMBIT_SCHEDULE_TEST_WITH(last_one_sees_all, .schedules = 200) {
    (void)uses;
    static int shared;
    atomic_store_explicit(&holders, 1, memory_order_relaxed);
    ambit_schedule_thread other = ambit_schedule_spawn(lets_go_first, &shared);
    ambit_schedule_join(other);
    ambit_schedule_assert(shared == 0);
}

/* ---- Calling it ------------------------------------------------------------------------------ */

static int call(const char *line) {
    char words[512], *arguments[32] = {"dir/program"};
    int count = 1;
    (void)snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) arguments[count++] = word;
    capture capture = capture_begin();
    int status = ambit_schedule_main(count, arguments);
    capture_end(capture);
    return status;
}

/* The line of the table for a place, without the name of its folder. */
static void check_line(const char *verdict, const char *place) {
    for (const char *line = captured; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t length = strcspn(line, "\n");
        char text[600];
        (void)snprintf(text, sizeof text, "%.*s", (int)length, line);
        if (strncmp(text, verdict, strlen(verdict)) == 0 && strstr(text, place)) return;
    }
    fail_msg("no line \"%s ... %s\" in:\n%s", verdict, place, captured);
}

static void needed_orders_are_killed_and_others_survive(void **state) {
    (void)state;
    assert_int_equal(call("--mutants --only=message_is_whole --mutant-schedules=500"), 1);
    check_line("killed ", "planted/covered.c:103:5 send_it() release");
    check_line("killed ", "planted/covered.c:108:12 take_it() acquire");
    check_line("SURVIVED ", "planted/covered.c:104:5 send_it() seq_cst");
    check_says("by message_is_whole, seed 0x");
    check_says(": data race\n");
    check_says("2 of 3 orders are needed, as a test has noticed; 1 survived.");
}

static void relaxed_and_uncovered_places_are_left_alone(void **state) {
    (void)state;
    assert_int_equal(call("--mutants --only=message_is_whole --mutant-schedules=50"), 1);
    check_says_not("other.c");
    check_says_not("covered.c:105");
    check_says("of 3 orders");
}

AMBIT_SCHEDULE_TEST_WITH(nothing_covered, .schedules = 10) { elsewhere(); }
static void no_order_at_all_is_told(void **state) {
    (void)state;
    assert_int_equal(call("--mutants --only=nothing_covered --mutant-schedules=50"), 0);
    check_says("No memory order of the covered files was met");
    check_says("0 of 0 orders");
}

static void a_mutant_run_prints_no_reports(void **state) {
    (void)state;
    (void)call("--mutants --only=message_is_whole --mutant-schedules=500");
    check_says_not("ambit::schedule:");
}

static void orders_are_back_afterwards(void **state) {
    (void)state;
    (void)call("--mutants --only=message_is_whole --mutant-schedules=500");
    assert_int_equal(call("--only=message_is_whole --schedules=500"), 0);
}

static void survivors_only_is_short(void **state) {
    (void)state;
    assert_int_equal(
        call("--mutants --survivors-only --only=message_is_whole --mutant-schedules=500"), 1);
    check_says_not("killed ");
    check_says("SURVIVED ");
}

static void halves_are_weakened_by_themselves(void **state) {
    (void)state;
    assert_int_equal(call("--mutants --halves --only=last_one_sees_all --mutant-schedules=50"), 1);
    check_line("SURVIVED ", "let_go() acq_rel");
    check_line("SURVIVED ", "let_go() acq_rel to acquire");
    check_line("SURVIVED ", "let_go() acq_rel to release");
    assert_int_equal(call("--mutants --halves --only=message_is_whole --mutant-schedules=50"), 1);
    check_line("SURVIVED ", "send_it() seq_cst to acq_rel");
}

static void figures_have_the_survivors(void **state) {
    (void)state;
    char path[] = "/tmp/figures.XXXXXX", line[160], text[1024];
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    (void)close(descriptor);
    (void)snprintf(line, sizeof line,
                   "--mutants --only=message_is_whole --mutant-schedules=500 --json=%s", path);
    assert_int_equal(call(line), 1);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
    (void)unlink(path);
    assert_non_null(
        strstr(text, ", \"order_sites\": 3, \"order_killed\": 2, \"order_survivors\": [\""));
    assert_non_null(strstr(text, "planted/covered.c:104:5 send_it() seq_cst\"]"));
    assert_non_null(strstr(text, "\"replay\": \"100/100\"}]\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(needed_orders_are_killed_and_others_survive),
        cmocka_unit_test(relaxed_and_uncovered_places_are_left_alone),
        cmocka_unit_test(no_order_at_all_is_told),
        cmocka_unit_test(a_mutant_run_prints_no_reports),
        cmocka_unit_test(orders_are_back_afterwards),
        cmocka_unit_test(survivors_only_is_short),
        cmocka_unit_test(halves_are_weakened_by_themselves),
        cmocka_unit_test(figures_have_the_survivors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
