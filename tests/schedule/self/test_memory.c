/* Memory under the scheduler: what the compiler and the C library tell of it, the heap, and that each schedule
 * begins with the same. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "outcome.h"

static void run_two(ambit_schedule_fn *one, ambit_schedule_fn *two) {
    ambit_schedule_thread first = ambit_schedule_spawn(one, NULL);
    ambit_schedule_thread second = ambit_schedule_spawn(two, NULL);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
}

/* What the optimiser must not see through. */
static void *volatile shared;
static char *volatile text;
static volatile int sink;

/* ---- Each schedule begins with the same ------------------------------------------------------ */

static int global = 3;
static _Thread_local int local = 4;
static char letters[40] = "as it was";
static struct { char before, changed, after; } bytes = {1, 2, 3};

static void change_all(void *argument) {
    (void)argument;
    ambit_schedule_assert(global == 3);
    ambit_schedule_assert(local == 4);
    ambit_schedule_assert(strcmp(letters, "as it was") == 0);
    ambit_schedule_assert(bytes.before == 1 && bytes.changed == 2 && bytes.after == 3);
    ambit_schedule_assert(!shared && !text);
    global++;
    local++;
    bytes.changed++;
    memset(letters, 'x', 20);
    (void)snprintf(letters + 20, 10, "%d", global);
    shared = malloc(8);
    text = strdup("all of it");
    if (ambit_schedule_choose(2)) free(shared);
}
static void all_is_put_back(void **state) {
    (void)state;
    expect_clean(change_all);
    assert_int_equal(global, 3);
    assert_int_equal(local, 4);
    assert_string_equal(letters, "as it was");
    assert_null(shared);
}

/* The free itself is what fails: the block is there again all the same when the schedule is played once more. */
static int *kept;
static void make_kept(void *argument) {
    (void)argument;
    kept = malloc(sizeof *kept);
    *kept = 6;
}
static void free_kept(void *argument) {
    (void)argument;
    free(kept);
}
static void use_while_it_is_freed(void *argument) {
    (void)argument;
    ambit_schedule_thread other = ambit_schedule_spawn(free_kept, NULL);
    ambit_schedule_assert(*kept == 6);
    ambit_schedule_join(other);
}
static void what_a_failing_free_freed_is_put_back(void **state) {
    (void)state;
    static char text[20000];
    FILE *said = tmpfile();
    int errors = dup(2);
    assert_non_null(said);
    assert_int_equal(dup2(fileno(said), 2), 2);
    int status =
        ambit_schedule_run(use_while_it_is_freed, &(ambit_schedule_options){.before = make_kept});
    assert_int_equal(dup2(errors, 2), 2);
    assert_int_equal(close(errors), 0);
    rewind(said);
    text[fread(text, 1, sizeof text - 1, said)] = '\0';
    assert_int_equal(fclose(said), 0);
    assert_int_equal(status, 1);
    assert_non_null(strstr(text, "start free_kept"));
    assert_null(strstr(text, "another way"));
}

static void change_own_local(void *argument) {
    (void)argument;
    ambit_schedule_assert(local == 4);
    local = 5;
}
static void change_locals(void *argument) {
    (void)argument;
    run_two(change_own_local, change_own_local);
    ambit_schedule_assert(local == 4);
}
static void locals_of_threads_are_put_back(void **state) {
    (void)state;
    expect_clean(change_locals);
}

static void prepare(void *argument) {
    (void)argument;
    int *made = malloc(sizeof *made);
    *made = 7;
    shared = made;
    global = 70;
}
static void use_prepared(void *argument) {
    (void)argument;
    int *made = shared;
    ambit_schedule_assert(*made == 7 && global == 70);
    *made = 8;
    global = 80;
    free(made);
    shared = NULL;
}
static void what_before_leaves_is_there_each_time(void **state) {
    (void)state;
    expect_clean_with(use_prepared, (ambit_schedule_options){.before = prepare, .schedules = 1000});
    assert_int_equal(*(int *)shared, 7);
    assert_int_equal(global, 70);
    free(shared); /* of the arena, outside of it */
    shared = NULL;
    global = 3;
}

