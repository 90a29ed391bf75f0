/* The command line of a program of schedules: what it takes, refuses and says. */
#include "capture.h"

#include <ambit/schedule.h>
#include <stdatomic.h>

/* ---- The program ----------------------------------------------------------------------------- */

static atomic_int counter;
static void add(void *argument) {
    (void)argument;
    int seen = atomic_load_explicit(&counter, memory_order_relaxed);
    atomic_store_explicit(&counter, seen + 1, memory_order_relaxed);
}
static void add_twice(void) {
    ambit_schedule_thread one = ambit_schedule_spawn(add, NULL);
    add(NULL);
    ambit_schedule_join(one);
}

AMBIT_SCHEDULE_TEST(fails) {
    add_twice();
    ambit_schedule_assert(atomic_load_explicit(&counter, memory_order_relaxed) == 2);
}
AMBIT_SCHEDULE_TEST_WITH(clean, .schedules = 70) {
    add_twice();
    ambit_schedule_assert(atomic_load_explicit(&counter, memory_order_relaxed) >= 1);
}

static int left_behind;
static void leave(void *argument) {
    (void)argument;
    left_behind++;
}
AMBIT_SCHEDULE_TEST_WITH(clean_with_before, .before = leave, .schedules = 10) {
    ambit_schedule_assert(left_behind == 1);
}
AMBIT_SCHEDULE_TEST_WITH(clean_with_another, .before = leave, .schedules = 10) {
    ambit_schedule_assert(left_behind == 1);
}
AMBIT_SCHEDULE_TEST_WITH(deep, .strategy = AMBIT_SCHEDULE_PCT, .depth = 2, .schedules = 10) {
    add_twice();
}
AMBIT_SCHEDULE_TEST(hangs) {
    for (int on = 1; on;) __asm__ volatile("" : "+r"(on));
}
AMBIT_SCHEDULE_TEST_WITH(dies, .schedules = 10) {
    if (!ambit_schedule_is_running()) return;
    __asm__ volatile("syscall" ::"a"(231), "D"(3)
                     : "rcx", "r11"); /* exit_group(3), past all control */
}
AMBIT_SCHEDULE_TEST_WITH(refused, .depth = 3) {}

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

static void check_refused(const char *line, const char *said) {
    assert_int_equal(call(line), 2);
    check_says(said);
}

static void check_accepted(const char *line, int status, const char *said) {
    assert_int_equal(call(line), status);
    check_says(said);
}

/* ---- What it does not understand ------------------------------------------------------------- */

static void unknown_options_are_refused(void **state) {
    (void)state;
    check_refused("--frobnicate", "--frobnicate: not an option; see --help");
    check_refused("clean", "clean: not an option; see --help");
    check_refused("-h", "-h: not an option");
}

static void bad_numbers_are_refused(void **state) {
    (void)state;
    check_refused("--schedules=many", "--schedules: \"many\", expected a number from 1 to");
    check_refused("--schedules 0", "--schedules: \"0\", expected a number from 1 to");
    check_refused("--schedules=-5", "--schedules: \"-5\", expected a number from 1 to");
    check_refused("--schedules=5x", "--schedules: \"5x\", expected a number");
    check_refused("--seed=99999999999999999999", "--seed: \"99999999999999999999\", expected");
    check_refused("--depth=65", "--depth: \"65\", expected a number from 1 to 64");
    check_refused("--replay=", "--replay: \"\", expected a number");
}

static void missing_and_superfluous_values_are_refused(void **state) {
    (void)state;
    check_refused("--only", "--only: expected a value");
    check_refused("--list=yes", "--list: \"yes\", expected no value");
    check_refused("--json=", "--json: \"\", expected a name");
    check_refused("--strategy=wild",
                  "--strategy: \"wild\", expected mixed, random, pct or exhaustive");
}

static void what_does_not_go_together_is_refused(void **state) {
    (void)state;
    check_refused("--depth=2 --preemptions=2", "not together with --depth");
    check_refused("--depth=2 --strategy=random", "--depth: expected --strategy=pct");
    check_refused("--preemptions=2 --strategy=pct",
                  "--preemptions: expected --strategy=exhaustive");
    check_refused("--halves", "expected --mutants with them");
    check_refused("--mutants --replay=3", "not together with --mutants");
}

