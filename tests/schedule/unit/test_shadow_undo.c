/* The way back: at the end of a schedule all memory is as it was before. */
#include "memory.h"

static uint64_t words[4] __attribute__((aligned(64)));

/* Two pages, and some: in none of the tests is one of its borders a page's. */
#define AREA 2000
static uint64_t area[AREA] __attribute__((aligned(4096)));

static int fill_area(void **state) {
    for (unsigned i = 0; i < AREA; i++) area[i] = i;
    return begin_test(state);
}
#define AREA_TEST(name) cmocka_unit_test_setup_teardown(name, fill_area, end_test)

/* All but the words from `low` on, before `high`, which have other values. */
static void assert_area(unsigned low, unsigned high) {
    for (unsigned i = 0; i < AREA; i++)
        if ((i >= low && i < high) == (area[i] == i))
            fail_msg("word %u is %#lx, expected %s", i, (unsigned long)area[i],
                     area[i] == i ? "another" : "what it was");
}

/* ---- Going back ------------------------------------------------------------------------------ */

static void what_was_written_is_put_back(void **state) {
    (void)state;
    words[0] = 111;
    words[1] = 222;
    words[2] = 333;
    writes(&words[0], 8, 1);
    words[0] = 1;
    reads(&words[1], 8, 1);
    step();
    atomic_writes(&words[1], 8, 1);
    words[1] = 2;
    ambit__shadow_unchecked((uintptr_t)&words[2], 8);
    words[2] = 3;
    end();
    assert_int_equal(words[0], 111);
    assert_int_equal(words[1], 222);
    assert_int_equal(words[2], 333);
}

/* The linker may lay a variable of the runtime, or of a library, beside one of the program. */
static void neighbours_in_the_granule_are_left_alone(void **state) {
    (void)state;
    uint8_t *bytes = (uint8_t *)words;
    memset(bytes, 7, 8);
    writes(bytes + 2, 2, 1);
    memset(bytes, 9, 8);
    end();
    const uint8_t expected[8] = {9, 9, 7, 7, 9, 9, 9, 9};
    assert_memory_equal(bytes, expected, 8);
}

static void a_second_schedule_puts_back_its_own(void **state) {
    (void)state;
    words[0] = 5;
    for (unsigned i = 0; i < 3; i++) {
        writes(words, 8, 1);
        words[0]++;
        end();
        assert_int_equal(words[0], 5);
        begin();
    }
    words[0] = 6; /* between schedules */
    end();
    assert_int_equal(words[0], 6);
}

static void what_is_kept_stays(void **state) {
    (void)state;
    words[0] = 5;
    writes(words, 8, 1);
    words[0] = 6;
    ambit__shadow_keep();
    begin();
    writes(words, 8, 1);
    words[0] = 7;
    end();
    assert_int_equal(words[0], 6);
}

static void read_only_memory_may_be_read(void **state) {
    (void)state;
    static const char letters[32] __attribute__((aligned(8))) = "for reading only";
    reads(letters, sizeof letters, 1);
    end();
}

/* Written and made read-only, as the loader does with what it has relocated. */
static void memory_that_is_as_it_was_is_not_written(void **state) {
    (void)state;
    end();
    uint64_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(page, MAP_FAILED);
    begin();
    writes(page, 8, 1);
    assert_int_equal(mprotect(page, 4096, PROT_READ), 0);
    end();
    assert_int_equal(munmap(page, 4096), 0);
    begin();
}

static const uintptr_t secret = 0x5ec4e7;
static unsigned roots;
static void count_roots(const uintptr_t *values, size_t count) {
    for (size_t i = 0; i < count; i++) roots += values[i] == secret;
}

static void stacks_are_no_roots_and_not_put_back(void **state) {
    (void)state;
    static uint64_t stack[8];
    test_stack_low = (uintptr_t)stack;
    test_stack_high = (uintptr_t)(stack + 8);
    as(7);
    writes(&stack[3], 8, 1);
    stack[3] = secret;
    roots = 0;
    ambit__shadow_each_root(count_roots);
    assert_int_equal(roots, 0);
    writes(words, 8, 1);
    words[0] = secret;
    ambit__shadow_each_root(count_roots);
    assert_int_equal(roots, 1);
    end();
    assert_int_equal(stack[3], secret);
}

