/* The heap of a schedule: what is freed, overrun, blank or lost is told, and each schedule begins
 * with the same. */
#include "memory.h"

static char *allocate(size_t bytes, unsigned site) {
    return ambit__arena_allocate(bytes, 0, false, SITE(site));
}

/* ---- What is given --------------------------------------------------------------------------- */

static void blocks_are_apart_and_aligned(void **state) {
    (void)state;
    uintptr_t end = 0;
    for (size_t bytes = 0; bytes < 200; bytes++) {
        uintptr_t address = (uintptr_t)allocate(bytes, 1);
        assert_int_equal(address % 16, 0);
        assert_true(address >= end + 16);
        assert_true(ambit__arena_owns(address));
        assert_int_equal(ambit__arena_bytes((void *)address), bytes);
        end = address + bytes;
    }
    for (size_t alignment = 32; alignment <= 1 << 16; alignment *= 2)
        assert_int_equal((uintptr_t)ambit__arena_allocate(1, alignment, false, SITE(1)) % alignment,
                         0);
    assert_false(ambit__arena_owns((uintptr_t)&end));
}

static void zeroed_memory_is_zero_and_may_be_read(void **state) {
    (void)state;
    memset(allocate(1000, 1), 0xff, 1000);
    begin(); /* over the same memory */
    char *zeroed = ambit__arena_allocate(1000, 0, true, SITE(1));
    for (unsigned i = 0; i < 1000; i++) assert_int_equal(zeroed[i], 0);
    reads(zeroed, 1000, 2);
}

static void blocks_have_numbers(void **state) {
    (void)state;
    char *first = allocate(5, 1), *second = allocate(64, 2);
    const ambit__block *block = ambit__arena_block((uintptr_t)second + 16);
    assert_int_equal(ambit__arena_number(block), 2);
    assert_int_equal(block->address, (uintptr_t)second);
    assert_int_equal(block->bytes, 64);
    assert_ptr_equal(block->site, SITE(2));
    assert_ptr_equal(ambit__arena_block((uintptr_t)second + 64), block);
    assert_int_equal(ambit__arena_number(ambit__arena_block((uintptr_t)second - 1)), 1);
    assert_null(ambit__arena_block((uintptr_t)first - 1));
    assert_false(ambit__arena_owns((uintptr_t)&block));
}

static void too_much_is_told_by_its_number(void **state) {
    (void)state;
    assert_failure(allocate((size_t)3 << 30, 1), AMBIT_SCHEDULE_UNSUPPORTED);
    assert_told("3221225472 bytes");
    assert_ptr_equal(ambit__found.site, SITE(1));
    assert_failure(allocate(SIZE_MAX, 1), AMBIT_SCHEDULE_UNSUPPORTED);
    assert_failure(ambit__arena_allocate(1, (size_t)1 << 40, false, SITE(1)),
                   AMBIT_SCHEDULE_UNSUPPORTED);
    assert_non_null(allocate(16, 1)); /* and what fits is still given */
}

/* ---- Bounds ---------------------------------------------------------------------------------- */