/* ---- Races ----------------------------------------------------------------------------------- */

static void fill_text(void *argument) {
    (void)argument;
    memset(text, 'a', 64);
}
static void measure_text(void *argument) {
    (void)argument;
    sink = strnlen(text, 64) != 0;
}
static void race_in_library(void *argument) {
    (void)argument;
    text = calloc(65, 1);
    run_two(fill_text, measure_text);
    free(text);
}
static void what_the_library_touches_races(void **state) {
    (void)state;
    expect_failure(race_in_library, AMBIT_SCHEDULE_RACE, "races with");
}

struct pair {
    long one, other;
};
static struct pair source, target;
static void copy_pair(void *argument) {
    (void)argument;
    target = source;
    sink = (int)target.one;
}
static void write_pair(void *argument) {
    (void)argument;
    source.other = 1;
}
static void race_in_copy(void *argument) {
    (void)argument;
    run_two(copy_pair, write_pair);
}
static void copies_of_structs_race(void **state) {
    (void)state;
    expect_failure(race_in_copy, AMBIT_SCHEDULE_RACE, "races with");
}

static void free_shared(void *argument) {
    (void)argument;
    free(shared);
}
static void read_shared(void *argument) {
    (void)argument;
    sink = *(int *)shared;
}
static void race_with_free(void *argument) {
    (void)argument;
    shared = calloc(1, sizeof(int));
    run_two(free_shared, read_shared);
}
static void a_free_without_order_is_told(void **state) {
    (void)state;
    expect_failure(race_with_free, AMBIT_SCHEDULE_USE_AFTER_FREE, "(4 bytes)");
}

/* ---- Annotations ----------------------------------------------------------------------------- */

void __tsan_acquire(void *address);
void __tsan_release(void *address);
void __tsan_ignore_thread_begin(void);
void __tsan_ignore_thread_end(void);

static int guarded;
static void give(void *argument) {
    (void)argument;
    guarded = 1;
    __tsan_release(&global);
    ambit_schedule_yield();
}
static void take(void *argument) {
    (void)argument;
    __tsan_acquire(&global);
    sink = guarded;
}
static void one_after_the_other(void *argument) {
    (void)argument;
    ambit_schedule_thread first = ambit_schedule_spawn(give, NULL);
    if (ambit_schedule_choose(2)) ambit_schedule_yield();
    take(NULL);
    ambit_schedule_join(first);
}
/* Not always in that order: but only the order that was annotated is no race. */
static void annotated_order_counts(void **state) {
    (void)state;
    ambit_schedule_options first_only = {.schedules = 1, .strategy = AMBIT_SCHEDULE_RANDOM};
    unsigned clean = 0, races = 0;
    for (first_only.seed = 1; first_only.seed <= 64; first_only.seed++) {
        ambit_schedule_result result = outcome_with(one_after_the_other, first_only);
        clean += result.failure == AMBIT_SCHEDULE_CLEAN;
        races += result.failure == AMBIT_SCHEDULE_RACE;
    }
    assert_int_equal(clean + races, 64);
    assert_true(clean > 0 && races > 0);
}

static void add_ignored(void *argument) {
    (void)argument;
    __tsan_ignore_thread_begin();
    guarded++;
    __tsan_ignore_thread_end();
}
static void add_checked(void *argument) {
    add_ignored(argument); /* it ends there */
    guarded++;
}
static void two_ignored(void *argument) {
    (void)argument;
    ambit_schedule_assert(guarded == 0); /* and it is put back all the same */
    run_two(add_ignored, add_ignored);
}
static void ignored_then_checked(void *argument) {
    (void)argument;
    run_two(add_checked, add_checked);
}
static void what_is_ignored_is_not_checked(void **state) {
    (void)state;
    expect_clean(two_ignored);
    expect_failure(ignored_then_checked, AMBIT_SCHEDULE_RACE, "races with");
}