/* ---- Much ------------------------------------------------------------------------------------ */

#define MANY 100000

static bool is_racy(const uint64_t *word) {
    return FAILURE_OF(reads(word, 8, 2)) == AMBIT_SCHEDULE_RACE;
}

static void much_memory_is_known_and_put_back(void **state) {
    (void)state;
    uint64_t *much = malloc(MANY * sizeof *much);
    assert_non_null(much);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < MANY; i++) much[i] = i;
        for (unsigned i = 0; i < MANY; i++) {
            writes(&much[i], 8, 1);
            much[i] = ~much[i];
        }
        as(1);
        for (unsigned i = 0; i < MANY; i += 97) assert_true(is_racy(&much[i]));
        end();
        for (unsigned i = 0; i < MANY; i++) assert_int_equal(much[i], i);
        begin();
    }
    free(much);
}

/* ---- Ranges ---------------------------------------------------------------------------------- */

/* As a memset() would, from a byte in the middle of a word to one. */
static void overwrite(unsigned from, unsigned to) {
    writes(&area[from], (to - from) * sizeof *area, 1);
    for (unsigned i = from; i < to; i++) area[i] = ~area[i];
}

static void a_range_is_put_back(void **state) {
    (void)state;
    overwrite(0, AREA);
    end();
    assert_area(0, 0);
    begin();
    overwrite(100, 1500);
    step();
    overwrite(300, 1200); /* another part of it */
    area[50] = 0;         /* by nobody that is seen */
    end();
    assert_int_equal(area[50], 0);
    area[50] = 50;
    assert_area(0, 0);
}

/* The bytes before and behind it in its first and last 8 are somebody else's. */
static void neighbours_of_a_range_are_left_alone(void **state) {
    (void)state;
    uint8_t *bytes = (uint8_t *)area;
    memset(bytes, 7, 2000);
    writes(bytes + 3, 1000, 1);
    memset(bytes, 9, 2000);
    end();
    for (unsigned i = 0; i < 2000; i++) assert_int_equal(bytes[i], i < 3 || i >= 1003 ? 9 : 7);
}

static void a_range_that_was_only_read_is_left_alone(void **state) {
    (void)state;
    reads(area, sizeof area, 1);
    for (unsigned i = 200; i < 1200; i++) area[i] = 0; /* by nobody that is seen */
    end();
    assert_area(200, 1200);
}

/* What stood there when it was touched, and not when it was written. */
static void a_range_gets_what_stood_there_at_first(void **state) {
    (void)state;
    reads(area, sizeof area, 1);
    area[700] = 0;
    step();
    overwrite(0, AREA);
    end();
    assert_area(0, 0);
}

static void words_touched_before_and_after_a_range_are_put_back(void **state) {
    (void)state;
    writes(&area[5], 8, 1);
    area[5] = 0;
    writes((char *)&area[6], 2, 1);
    area[6] = 0;
    overwrite(0, AREA);
    step();
    writes(&area[9], 8, 2);
    area[9] = 0;
    reads(&area[10], 8, 2);
    end();
    assert_area(0, 0);
}

static void an_unchecked_range_is_put_back(void **state) {
    (void)state;
    reads(area, sizeof area, 1);
    as(1);
    ambit__shadow_unchecked((uintptr_t)&area[1], 1500 * sizeof *area); /* no race */
    for (unsigned i = 1; i < 1501; i++) area[i] = 0;
    end();
    assert_area(0, 0);
}

static void a_range_that_is_as_it_was_is_not_written(void **state) {
    (void)state;
    end();
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    begin();
    writes(pages, 8192, 1);
    assert_int_equal(mprotect(pages, 8192, PROT_READ), 0);
    end();
    assert_int_equal(munmap(pages, 8192), 0);
    begin();
}

static void a_range_that_is_kept_stays_until_the_next_run(void **state) {
    (void)state;
    overwrite(10, 1900);
    reads(&area[1910], 400, 1);
    area[1920] = 0; /* by nobody that is seen */
    ambit__shadow_keep();
    begin();
    writes(&area[0], sizeof area, 1);
    memset(area, 0, sizeof area);
    end();
    assert_int_equal(area[1920], 0);
    area[1920] = 1920;
    assert_area(10, 1900);
    area[1920] = 0;
    ambit__shadow_forget();
    assert_int_equal(area[1920], 0);
    area[1920] = 1920;
    assert_area(0, 0);
}