static void a_test_that_is_not_there_is_refused(void **state) {
    (void)state;
    check_refused("--only=nobody", "--only: \"nobody\", expected a test's name");
    check_refused("--only=clean --only=nobody", "\"nobody\"");
    check_refused("--only=(", "\"(\"");
}

static void options_of_a_test_that_make_no_sense_are_refused(void **state) {
    (void)state;
    check_refused("--only=refused", "refused: depth is 3 with the strategy mixed");
    check_refused("--only=refused --only=clean", "refused: depth is 3 with the strategy mixed");
}

/* ---- What it does ---------------------------------------------------------------------------- */

static void help_names_every_option(void **state) {
    (void)state;
    assert_int_equal(call("--help"), 0);
    static const char *const options[] = {
        "--list",  "--only",          "--schedules", "--seed",    "--strategy",
        "--depth", "--choices",       "--replay",    "--mutants", "--halves",
        "--json",  "--preemptions",   "--part",      "--quiet",   "--mutant-schedules",
        "--help",  "--survivors-only"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) check_says(options[i]);
}

static void list_names_the_tests_in_order(void **state) {
    (void)state;
    assert_int_equal(call("--list"), 0);
    assert_string_equal(
        captured,
        "fails\nclean\nclean_with_before\nclean_with_another\ndeep\nhangs\ndies\nrefused\n");
    assert_int_equal(call("--list --only=^clean_"), 0);
    assert_string_equal(captured, "clean_with_before\nclean_with_another\n");
}

static void a_name_means_that_test_alone(void **state) {
    (void)state;
    check_accepted("--only=clean", 0, "ok   clean: 70 schedules (mixed)");
    check_says_not("clean_with");
    check_accepted("--only clean", 0, "ok   clean: 70 schedules (mixed)");
}

static void an_expression_means_all_that_match(void **state) {
    (void)state;
    check_accepted("--only=^clean|nothing", 0, "ok   clean: 70");
    check_says("ok   clean_with_before: 10");
    check_says("ok   clean_with_another: 10"); /* what the one left is not there for the other */
}

static void the_command_says_how_many_and_how(void **state) {
    (void)state;
    check_accepted("--only=clean --schedules=7", 0, "ok   clean: 7 schedules (mixed)");
    check_accepted("--only=clean --seed=0x1f", 0, "ok   clean: 1 schedules (mixed)");
    check_accepted("--only=clean --seed=3 --schedules=5", 0, "ok   clean: 5 schedules (mixed)");
    check_accepted("--only=clean --strategy=random", 0, "ok   clean: 70 schedules (random)");
    check_accepted("--only=clean --depth=2", 0, "ok   clean: 70 schedules (pct)");
    check_accepted("--only=deep", 0, "ok   deep: 10 schedules (pct)");
    check_accepted("--only=deep --strategy=random", 0, "ok   deep: 10 schedules (random)");
    check_accepted("--only=clean --preemptions=1", 0, "schedules (exhaustive)");
    check_says("complete: there is no other schedule with so few preemptions");
}

static void a_failure_is_status_1(void **state) {
    (void)state;
    check_accepted("--only=fails", 1, "FAIL fails: assertion failed, seed 0x");
    check_says("ambit::schedule: fails: assertion failed");
    check_accepted("--only=fails --only=clean", 1, "FAIL fails: assertion failed, seed 0x");
    check_says("ok   clean: 70");
}

static void quiet_says_what_failed_and_no_more(void **state) {
    (void)state;
    check_accepted("--quiet --only=fails --only=clean", 1, "FAIL fails: assertion failed, seed 0x");
    check_says_not("ambit::schedule:");
    check_says_not("ok ");
}

static void a_process_that_ends_is_a_failure(void **state) {
    (void)state;
    check_accepted("--only=dies --only=clean", 1,
                   "FAIL dies: its process came to an end before the test did");
    check_says("ok   clean: 70");
}