/* ---- The heap -------------------------------------------------------------------------------- */

/* Not a constant: compilers know that this cannot be had. */
static volatile size_t too_much = SIZE_MAX / 2;
static void use_the_family(void *argument) {
    (void)argument;
    char *grown = malloc(10);
    memset(grown, 'g', 10);
    grown = realloc(grown, 1000);
    ambit_schedule_assert(grown && grown[9] == 'g' && malloc_usable_size(grown) == 1000);
    grown = realloc(grown, 4);
    ambit_schedule_assert(grown[3] == 'g');
    free(grown);
    char *zeroed = calloc(10, 10);
    for (unsigned i = 0; i < 100; i++) ambit_schedule_assert(zeroed[i] == 0);
    ambit_schedule_assert(reallocarray(zeroed, too_much, 3) == NULL);
    shared = calloc(too_much, 3);
    ambit_schedule_assert(shared == NULL);
    free(zeroed);
    void *aligned = NULL;
    ambit_schedule_assert(posix_memalign(&aligned, 256, 5) == 0 && (uintptr_t)aligned % 256 == 0);
    ambit_schedule_assert(posix_memalign(&aligned, 3, 5) != 0);
    free(aligned);
    aligned = aligned_alloc(64, 64);
    ambit_schedule_assert((uintptr_t)aligned % 64 == 0);
    free(aligned);
    char *copy = strndup("abcdef", 3), *printed = NULL;
    ambit_schedule_assert(strcmp(copy, "abc") == 0);
    ambit_schedule_assert(asprintf(&printed, "%s-%d", copy, 12) == 6);
    ambit_schedule_assert(strcmp(printed, "abc-12") == 0 && strstr(printed, "c-1"));
    free(copy);
    free(printed);
    free(NULL);
    free(malloc(0));
}
static void the_family_does_what_it_should(void **state) {
    (void)state;
    expect_clean_with(use_the_family, (ambit_schedule_options){.schedules = 100});
}

static void write_after_realloc(void *argument) {
    (void)argument;
    text = malloc(8);
    char *old = text;
    text = realloc(old, 8);
    old[0] = 1;
}
static void lose(void *argument) {
    (void)argument;
    shared = malloc(40);
    shared = NULL;
}
static void read_blank(void *argument) {
    (void)argument;
    int *volatile fresh = malloc(sizeof(int));
    sink = *fresh;
}
static void write_behind(void *argument) {
    (void)argument;
    text = malloc(5);
    text[5] = 0;
}
static void free_twice(void *argument) {
    (void)argument;
    text = malloc(5);
    free(text);
    free(text);
}
static void free_a_variable(void *argument) {
    (void)argument;
    static int variable[8] __attribute__((aligned(16)));
    shared = variable;
    free(shared);
}
static void free_a_local(void *argument) {
    (void)argument;
    int variable[8] __attribute__((aligned(16)));
    shared = variable;
    free(shared);
}
static void write_to_null(void *argument) {
    (void)argument;
    text = NULL;
    text[3] = 1;
}
static void follow_blank(void *argument) {
    (void)argument;
    char ***volatile fresh = malloc(sizeof(char **));
    volatile size_t size = sizeof text;         /* so that it is a call */
    memcpy((void *)&text, (void *)fresh, size); /* a copy may take it along */
    text[0] = 1;
}
static void read_unmapped(void *argument) {
    (void)argument;
    text = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    text[0] = 1;
    munmap(text, 4096);
    sink = text[0];
}
static void misuse_is_told(void **state) {
    (void)state;
    expect_failure(write_after_realloc, AMBIT_SCHEDULE_USE_AFTER_FREE, "after it was freed");
    expect_failure(lose, AMBIT_SCHEDULE_LEAK, "40 bytes");
    expect_failure(read_blank, AMBIT_SCHEDULE_UNINITIALISED, "that nobody wrote");
    expect_failure(write_behind, AMBIT_SCHEDULE_OUT_OF_BOUNDS, "0 behind the end of heap block");
    expect_failure(free_twice, AMBIT_SCHEDULE_MISUSE, "once more");
    expect_failure(free_a_variable, AMBIT_SCHEDULE_MISUSE, "malloc() has not given");
    expect_failure(free_a_local, AMBIT_SCHEDULE_MISUSE, "malloc() has not given");
    expect_failure(write_to_null, AMBIT_SCHEDULE_ASSERTION, "null pointer");
    expect_failure(follow_blank, AMBIT_SCHEDULE_ASSERTION, "no address");
    expect_failure(read_unmapped, AMBIT_SCHEDULE_USE_AFTER_FREE, "after it was freed");
}

