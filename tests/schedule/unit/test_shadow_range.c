/* Much memory at once: what is known of its bytes is what would be known of each by itself. */
#include "memory.h"

#define BYTES 20000
static char area[BYTES] __attribute__((aligned(4096)));

static char *allocate(size_t bytes, bool zero, unsigned site) {
    return ambit__arena_allocate(bytes, 0, zero, SITE(site));
}

#define assert_race_at(what, place, other)                                                         \
    do {                                                                                           \
        assert_failure(what, AMBIT_SCHEDULE_RACE);                                                 \
        assert_ptr_equal(ambit__found.address, place);                                             \
        assert_ptr_equal(ambit__found.other_site, SITE(other));                                    \
    } while (0)

/* ---- Races ----------------------------------------------------------------------------------- */

static void a_range_races_in_each_of_its_bytes_and_no_other(void **state) {
    (void)state;
    writes(area + 3, 15000, 1);
    as(1);
    reads(area, 3, 2);
    reads(area + 15003, 5, 2);
    for (unsigned i = 3; i < 15003; i += 251) assert_race_at(reads(area + i, 1, 2), area + i, 1);
    assert_race_at(reads(area + 2, 2, 2), area + 2, 1);
    assert_race_at(reads(area + 15002, 2, 2), area + 15002, 1);
}

static void ranges_that_are_known_do_not_race(void **state) {
    (void)state;
    writes(area, BYTES, 1);
    order(0, 1);
    as(1);
    writes(area, BYTES, 2);
    as(0);
    assert_race_at(reads(area + 9000, 8, 3), area + 9000, 2);
    order(1, 2);
    as(2);
    reads(area, BYTES, 3);
}

static void ranges_that_are_read_race_with_writes(void **state) {
    (void)state;
    reads(area, BYTES, 1);
    as(1);
    reads(area, BYTES, 2);
    order(0, 2);
    as(2);
    reads(area, 4096, 3);
    assert_race_at(writes(area, BYTES, 3), area, 2);
    assert_told("write of 20000 bytes races with a read of 8 bytes by thread 1");
}

/* The first byte of it that is another's: whether that is one word or many, or of another range. */
static void a_range_tells_where_it_meets_another(void **state) {
    (void)state;
    writes(area + 9000, 1, 1);
    writes(area + 1000, 160, 2);
    as(1);
    assert_race_at(reads(area, BYTES, 3), area + 1000, 2);
    assert_told("read of 19000 bytes");
    assert_race_at(reads(area + 1160, BYTES - 1160, 3), area + 9000, 1);
    assert_race_at(writes(area + 1001, 4000, 3), area + 1001, 2);
}

static void a_part_of_a_range_goes_its_own_way(void **state) {
    (void)state;
    writes(area, 4096, 1);
    order(0, 1);
    order(0, 2);
    as(1);
    writes(area + 1000, 1000, 2);
    as(2);
    reads(area, 1000, 3);
    reads(area + 2000, 2096, 3);
    assert_race_at(reads(area, 4096, 3), area + 1000, 2);
    assert_race_at(reads(area + 1999, 1, 3), area + 1999, 2);
    as(3); /* who knows neither */
    assert_race_at(reads(area + 500, 8, 4), area + 500, 1);
}

static void a_word_of_a_range_goes_its_own_way(void **state) {
    (void)state;
    writes(area, BYTES, 1);
    order(0, 1);
    writes(area + 6000, 4, 2);
    as(1);
    reads(area, 6000, 3);
    reads(area + 6004, BYTES - 6004, 3);
    assert_race_at(reads(area, BYTES, 3), area + 6000, 2);
    order(0, 1);
    writes(area, BYTES, 4); /* the word as well, which it knows now */
    order(0, 2);
    as(2);
    assert_race_at(reads(area + 6000, 1, 5), area + 6000, 4);
}

/* They have cells of their own, and the range has another. */
static void words_touched_before_a_range_are_in_it(void **state) {
    (void)state;
    writes(area + 800, 8, 1);
    as(1);
    assert_race_at(writes(area, 4096, 2), area + 800, 1);
    order(0, 1);
    writes(area, 4096, 3);
    as(0);
    assert_race_at(reads(area + 800, 8, 4), area + 800, 3);
}

static void a_new_schedule_knows_no_range(void **state) {
    (void)state;
    writes(area, BYTES, 1);
    begin();
    as(1);
    writes(area, BYTES, 2);
    as(2);
    assert_race_at(reads(area, BYTES, 3), area, 2);
}