static void a_test_that_hangs_is_a_failure(void **state) {
    (void)state;
    assert_int_equal(setenv("AMBIT_SCHEDULE_PATIENCE", "1", 1), 0);
    check_accepted("--only=hangs --only=clean", 1, "FAIL hangs: its process came to an end");
    check_says("--only=hangs --strategy=random --seed=0x");
    check_says("thread 0, which began with hangs()");
    check_says("ok   clean: 70");
    (void)unsetenv("AMBIT_SCHEDULE_PATIENCE");
}

static void the_seed_of_a_failure_plays_it_again(void **state) {
    (void)state;
    char line[256] = "", hash[64] = "";
    assert_int_equal(call("--only=fails"), 1);
    const char *again = strstr(captured, "play it again:   "),
               *of = strstr(captured, "trace hash ");
    assert_non_null(again);
    assert_non_null(of);
    (void)snprintf(line, sizeof line, "%.*s", (int)strcspn(again + 17, "\n"), again + 17);
    (void)snprintf(hash, sizeof hash, "%.29s", of);
    check_accepted(line, 1, hash);
    strcat(line, " --replay=100");
    check_accepted(line, 0, "fails: 100/100 with ");
    check_says(hash);
}

static void the_choices_of_a_failure_play_it_again(void **state) {
    (void)state;
    char line[256] = "";
    assert_int_equal(call("--only=fails"), 1);
    const char *again = strstr(captured, "as in the table: ");
    assert_non_null(again);
    (void)snprintf(line, sizeof line, "%.*s", (int)strcspn(again + 17, "\n"), again + 17);
    check_accepted(line, 1, "ambit::schedule: fails: assertion failed");
    check_refused("--choices=%%% --only=fails", "--choices: \"%%%\", expected");
}

/* ---- Figures --------------------------------------------------------------------------------- */

static void read_figures(const char *path, char *text, size_t bytes) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, bytes - 1, file)] = '\0';
    assert_int_equal(fclose(file), 0);
}

static void figures_are_a_list_of_one(void **state) {
    (void)state;
    char path[] = "/tmp/figures.XXXXXX", line[128], text[512];
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    (void)close(descriptor);
    (void)snprintf(line, sizeof line, "--only=clean --json=%s", path);
    assert_int_equal(call(line), 0);
    read_figures(path, text, sizeof text);
    assert_non_null(
        strstr(text, "[{\"part\": \"program\", \"schedules\": 70, \"schedules_per_second\": "));
    assert_non_null(strstr(text, ", \"replay\": \"100/100\"}]\n"));
    (void)snprintf(line, sizeof line, "--part=a\"b --only=clean --json=%s", path);
    assert_int_equal(call(line), 0);
    read_figures(path, text, sizeof text);
    assert_non_null(strstr(text, "[{\"part\": \"a\\\"b\", "));
    (void)unlink(path);
}

static void figures_that_cannot_be_written_are_a_failure(void **state) {
    (void)state;
    check_accepted("--only=clean --json=/nowhere/figures", 1, "/nowhere/figures: ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_options_are_refused),
        cmocka_unit_test(bad_numbers_are_refused),
        cmocka_unit_test(missing_and_superfluous_values_are_refused),
        cmocka_unit_test(what_does_not_go_together_is_refused),
        cmocka_unit_test(a_test_that_is_not_there_is_refused),
        cmocka_unit_test(options_of_a_test_that_make_no_sense_are_refused),
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(list_names_the_tests_in_order),
        cmocka_unit_test(a_name_means_that_test_alone),
        cmocka_unit_test(an_expression_means_all_that_match),
        cmocka_unit_test(the_command_says_how_many_and_how),
        cmocka_unit_test(a_failure_is_status_1),
        cmocka_unit_test(quiet_says_what_failed_and_no_more),
        cmocka_unit_test(a_process_that_ends_is_a_failure),
        cmocka_unit_test(a_test_that_hangs_is_a_failure),
        cmocka_unit_test(the_seed_of_a_failure_plays_it_again),
        cmocka_unit_test(the_choices_of_a_failure_play_it_again),
        cmocka_unit_test(figures_are_a_list_of_one),
        cmocka_unit_test(figures_that_cannot_be_written_are_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