/* A block from before the run, and one that the library gave: free() is believed, and undone. */
static void free_older(void *argument) {
    (void)argument;
    ambit_schedule_assert(*(int *)shared == 9);
    free(shared);
}
static void free_older_twice(void *argument) {
    free_older(argument);
    free(shared);
}
static void touch_older(void *argument) {
    free_older(argument);
    *(int *)shared = 1;
}
static void older_blocks_come_back(void **state) {
    (void)state;
    int *older = malloc(sizeof *older);
    *older = 9;
    shared = older;
    expect_clean_with(free_older, (ambit_schedule_options){.schedules = 100});
    expect_failure(free_older_twice, AMBIT_SCHEDULE_MISUSE, "once more");
    expect_failure(touch_older, AMBIT_SCHEDULE_USE_AFTER_FREE, "after it was freed");
    assert_int_equal(*older, 9);
    free(older);
    shared = NULL;
}

static void use_strings(void *argument) {
    (void)argument;
    char to[32], other[32];
    ambit_schedule_assert(strcmp(strcpy(to, "one"), "one") == 0);
    ambit_schedule_assert(strcmp(strcat(to, " two"), "one two") == 0);
    ambit_schedule_assert(strcmp(strncat(to, " three", 3), "one two th") == 0);
    ambit_schedule_assert(strncpy(other, to, 3) == other && strncmp(other, "one", 3) == 0);
    ambit_schedule_assert(stpcpy(other, "abc") == other + 3);
    ambit_schedule_assert(strchr(to, 't') == to + 4 && strrchr(to, 't') == to + 8);
    ambit_schedule_assert(!strchr(to, 'x') && strlen(to) == 10 && strnlen(to, 4) == 4);
    ambit_schedule_assert(memchr(to, 'w', 10) == to + 5 && !memchr(to, 'x', 10));
    ambit_schedule_assert(memcmp(to, "one", 3) == 0 && memmove(to + 1, to, 3) == to + 1);
    ambit_schedule_assert(sprintf(other, "%d", 12345) == 5 && strcmp(other, "12345") == 0);
    ambit_schedule_assert(snprintf(other, 3, "%d", 12345) == 5 && strcmp(other, "12") == 0);
    ambit_schedule_assert(snprintf(NULL, 0, "%d", 12345) == 5);
}
static void strings_are_as_ever(void **state) {
    (void)state;
    expect_clean_with(use_strings, (ambit_schedule_options){.schedules = 100});
    use_strings(NULL); /* outside of a schedule */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_failing_free_freed_is_put_back),
        cmocka_unit_test(all_is_put_back),
        cmocka_unit_test(locals_of_threads_are_put_back),
        cmocka_unit_test(what_before_leaves_is_there_each_time),
        cmocka_unit_test(what_the_library_touches_races),
        cmocka_unit_test(copies_of_structs_race),
        cmocka_unit_test(a_free_without_order_is_told),
        cmocka_unit_test(annotated_order_counts),
        cmocka_unit_test(what_is_ignored_is_not_checked),
        cmocka_unit_test(the_family_does_what_it_should),
        cmocka_unit_test(misuse_is_told),
        cmocka_unit_test(older_blocks_come_back),
        cmocka_unit_test(strings_are_as_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
