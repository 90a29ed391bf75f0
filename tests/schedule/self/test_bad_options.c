/* What a program of schedules is asked for and cannot do: it says what was wrong and what was expected, before it
 * has done anything, and its status is not 0. */
#include "capture.h"

#include <ambit/schedule.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

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
AMBIT_SCHEDULE_TEST_WITH(clean, .schedules = 70) { add_twice(); }

/* As in a library that nobody has told of this. */
__attribute__((disable_sanitizer_instrumentation, noinline)) static void *unseen(void) {
    return malloc(8);
}
AMBIT_SCHEDULE_TEST(goes_through_a_black_box) {
    free(unseen());
    ambit_schedule_assert(!"seen");
}

static int call(const char *line) {
    char words[1024], *arguments[32] = {"program"};
    int count = 1;
    (void)snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) arguments[count++] = word;
    capture capture = capture_begin();
    int status = ambit_schedule_main(count, arguments);
    capture_end(capture);
    return status;
}

static void check(const char *line, int status, const char *said) {
    int got = call(line);
    if (got != status) fail_msg("%s: status %d, expected %d:\n%s", line, got, status, captured);
    check_says(said);
}

/* ---- Words ----------------------------------------------------------------------------------- */

static void names_that_mean_nothing_are_refused(void **state) {
    (void)state;
    check("--only=", 2, "--only: \"\", expected a name");
    check("--only=(", 2, "--only: \"(\", expected an extended regular expression: ");
    check("--only=nobody", 2, "--only: \"nobody\", expected a test's name");
}

static void choices_are_one_schedule(void **state) {
    (void)state;
    static const char expected[] = "--choices: expected no --seed, --schedules or --json with it";
    check("--only=fails --choices=usual --seed=1", 2, expected);
    check("--only=fails --choices=usual --schedules=2", 2, expected);
    check("--only=fails --choices=usual --json=/dev/null", 2, expected);
}

static void a_list_plays_nothing(void **state) {
    (void)state;
    check("--list --mutants", 2, "--list: expected neither");
    check("--list --json=/dev/null", 2, "--list: expected neither");
    check("--list", 0, "fails\nclean\n");
}

static void a_search_of_all_has_no_seeds(void **state) {
    (void)state;
    check("--strategy=exhaustive --seed=3", 2, "--seed: expected another strategy");
    check("--preemptions=2 --seed=3", 2, "--seed: expected another strategy");
}

static void what_is_not_seen_into_is_named(void **state) {
    (void)state;
    check("--only=goes_through_a_black_box", 1,
          "not seen into, as not compiled with -fsanitize=thread: unseen()\n");
    check("--only=fails", 1, "FAIL fails");
    check_says_not("not seen into");
}

/* ---- A seed of another program --------------------------------------------------------------- */

static void a_trace_hash_is_of_one_schedule(void **state) {
    (void)state;
    static const char expected[] = "--trace-hash: expected --seed or --choices with it";
    check("--trace-hash=0x1", 2, expected);
    check("--trace-hash=0x1 --seed=1 --schedules=5", 2, expected);
    check("--trace-hash=0x1 --seed=1 --mutants", 2, expected);
    check("--trace-hash=abc --seed=1", 2, "--trace-hash: \"abc\", expected a number");
    check("--trace-hash=0x1 --seed=1", 2, "--trace-hash: 3 tests chosen, expected one");
}

static void another_trace_is_a_failure(void **state) {
    (void)state;
    char line[256], hash[32];
    check("--only=clean --seed=4 --trace-hash=0x123", 1,
          ", expected 0x0000000000000123: the program takes other steps");
    const char *is = strstr(captured, "trace hash 0x");
    assert_non_null(is);
    (void)snprintf(hash, sizeof hash, "%.18s", is + 11);
    (void)snprintf(line, sizeof line, "--only=clean --seed=4 --trace-hash=%s", hash);
    check(line, 0, "ok   clean: 1 schedules");
    check_says_not("FAIL");
    (void)snprintf(line, sizeof line, "--only=clean --seed=4 --replay=5 --trace-hash=%s", hash);
    check(line, 0, "clean: 5/5");
    check("--only=clean --seed=4 --replay=5 --trace-hash=0x123", 1, "expected 0x0000000000000123");
}

/* ---- Files ----------------------------------------------------------------------------------- */

static char path[64];
static void check_file(const char *expected) {
    char text[64] = "";
    int file = open(path, O_RDONLY);
    assert_true((file >= 0) == (expected != NULL));
    if (!expected) return;
    assert_true(read(file, text, sizeof text - 1) >= 0);
    (void)close(file);
    assert_string_equal(text, expected);
}

static void figures_are_whole_or_not_there(void **state) {
    (void)state;
    char line[256];
    (void)snprintf(path, sizeof path, "/tmp/test_bad_options.%d", (int)getpid());
    check("--json=/no/such/folder/file", 1,
          "--json: expected a file that can be written: /no/such/folder/file: No such file");
    check_says_not("clean"); /* it has not begun */
    check("--json=/", 1, "expected a file that can be written: /: Is a directory");
    (void)snprintf(line, sizeof line, "--only=fails --json=%s", path);
    check(line, 1, "is not written: figures are of a run that is clean");
    check_file(NULL);
    FILE *earlier = fopen(path, "w");
    assert_non_null(earlier);
    (void)fputs("earlier", earlier);
    (void)fclose(earlier);
    check(line, 1, "is not written");
    check_file("earlier");
    (void)unlink(path);
}

static void a_patience_that_is_no_number_is_told(void **state) {
    (void)state;
    static const char *const wrong[] = {"abc", "0", "-1", "1s", "99999999999999999999", ""};
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(setenv("AMBIT_SCHEDULE_PATIENCE", wrong[i], 1), 0);
        check("--only=clean", 0, "expected seconds from 1 to 86399; it is 5");
        check_says("ok   clean");
    }
    (void)unsetenv("AMBIT_SCHEDULE_PATIENCE");
    check("--only=clean", 0, "ok   clean");
    check_says_not("PATIENCE");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_mean_nothing_are_refused),
        cmocka_unit_test(choices_are_one_schedule),
        cmocka_unit_test(a_list_plays_nothing),
        cmocka_unit_test(a_search_of_all_has_no_seeds),
        cmocka_unit_test(what_is_not_seen_into_is_named),
        cmocka_unit_test(a_trace_hash_is_of_one_schedule),
        cmocka_unit_test(another_trace_is_a_failure),
        cmocka_unit_test(figures_are_whole_or_not_there),
        cmocka_unit_test(a_patience_that_is_no_number_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
