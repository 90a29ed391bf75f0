/* Names for addresses: lines of code, also of what was inlined; variables down to their members. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "schedule/host.h"
#include "schedule/report.h"

#define INLINED static inline __attribute__((always_inline))
#define ALONE __attribute__((noinline))

/* Where the processor is: what a call from here would return to. */
#define HERE(address) __asm__ volatile("lea 0(%%rip), %0" : "=r"(address))

/* clang-format off */
#line 100 "planted/deep.c"
INLINED const void *innermost(void) {
    const void *address;
    HERE(address);
    return address;
}
INLINED const void *between(void) {
    return innermost();
}
ALONE static const void *outermost(void) {
    return between();
}
#line 120 "planted/deep.c"
ALONE static const void *without_a_line(void) {
    const void *address;
#line 0 "planted/deep.c"
    HERE(address);
#line 123 "planted/deep.c"
    return address;
}
#line 39 "test_symbol.c"
/* clang-format on */

/* No debug information tells of this one, as of code that was built without. */
const void *bare(void);
__asm__(".pushsection .text.bare, \"ax\", @progbits\n"
        ".globl bare\n"
        ".type bare, @function\n"
        "bare: lea 0(%rip), %rax\n" /* 7 bytes */
        "ret\n"
        ".size bare, . - bare\n"
        ".popsection");

struct node {
    struct node *next;
    int values[4];
    union {
        short low;
        long whole;
    } either;
};
static struct {
    struct node nodes[3];
    _Atomic int count;
} pool = {.count = 1};
static int plain;
static struct {
    char letters[3];
} odd __attribute__((aligned(64))); /* nothing comes right behind it */
static _Thread_local struct node of_thread;
static char far[1 << 20]; /* behind what is mapped from the file */

ALONE static uintptr_t inside_of_static(void) {
    static long hits[3];
    hits[1]++;
    return (uintptr_t)&hits[1];
}

static char text[512];

static void check_name(const volatile void *address, size_t size, const char *expected) {
    assert_string_equal(ambit__address_text((uintptr_t)address, size, text, sizeof text), expected);
}

/* ---- Code ------------------------------------------------------------------------------------ */

static void check_place(const ambit__place *place, const char *function, int line) {
    assert_string_equal(place->function, function);
    assert_non_null(place->file);
    assert_non_null(strstr(place->file, "planted/deep.c"));
    assert_int_equal(place->line, line);
    assert_true(place->column > 0);
}

static void an_inlined_place_is_told_with_all_its_callers(void **state) {
    (void)state;
    const ambit__place *places;
    assert_int_equal(ambit__places(outermost(), &places), 3);
    check_place(&places[0], "innermost", 102);
    check_place(&places[1], "between", 106);
    check_place(&places[2], "outermost", 109);
}

/* clang tells of no line where it is told 0, gcc goes on with the one before. */
static void a_place_without_a_line_has_the_nearest(void **state) {
    (void)state;
    const ambit__place *places;
    assert_int_equal(ambit__places(without_a_line(), &places), 1);
    assert_string_equal(places->function, "without_a_line");
    assert_non_null(places->file);
    assert_true(places->line >= 120 && places->line <= 124);
}

static void a_place_is_looked_up_once(void **state) {
    (void)state;
    const ambit__place *places, *again;
    const void *site = outermost();
    (void)ambit__places(site, &places);
    (void)ambit__places(site, &again);
    assert_ptr_equal(places, again);
}

static void a_site_is_told_by_file_and_line(void **state) {
    (void)state;
    const void *site = outermost();
    assert_non_null(strstr(ambit__site_text(site, text, sizeof text), "deep.c:102 in innermost()"));
    assert_string_equal(ambit__site_short(site, text, sizeof text), "deep.c:102");
}

static void a_site_without_debug_information_is_told_by_its_function(void **state) {
    (void)state;
    const ambit__place *places;
    assert_int_equal(ambit__places(bare(), &places), 1);
    assert_string_equal(places[0].function, "bare");
    assert_null(places[0].file);
    assert_string_equal(ambit__site_text(bare(), text, sizeof text), "bare()+0x6");
    assert_string_equal(ambit__site_short(bare(), text, sizeof text), "bare()+0x6");
}