/* Its number comes again after 2^32: what was of the first with it must not. */
static void the_first_schedule_does_not_come_again(void **state) {
    (void)state;
    ambit__shadow.schedule = UINT32_MAX;
    begin();
    writes(area, BYTES, 1);
    writes(area + BYTES - 4, 4, 1);
    ambit__shadow.schedule = UINT32_MAX;
    begin();
    assert_int_equal(ambit__shadow.schedule, 1);
    as(1);
    writes(area + BYTES - 4, 4, 2);
    writes(area, BYTES, 2);
}

/* ---- Atomics in it --------------------------------------------------------------------------- */

static void an_atomic_in_a_range_is_seeded_by_it(void **state) {
    (void)state;
    unsigned thread = 99;
    uint32_t epoch = 99;
    as(2);
    step();
    writes(area, BYTES, 1);
    ambit__granule *granule = ambit__shadow_at((uintptr_t)area + 4100);
    assert_true(granule->address == (uintptr_t)area + 4096);
    assert_true(ambit__shadow_last_write(granule, 0xf0, &thread, &epoch));
    assert_int_equal(thread, 2);
    assert_int_equal(epoch, 2);
    granule->locations = (struct ambit__location *)area;
    step();
    writes(area, BYTES, 2);
    assert_int_equal(granule->renewed, 0xff);
    granule->renewed = 0;
    ambit__shadow_unchecked((uintptr_t)area, BYTES);
    assert_int_equal(granule->renewed, 0xff);
}

static void an_atomic_range_races_with_plain_ones_only(void **state) {
    (void)state;
    atomic_writes(area, 4096, 1);
    as(1);
    atomic_writes(area, 4096, 2);
    assert_race_at(reads(area, 4096, 3), area, 1);
}

/* ---- The heap -------------------------------------------------------------------------------- */

static void a_range_of_a_block_races_with_its_allocation(void **state) {
    (void)state;
    char *block = allocate(9000, true, 1);
    as(1);
    assert_race_at(reads(block, 9000, 2), block, 1);
    assert_told("read of 9000 bytes of heap block 1 (9000 bytes) at 0 races with the allocation");
    order(0, 1);
    reads(block, 9000, 2);
}