/* A thread's own memory, for the next one in its place: nobody has touched it. */
static void some_of_a_range_is_begun_anew(void **state) {
    (void)state;
    overwrite(0, AREA);
    ambit__shadow_renew((uintptr_t)&area[400], (uintptr_t)&area[1600]);
    for (unsigned i = 400; i < 1600; i++) assert_int_equal(area[i], i);
    assert_int_not_equal(area[399], 399);
    assert_int_not_equal(area[1600], 1600);
    as(1);
    overwrite(400, 1600);
    assert_failure(reads(&area[399], 8, 2), AMBIT_SCHEDULE_RACE);
    assert_failure(reads(&area[1600], 8, 2), AMBIT_SCHEDULE_RACE);
    end();
    assert_area(0, 0);
}

static void a_part_begun_anew_takes_no_room_in_its_page(void **state) {
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        step();
        writes(area, 4096, 1);
        ambit__shadow_renew((uintptr_t)&area[100], (uintptr_t)&area[200]);
    }
    assert_int_equal(ambit__shadow.cells, 0);
}

/* The border is in the middle of a page, and of the range. */
static void the_part_of_a_range_on_a_stack_is_left_alone(void **state) {
    (void)state;
    stack_high[7] = 0; /* it is asked for but once */
    test_stack_low = (uintptr_t)&area[100];
    test_stack_high = (uintptr_t)&area[300];
    as(7);
    overwrite(0, AREA);
    area[50] = area[200] = secret;
    roots = 0;
    ambit__shadow_each_root(count_roots);
    assert_int_equal(roots, 1);
    ambit__shadow_renew((uintptr_t)&area[90], (uintptr_t)&area[310]);
    end();
    assert_area(100, 300);
    stack_low[7] = stack_high[7] = 0;
}

static void a_range_has_roots_until_it_is_freed(void **state) {
    (void)state;
    reads(area, sizeof area, 1);
    area[3] = area[1500] = secret;
    roots = 0;
    ambit__shadow_each_root(count_roots);
    assert_int_equal(roots, 2);
    ambit__shadow_freed((uintptr_t)area, 4096, SITE(2));
    roots = 0;
    ambit__shadow_each_root(count_roots);
    assert_int_equal(roots, 1);
}

/* More pieces, of different sites, than a page has cells to share. */
static void a_page_in_many_pieces_is_put_back(void **state) {
    (void)state;
    for (unsigned i = 0; i + 16 <= 512; i += 16) {
        step();
        overwrite(i, i + 16);
    }
    end();
    assert_area(0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_was_written_is_put_back),
        TEST(neighbours_in_the_granule_are_left_alone),
        TEST(a_second_schedule_puts_back_its_own),
        TEST(what_is_kept_stays),
        TEST(read_only_memory_may_be_read),
        TEST(memory_that_is_as_it_was_is_not_written),
        TEST(stacks_are_no_roots_and_not_put_back),
        TEST(much_memory_is_known_and_put_back),
        AREA_TEST(a_range_is_put_back),
        AREA_TEST(neighbours_of_a_range_are_left_alone),
        AREA_TEST(a_range_that_was_only_read_is_left_alone),
        AREA_TEST(a_range_gets_what_stood_there_at_first),
        AREA_TEST(words_touched_before_and_after_a_range_are_put_back),
        AREA_TEST(an_unchecked_range_is_put_back),
        AREA_TEST(a_range_that_is_as_it_was_is_not_written),
        AREA_TEST(a_range_that_is_kept_stays_until_the_next_run),
        AREA_TEST(some_of_a_range_is_begun_anew),
        AREA_TEST(a_part_begun_anew_takes_no_room_in_its_page),
        AREA_TEST(the_part_of_a_range_on_a_stack_is_left_alone),
        AREA_TEST(a_range_has_roots_until_it_is_freed),
        AREA_TEST(a_page_in_many_pieces_is_put_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