static void red_zones_are_out_of_bounds(void **state) {
    (void)state;
    char *first = allocate(12, 1), *second = allocate(32, 2);
    writes(first, 12, 3);
    assert_failure(writes(first + 8, 8, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_ptr_equal(ambit__found.site, SITE(4));
    assert_ptr_equal(ambit__found.other_site, SITE(1));
    assert_told("write of 8 bytes out of bounds, 0 behind the end of heap block 1 (12 bytes)");
    assert_failure(reads(first + 12, 1, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_failure(reads(first + 20, 1, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_told("8 behind the end of heap block 1");
    assert_failure(atomic_reads(second - 8, 8, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_failure(reads(second + 32, 4, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_failure(reads(second + (1 << 20), 4, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_failure(reads(first - 1, 1, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_told("before its first block");
    char *none = allocate(0, 3);
    assert_failure(reads(none, 1, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
}

static void a_range_over_the_end_is_out_of_bounds(void **state) {
    (void)state;
    char *block = allocate(100, 1);
    writes(block, 100, 2);
    assert_failure(writes(block, 101, 2), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
    assert_failure(ambit__shadow_copy((uintptr_t)block, 200, false, SITE(3)),
                   AMBIT_SCHEDULE_OUT_OF_BOUNDS);
}

/* ---- Blank memory ---------------------------------------------------------------------------- */

static void reading_what_nobody_wrote_is_told(void **state) {
    (void)state;
    char *block = allocate(40, 1);
    assert_failure(reads(block + 8, 4, 2), AMBIT_SCHEDULE_UNINITIALISED);
    assert_ptr_equal(ambit__found.site, SITE(2));
    assert_ptr_equal(ambit__found.other_site, SITE(1));
    assert_told("read of 4 bytes of heap block 1 (40 bytes) at 8 that nobody wrote");
    assert_failure(atomic_reads(block, 8, 3), AMBIT_SCHEDULE_UNINITIALISED);
    assert_failure(reads(block + 32, 8, 3), AMBIT_SCHEDULE_UNINITIALISED);
    writes(block, 8, 4);
    reads(block, 8, 4);
    reads(block + 4, 4, 4);
    ambit__shadow_unchecked((uintptr_t)block + 32, 8);
    reads(block + 32, 8, 5);
    assert_failure(reads(block + 39, 2, 5), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
}

/* Copies of structs read what stands between the members. */
static void reading_some_of_what_nobody_wrote_is_not(void **state) {
    (void)state;
    char *block = allocate(48, 1);
    writes(block, 5, 2);
    reads(block, 8, 3);
    reads(block, 16, 3); /* the second half is blank */
    ambit__shadow_copy((uintptr_t)block, 48, false, SITE(3));
    assert_failure(reads(block + 5, 2, 3), AMBIT_SCHEDULE_UNINITIALISED);
}

static void a_copy_does_not_make_it_written(void **state) {
    (void)state;
    char *block = allocate(8, 1);
    ambit__shadow_copy((uintptr_t)block, 8, false, SITE(3));
    assert_failure(reads(block, 8, 3), AMBIT_SCHEDULE_UNINITIALISED);
}

static void what_a_library_wrote_may_be_read(void **state) {
    (void)state;
    char *block = allocate(64, 1);
    memset(block + 8, 'x', 8);
    reads(block + 8, 8, 2);
    block[24] = 0;
    reads(block + 25, 1, 2); /* beside it: nobody can know how much of it was written */
    reads(block + 24, 1, 2);
    assert_failure(reads(block + 32, 8, 2), AMBIT_SCHEDULE_UNINITIALISED);
}

/* ---- Races with the heap --------------------------------------------------------------------- */

static void an_allocation_is_a_write(void **state) {
    (void)state;
    char *block = ambit__arena_allocate(8, 0, true, SITE(1));
    char *other = allocate(8, 2);
    as(1);
    assert_failure(reads(block, 8, 3), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(1));
    assert_told(
        "read of 8 bytes of heap block 1 (8 bytes) at 0 races with the allocation by thread 0");
    assert_failure(ambit__arena_free(other, SITE(4)), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(2));
    order(0, 1);
    reads(block, 8, 3);
    ambit__arena_free(other, SITE(4));
}

/* Not at the line of malloc(), if there is a better one. */
static void a_race_names_the_first_write_after_the_allocation(void **state) {
    (void)state;
    char *block = ambit__arena_allocate(8, 0, true, SITE(1));
    writes(block, 8, 2);
    as(1);
    assert_failure(reads(block, 8, 3), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(2));
}

static void a_free_races_with_what_it_does_not_know(void **state) {
    (void)state;
    char *block = ambit__arena_allocate(64, 0, true, SITE(1)), *other = allocate(4096, 2);
    order(0, 1);
    as(1);
    reads(block + 40, 4, 3);
    atomic_writes(other + 4088, 8, 3);
    as(0);
    assert_failure(ambit__arena_free(block, SITE(4)), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_ptr_equal(ambit__found.site, SITE(4));
    assert_ptr_equal(ambit__found.other_site, SITE(3));
    assert_told("free races with a read of 4 bytes of heap block 1 (64 bytes) at 40 by thread 1");
    assert_failure(ambit__arena_free(other, SITE(4)), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_told("free races with an atomic write");
}

static void a_free_that_knows_all_is_right(void **state) {
    (void)state;
    char *block = ambit__arena_allocate(64, 0, true, SITE(1));
    order(0, 1);
    as(1);
    reads(block, 8, 3);
    order(1, 0);
    as(0);
    ambit__arena_free(block, SITE(4));
}

/* ---- After the free -------------------------------------------------------------------------- */

static void freed_memory_is_told_from_either_side(void **state) {
    (void)state;
    char *touched = allocate(64, 1), *untouched = allocate(64, 2);
    writes(touched, 64, 3);
    ambit__arena_free(touched, SITE(4));
    ambit__arena_free(untouched, SITE(5));
    assert_failure(reads(touched + 60, 4, 6), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_ptr_equal(ambit__found.site, SITE(6));
    assert_ptr_equal(ambit__found.other_site, SITE(4));
    assert_told("read of 4 bytes of heap block 1 (64 bytes) at 60 after it was freed");
    assert_failure(atomic_writes(untouched, 8, 6), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_ptr_equal(ambit__found.other_site, SITE(5));
    assert_int_not_equal(touched[0], untouched[32]); /* and holds nothing that makes sense */
    assert_true(*(uint64_t *)touched >> 48 == 0xdede);
    assert_true(*(uint64_t *)allocate(8, 7) >> 48 == 0xa5a5);
}

static void no_address_comes_again(void **state) {
    (void)state;
    void *first = allocate(64, 1);
    ambit__arena_free(first, SITE(2));
    assert_ptr_not_equal(allocate(64, 1), first);
}

static void bad_frees_are_misuse(void **state) {
    (void)state;
    char *block = allocate(64, 1);
    assert_failure(ambit__arena_free(block + 16, SITE(2)), AMBIT_SCHEDULE_MISUSE);
    assert_ptr_equal(ambit__found.other_site, SITE(1));
    assert_told("free inside of heap block 1 (64 bytes), at 16");
    assert_failure(ambit__arena_free(block + 64, SITE(2)), AMBIT_SCHEDULE_MISUSE);
    ambit__arena_free(block, SITE(3));
    assert_failure(ambit__arena_free(block, SITE(4)), AMBIT_SCHEDULE_MISUSE);
    assert_ptr_equal(ambit__found.site, SITE(4));
    assert_ptr_equal(ambit__found.other_site, SITE(3));
    assert_told("heap block 1 (64 bytes) is freed once more");
}

/* ---- Schedules ------------------------------------------------------------------------------- */

static void each_schedule_gets_the_same_addresses_unless_shifted(void **state) {
    (void)state;
    char *one = allocate(100, 1), *other = allocate(10, 1);
    end();
    begin();
    assert_ptr_equal(allocate(100, 1), one);
    assert_ptr_equal(allocate(10, 1), other);
    end();
    ambit__arena_shift(3);
    begin();
    char *shifted = allocate(100, 1);
    assert_ptr_not_equal(shifted, one);
    assert_int_equal(((uintptr_t)shifted - (uintptr_t)one) % 64, 0);
    assert_int_not_equal(((uintptr_t)shifted - (uintptr_t)one) % 4096, 0);
    end();
    ambit__arena_shift(0);
    begin();
    assert_ptr_equal(allocate(100, 1), one);
}

/* From here on `before` has left blocks; this one runs last. */
static void kept_blocks_are_there_in_each_schedule(void **state) {
    (void)state;
    uint64_t *kept = (uint64_t *)allocate(64, 1), *large = (uint64_t *)allocate(1 << 20, 2);
    void *given_up = allocate(32, 3);
    writes(kept, 8, 4);
    kept[0] = 42;
    ambit__shadow_unchecked((uintptr_t)large, 8);
    large[0] = 43;
    ambit__arena_free(given_up, SITE(5));
    ambit__shadow_keep();
    ambit__arena_keep();
    for (unsigned i = 0; i < 3; i++) {
        begin();
        const void *site;
        size_t bytes;
        unsigned blocks;
        as(i); /* any thread: they are older than all */
        assert_int_equal(kept[0], 42);
        reads(kept, 8, 6);
        writes(kept, 8, 6);
        kept[0] = 1;
        assert_failure(reads(&kept[1], 8, 6), AMBIT_SCHEDULE_UNINITIALISED);
        assert_failure(reads(given_up, 8, 6), AMBIT_SCHEDULE_USE_AFTER_FREE);
        assert_failure(ambit__arena_free(given_up, SITE(6)), AMBIT_SCHEDULE_MISUSE);
        assert_false(ambit__arena_find_leak(&site, &bytes, &blocks));
        ambit__arena_free(kept, SITE(7));
        ambit__arena_free(large, SITE(7));
        assert_failure(reads(kept, 8, 8), AMBIT_SCHEDULE_USE_AFTER_FREE);
        assert_int_not_equal(kept[0], 42);
        assert_true((uintptr_t)allocate(8, 9) > (uintptr_t)large + (1 << 20));
        end();
        assert_int_equal(kept[0], 42);
        assert_int_equal(large[0], 43);
    }
    begin();
    uint64_t *fresh = (uint64_t *)allocate(8, 9);
    const void *site;
    size_t bytes;
    unsigned blocks;
    assert_true(ambit__arena_find_leak(&site, &bytes, &blocks));
    writes(&kept[1], 8, 6);
    kept[1] = (uintptr_t)fresh; /* held by what is kept */
    assert_false(ambit__arena_find_leak(&site, &bytes, &blocks));
    ambit__arena_free(kept, SITE(9));
    end();
    ambit__arena_free(kept, SITE(10)); /* between schedules: for good */
    begin();
    assert_failure(reads(kept, 8, 11), AMBIT_SCHEDULE_USE_AFTER_FREE);
    ambit__arena_free(large, SITE(12));
    end();
    begin();
    writes(large, 8, 13);
    assert_failure(reads(kept, 8, 11), AMBIT_SCHEDULE_USE_AFTER_FREE);
}

static void blocks_of_the_last_schedule_are_forgotten(void **state) {
    (void)state;
    char *gone = NULL;
    for (unsigned i = 0; i < 3; i++) {
        char *block = allocate(256, 1);
        if (i == 1) gone = block;
    }
    writes(gone, 8, 2);
    begin();
    (void)allocate(16, 3);
    assert_failure(writes(gone, 8, 4), AMBIT_SCHEDULE_OUT_OF_BOUNDS);
}

/* ---- Leaks ----------------------------------------------------------------------------------- */

static void *root;

static bool leaks(unsigned expected_blocks, size_t expected_bytes, unsigned expected_site) {
    const void *site = NULL;
    size_t bytes = 0;
    unsigned blocks = 0;
    bool found = ambit__arena_find_leak(&site, &bytes, &blocks);
    if (!found) return false;
    assert_int_equal(blocks, expected_blocks);
    assert_int_equal(bytes, expected_bytes);
    assert_ptr_equal(site, SITE(expected_site));
    return true;
}

static void set(void *where, void *value) {
    writes(where, sizeof value, 9);
    memcpy(where, &value, sizeof value);
}

static void what_nothing_points_to_leaks(void **state) {
    (void)state;
    assert_false(leaks(0, 0, 0));
    char *block = allocate(24, 1);
    (void)allocate(8, 2);
    assert_true(leaks(2, 32, 1));
    set(&root, block);
    assert_true(leaks(1, 8, 2));
    assert_true(leaks(1, 8, 2)); /* asking changes nothing */
    set(&root, block + 23);
    assert_true(leaks(1, 8, 2));
    set(&root, block + 24);
    assert_true(leaks(2, 32, 1));
    ambit__arena_free(block, SITE(3));
    assert_true(leaks(1, 8, 2));
}

static void what_the_first_thread_keeps_by_a_key_does_not_leak(void **state) {
    (void)state;
    ambit__threads[1].keys[0] = allocate(8, 1);
    ambit__threads[0].keys[AMBIT__KEYS - 1] = allocate(16, 2);
    assert_true(leaks(1, 8, 1));
}

static void what_is_reached_through_others_does_not_leak(void **state) {
    (void)state;
    char *chain[4];
    for (unsigned i = 0; i < 4; i++) chain[i] = allocate(32, 1 + i);
    for (unsigned i = 0; i < 3; i++) set(chain[i] + 8, chain[i + 1]);
    set(chain[3], chain[0]); /* a ring keeps nothing alive */
    assert_true(leaks(4, 128, 1));
    set(&root, chain[2]);
    assert_false(leaks(0, 0, 0));
    set(chain[3], NULL);
    assert_true(leaks(2, 64, 1));
    ambit__arena_free(chain[2], SITE(5)); /* what stands in freed memory counts for nothing */
    assert_true(leaks(3, 96, 1));
}

/* ---- Mappings -------------------------------------------------------------------------------- */

static bool is_mapped(void *address) {
    unsigned char in_core;
    return mincore(address, 1, &in_core) == 0;
}

static char *map_pages(size_t bytes) {
    char *memory =
        __wrap_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static void unmapped_memory_is_told_and_goes_at_the_end(void **state) {
    (void)state;
    char *memory = map_pages(10000), *held = map_pages(4096), *read_only = map_pages(4096);
    writes(memory + 4096, 8, 1);
    assert_int_equal(__wrap_munmap(memory, 10000), 0);
    assert_failure(reads(memory + 4096, 8, 2), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_failure(reads(memory + 10240, 8, 2), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_int_equal(__wrap_munmap(memory + 1, 10000), -1);
    writes(held, 8, 3);
    writes(read_only, 8, 3);
    read_only[0] = 1;
    assert_int_equal(mprotect(read_only, 4096, PROT_READ), 0);
    assert_true(is_mapped(memory));
    end();
    begin();
    assert_false(is_mapped(memory));
    assert_false(is_mapped(held));
}

static void older_mappings_come_back(void **state) {
    (void)state;
    end();
    char *memory = map_pages(4096);
    memory[0] = 1;
    begin();
    assert_int_equal(__wrap_munmap(memory, 4096), 0);
    assert_failure(reads(memory, 1, 2), AMBIT_SCHEDULE_USE_AFTER_FREE);
    end();
    begin();
    reads(memory, 1, 2);
    assert_int_equal(memory[0], 1);
    end();
    assert_int_equal(__wrap_munmap(memory, 4096), 0);
    assert_false(is_mapped(memory));
    begin();
}

static void mapped_memory_is_a_root(void **state) {
    (void)state;
    char *memory = map_pages(4096), *block = allocate(8, 1);
    set(memory + 16, block);
    assert_false(leaks(0, 0, 0));
    assert_int_equal(__wrap_munmap(memory, 4096), 0);
    assert_true(leaks(1, 8, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(blocks_are_apart_and_aligned),
        TEST(zeroed_memory_is_zero_and_may_be_read),
        TEST(blocks_have_numbers),
        TEST(too_much_is_told_by_its_number),
        TEST(red_zones_are_out_of_bounds),
        TEST(a_range_over_the_end_is_out_of_bounds),
        TEST(reading_what_nobody_wrote_is_told),
        TEST(reading_some_of_what_nobody_wrote_is_not),
        TEST(a_copy_does_not_make_it_written),
        TEST(what_a_library_wrote_may_be_read),
        TEST(an_allocation_is_a_write),
        TEST(a_race_names_the_first_write_after_the_allocation),
        TEST(a_free_races_with_what_it_does_not_know),
        TEST(a_free_that_knows_all_is_right),
        TEST(freed_memory_is_told_from_either_side),
        TEST(no_address_comes_again),
        TEST(bad_frees_are_misuse),
        TEST(each_schedule_gets_the_same_addresses_unless_shifted),
        TEST(blocks_of_the_last_schedule_are_forgotten),
        TEST(what_nothing_points_to_leaks),
        TEST(what_the_first_thread_keeps_by_a_key_does_not_leak),
        TEST(what_is_reached_through_others_does_not_leak),
        TEST(unmapped_memory_is_told_and_goes_at_the_end),
        TEST(older_mappings_come_back),
        TEST(mapped_memory_is_a_root),
        TEST(kept_blocks_are_there_in_each_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