static void a_range_over_the_end_of_a_block_is_out_of_bounds(void **state) {
    (void)state;
    char *block = allocate(9001, true, 1), *next = allocate(9000, true, 2);
    assert_failure(writes(block - 8, 4000, 3), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_told("before its first block");
    writes(block, 9001, 3);
    assert_failure(writes(block + 4500, 4502, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_failure(reads(block, (size_t)(next - block) + 500, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_ptr_equal(ambit__found.other_site, SITE(1));
    assert_failure(reads(next - 16, 4000, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
}

static void a_free_races_with_a_range_it_does_not_know(void **state) {
    (void)state;
    char *block = allocate(9000, true, 1);
    order(0, 1);
    as(1);
    reads(block + 4000, 1000, 2);
    as(0);
    assert_failure(ambit__arena_free(block, SITE(3)), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_ptr_equal(ambit__found.other_site, SITE(2));
    assert_ptr_equal(ambit__found.address, block + 4000);
}

static void a_freed_range_is_told(void **state) {
    (void)state;
    char *block = allocate(9000, true, 1), *untouched = allocate(9000, true, 2);
    writes(block, 9000, 3);
    ambit__arena_free(block, SITE(4));
    ambit__arena_free(untouched, SITE(5));
    assert_failure(reads(block, 9000, 6), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_ptr_equal(ambit__found.other_site, SITE(4));
    assert_failure(reads(block + 8000, 8, 6), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_failure(reads(untouched, 9000, 6), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_ptr_equal(ambit__found.other_site, SITE(5));
}

static void a_race_names_the_range_written_after_the_allocation(void **state) {
    (void)state;
    char *block = allocate(9000, true, 1);
    writes(block, 9000, 2);
    as(1);
    assert_race_at(reads(block, 9000, 3), block, 2);
    as(0);
    char *other = allocate(9000, true, 4);
    reads(other, 9000, 5);
    writes(other + 400, 8, 6); /* in the same step as the allocation */
    as(1);
    assert_race_at(reads(other + 400, 8, 7), other + 400, 6);
}

/* ---- Blank memory ---------------------------------------------------------------------------- */

static void reading_a_range_that_nobody_wrote_is_told(void **state) {
    (void)state;
    char *block = allocate(9000, false, 1);
    assert_failure(reads(block, 9000, 2), AMBIT_SCHEDULE_UNINITIALISED);
    assert_told("read of 9000 bytes of heap block 1 (9000 bytes) at 0 that nobody wrote");
    writes(block, 9000, 3);
    reads(block, 9000, 4);
}

static void the_end_of_a_range_that_nobody_wrote_is_told(void **state) {
    (void)state;
    char *block = allocate(9000, false, 1);
    writes(block, 5000, 2);
    assert_failure(reads(block, 9000, 3), AMBIT_SCHEDULE_UNINITIALISED);
    assert_told("read of 4000 bytes of heap block 1 (9000 bytes) at 5000 that nobody wrote");
    writes(block + 8992, 8, 4);
    reads(block, 9000, 3); /* only a hole */
    char *other = allocate(9004, false, 5);
    assert_failure(reads(other + 9000, 4, 6), AMBIT_SCHEDULE_UNINITIALISED);
    writes(other + 5000, 4000, 6);
    reads(other, 9000, 6); /* its end was written, if with what stood there */
    assert_failure(reads(block, 8000, 3), AMBIT_SCHEDULE_UNINITIALISED);
}

/* Nothing has told of it; the first half was the same to the scheduler as the second. */
static void the_end_of_a_range_that_a_library_did_not_write_is_told(void **state) {
    (void)state;
    char *block = allocate(4000, false, 1);
    memset(block, 'x', 2000);
    assert_failure(reads(block, 4000, 2), AMBIT_SCHEDULE_UNINITIALISED);
    assert_told("read of 2000 bytes of heap block 1 (4000 bytes) at 2000 that nobody wrote");
    reads(block, 2000, 2);
    memset(block + 3992, 'x', 8);
    reads(block, 4000, 2);
}

static void a_copy_of_a_blank_range_is_not_told(void **state) {
    (void)state;
    char *block = allocate(9000, false, 1);
    ambit__shadow_copy((uintptr_t)block, 9000, false, SITE(2));
    assert_failure(reads(block + 4000, 8, 3), AMBIT_SCHEDULE_UNINITIALISED);
    ambit__shadow_unchecked((uintptr_t)block, 9000);
    reads(block, 9000, 3);
}

/* ---- Memory from before ---------------------------------------------------------------------- */

static void a_range_freed_from_before_is_told(void **state) {
    (void)state;
    reads(area, 4096, 1); /* known, and behind it unknown */
    ambit__shadow_freed((uintptr_t)area + 1000, 7000, SITE(2));
    reads(area, 1000, 3);
    reads(area + 8000, 4000, 3);
    assert_failure(reads(area + 999, 1000, 3), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_ptr_equal(ambit__found.other_site, SITE(2));
    assert_failure(reads(area + 4096, 1000, 3), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_failure(reads(area + 7999, 4000, 3), AMBIT_SCHEDULE_USE_AFTER_FREE);
    ambit__shadow_allocated((uintptr_t)area + 1000, 7000);
    writes(area, BYTES, 4);
}

static void ranges_freed_by_two_are_told_apart(void **state) {
    (void)state;
    reads(area, 4096, 1);
    ambit__shadow_freed((uintptr_t)area, 2048, SITE(2));
    ambit__shadow_freed((uintptr_t)area + 2048, 2048, SITE(3));
    assert_failure(reads(area + 2040, 8, 4), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_ptr_equal(ambit__found.other_site, SITE(2));
    assert_failure(reads(area + 2048, 8, 4), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_ptr_equal(ambit__found.other_site, SITE(3));
}

/* So much that what is known is gone through, and not the addresses. */
static void a_free_of_very_much_finds_the_little_that_is_known(void **state) {
    (void)state;
    reads(area + 4096, 4096, 1);
    reads(area + 10000, 8, 1);
    reads(area + 4088, 8, 1);
    uintptr_t low = (uintptr_t)area + 4100;
    ambit__shadow_freed(low, (size_t)1 << 30, SITE(2));
    ambit__shadow_none_gone(); /* what was touched before knows it by itself */
    reads(area + 4088, 12, 3);
    assert_failure(reads(area + 4100, 4, 3), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_failure(reads(area + 4104, 2000, 3), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_failure(reads(area + 10000, 8, 3), AMBIT_SCHEDULE_USE_AFTER_FREE);
    ambit__shadow_allocated(low, (size_t)1 << 30);
    reads(area + 4096, 4096, 4);
    reads(area + 10000, 8, 4);
}

/* ---- Together, and apart --------------------------------------------------------------------- */

static void a_range_takes_no_cell_for_each_word(void **state) {
    (void)state;
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < BYTES; i += 8) writes(area + i, 8, 1); /* once more, the same */
        writes(area, BYTES, 1);
        if (!round) begin();
        if (!round) writes(area, BYTES, 1);
        assert_int_equal(ambit__shadow.cells, 0);
    }
    step();
    writes(area + 8, 8, 2);
    assert_int_equal(ambit__shadow.cells, 1);
    assert_int_equal(ambit__shadow.pages, 5);
    char *block = allocate(9000, true, 3);
    writes(block, 1000, 3);
    ambit__arena_free(block, SITE(4)); /* nor does what nobody touched */
    assert_int_equal(ambit__shadow.cells, 1);
}

/* What is the same in the end is one again: else a page would run out of cells. */
static void a_range_in_pieces_is_one(void **state) {
    (void)state;
    for (unsigned i = 0; i < 4096; i += 128) writes(area + i, 128, 1);
    for (unsigned i = 4096; i; i -= 128) reads(area + i - 128, 128, 2);
    for (unsigned round = 0; round < 20; round++) {
        step();
        for (unsigned i = 4096; i; i -= 128) writes(area + i - 128, 128, 3);
    }
    assert_int_equal(ambit__shadow.cells, 0);
}

/* Nor do those between them, which are as they are to each other. */
static void words_of_a_range_take_no_room_in_its_page(void **state) {
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        step();
        writes(area, 4096, 1);
        step();
        writes(area + 96 * round + 8, 8, 2);
        assert_int_equal(ambit__shadow.cells, round + 1);
    }
}

static void ranges_are_found_when_there_is_more(void **state) {
    (void)state;
    static char more[40000] __attribute__((aligned(4096)));
    writes(area, BYTES, 1);
    for (unsigned i = 0; i < sizeof more; i += 8) writes(more + i, 8, 2);
    uint32_t cells = ambit__shadow.cells, pages = ambit__shadow.pages;
    writes(area, BYTES, 1);
    writes(more, 200, 2);
    as(1);
    assert_race_at(reads(area + 9000, 1, 3), area + 9000, 1);
    assert_race_at(reads(more, 8, 3), more, 2);
    assert_int_equal(ambit__shadow.cells, cells + 1);
    assert_int_equal(ambit__shadow.pages, pages + 1);
}

/* Of more kinds than a page has room for: then each word has a cell of its own. */
static void a_page_in_many_pieces_is_as_exact(void **state) {
    (void)state;
    for (unsigned i = 0; i < 32; i++) {
        as(i % 3);
        writes(area + 128 * i, 128, 100 + i);
        assert_int_equal(ambit__shadow.cells > 0, i >= AMBIT__PAGE_CELLS);
    }
    as(3);
    for (unsigned i = 0; i < 4096; i += 8)
        assert_race_at(reads(area + i, 1, 1), area + i, 100 + i / 128);
    order(0, 3);
    order(1, 3);
    assert_race_at(writes(area, 4096, 2), area + 256, 102);
    order(2, 3);
    writes(area, 4096, 3);
    as(0);
    for (unsigned i = 0; i < 4096; i += 8) assert_race_at(reads(area + i, 1, 1), area + i, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_range_races_in_each_of_its_bytes_and_no_other),
        TEST(ranges_that_are_known_do_not_race),
        TEST(ranges_that_are_read_race_with_writes),
        TEST(a_range_tells_where_it_meets_another),
        TEST(a_part_of_a_range_goes_its_own_way),
        TEST(a_word_of_a_range_goes_its_own_way),
        TEST(words_touched_before_a_range_are_in_it),
        TEST(a_new_schedule_knows_no_range),
        TEST(the_first_schedule_does_not_come_again),
        TEST(an_atomic_in_a_range_is_seeded_by_it),
        TEST(an_atomic_range_races_with_plain_ones_only),
        TEST(a_range_of_a_block_races_with_its_allocation),
        TEST(a_range_over_the_end_of_a_block_is_out_of_bounds),
        TEST(a_free_races_with_a_range_it_does_not_know),
        TEST(a_freed_range_is_told),
        TEST(a_race_names_the_range_written_after_the_allocation),
        TEST(reading_a_range_that_nobody_wrote_is_told),
        TEST(the_end_of_a_range_that_nobody_wrote_is_told),
        TEST(the_end_of_a_range_that_a_library_did_not_write_is_told),
        TEST(a_copy_of_a_blank_range_is_not_told),
        TEST(a_range_freed_from_before_is_told),
        TEST(ranges_freed_by_two_are_told_apart),
        TEST(a_free_of_very_much_finds_the_little_that_is_known),
        TEST(a_range_takes_no_cell_for_each_word),
        TEST(a_range_in_pieces_is_one),
        TEST(words_of_a_range_take_no_room_in_its_page),
        TEST(ranges_are_found_when_there_is_more),
        TEST(a_page_in_many_pieces_is_as_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