static void a_site_that_is_none_is_told_as_an_address(void **state) {
    (void)state;
    const ambit__place *places;
    assert_int_equal(ambit__places((const void *)16, &places), 1);
    assert_string_equal(places[0].function, "?");
    assert_null(places[0].file);
    assert_string_equal(ambit__site_text((const void *)16, text, sizeof text), "0x10");
}

static void a_function_has_its_name(void **state) {
    (void)state;
    assert_string_equal(ambit__function_name((const void *)(uintptr_t)outermost), "outermost");
    assert_null(ambit__function_name(NULL));
    assert_null(ambit__function_name(&plain));
}

/* ---- Data ------------------------------------------------------------------------------------ */

static void a_variable_has_its_name(void **state) {
    (void)state;
    check_name(&plain, sizeof plain, "plain");
    check_name((char *)&plain + 2, 1, "plain + 2");
}

static void a_variable_of_zeros_has_its_name(void **state) {
    (void)state;
    check_name(&far[70000], 1, "far[70000]");
    far[1] = 1;
    check_name(&far[1], 1, "far[1]");
}

static void members_and_elements_are_named(void **state) {
    (void)state;
    check_name(&pool.nodes[1].values[2], sizeof(int), "pool.nodes[1].values[2]");
    check_name(&pool.count, sizeof(int), "pool.count");
    check_name(&pool.nodes[2].either, 2, "pool.nodes[2].either.low");
}

static void a_size_says_how_deep_is_meant(void **state) {
    (void)state;
    check_name(&pool.nodes[1], 0, "pool.nodes[1]");
    check_name(&pool.nodes[1], sizeof(void *), "pool.nodes[1].next");
    check_name(&pool.nodes[1], sizeof(struct node), "pool.nodes[1]");
    check_name(&pool, 0, "pool");
}

static void a_static_of_a_function_has_its_own_name(void **state) {
    (void)state;
    check_name((const void *)inside_of_static(), sizeof(long), "hits[1]");
}

static void a_thread_local_is_named_with_its_thread(void **state) {
    (void)state;
    uintptr_t below = (uintptr_t)__builtin_thread_pointer() - (uintptr_t)&of_thread.values[2];
    assert_true(ambit__host_prepare(2));
    check_name((const void *)(ambit__host_thread_pointer(1) - below), sizeof(int),
               "of_thread.values[2] of thread 1");
}

static void a_stack_is_named_by_its_thread(void **state) {
    (void)state;
    uintptr_t low, high;
    assert_true(ambit__host_prepare(2));
    ambit__host_bounds(1, &low, &high);
    check_name((const void *)(high - 96), 4, "stack of thread 1 - 96");
}

static void what_has_no_name_is_a_number(void **state) {
    (void)state;
    assert_false(ambit__address_name((uintptr_t)outermost + 1, 0, text, sizeof text));
    if (ambit__address_name((uintptr_t)&odd + sizeof odd, 1, text, sizeof text))
        assert_null(strstr(text, "odd"));
    assert_false(ambit__address_name(16, 4, text, sizeof text));
    check_name((const void *)16, 4, "0x10");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_inlined_place_is_told_with_all_its_callers),
        cmocka_unit_test(a_place_without_a_line_has_the_nearest),
        cmocka_unit_test(a_place_is_looked_up_once),
        cmocka_unit_test(a_site_is_told_by_file_and_line),
        cmocka_unit_test(a_site_without_debug_information_is_told_by_its_function),
        cmocka_unit_test(a_site_that_is_none_is_told_as_an_address),
        cmocka_unit_test(a_function_has_its_name),
        cmocka_unit_test(a_variable_has_its_name),
        cmocka_unit_test(a_variable_of_zeros_has_its_name),
        cmocka_unit_test(members_and_elements_are_named),
        cmocka_unit_test(a_size_says_how_deep_is_meant),
        cmocka_unit_test(a_static_of_a_function_has_its_own_name),
        cmocka_unit_test(a_thread_local_is_named_with_its_thread),
        cmocka_unit_test(a_stack_is_named_by_its_thread),
        cmocka_unit_test(what_has_no_name_is_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
