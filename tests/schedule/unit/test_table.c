/* The table of a schedule, to the letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "schedule/report.h"

struct node {
    struct node *next;
    int value;
};
static struct node nodes[2];
static struct {
    struct node *head;
    int lock;
} stack_of_nodes;
static int flag;

static void reader(void) {}
static void writer(void) {}
#define FUNCTION(name) (uint64_t)(uintptr_t)(name)
#define NODE(index) (uint64_t)(uintptr_t) & nodes[index]

/* clang-format off */
#line 7 "planted/queue.c"
static __attribute__((noinline)) const void *place(void) {
    const void *address;
    __asm__ volatile("lea 0(%%rip), %0" : "=r"(address));
    return address;
}
#line 36 "test_table.c"
/* clang-format on */

static char *print(const ambit__table *table) {
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    ambit__table_print(out, table);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void check(const ambit__table *table, const char *expected) {
    char *text = print(table);
    assert_string_equal(text, expected);
    free(text);
}

#define CHECK(rows, failing, expected)                                                             \
    check(&(ambit__table){rows, sizeof(rows) / sizeof *(rows), failing, NULL}, expected)
#define NONE SIZE_MAX

/* clang-format off */
#define START(t, f) {.kind = AMBIT__OP_START, .thread = t, .value = FUNCTION(f)}
#define END(t) {.kind = AMBIT__OP_EXIT, .thread = t}

static void three_threads_are_three_columns(void **state) {
    (void)state;
    const void *here = place();
    const ambit__operation rows[] = {
        START(0, writer),
        {.kind = AMBIT__OP_SPAWN, .thread = 0, .value = 1, .site = here},
        {.kind = AMBIT__OP_SPAWN, .thread = 0, .value = 2, .site = here},
        START(2, reader),
        START(1, writer),
        {.kind = AMBIT__OP_LOAD, .thread = 1, .address = &stack_of_nodes.head, .size = 8, .value = NODE(1),
         .order = AMBIT__ACQUIRE, .stale = 2, .site = here},
        {.kind = AMBIT__OP_STORE, .thread = 2, .address = &flag, .size = 4, .value = 0xffffffff,
         .order = AMBIT__RELAXED, .site = here},
        {.kind = AMBIT__OP_COMPARE_EXCHANGE, .thread = 0, .address = &stack_of_nodes.head, .size = 8,
         .failed = true, .before = 0, .value = NODE(0), .order = AMBIT__ACQ_REL, .site = here},
        END(1),
        {.kind = AMBIT__OP_JOIN, .thread = 0, .value = 1, .site = here},
        {.kind = AMBIT__OP_LOCK, .thread = 2, .name = "pthread_mutex_lock", .address = &stack_of_nodes.lock,
         .site = here},
        {.kind = AMBIT__OP_CALL, .thread = 2, .name = "pthread_cond_signal", .address = &flag, .site = here},
        {.kind = AMBIT__OP_FENCE, .thread = 2, .order = AMBIT__SEQ_CST, .site = here},
    };
    CHECK(rows, 12,
" step  0 writer                1 writer                2 reader\n"
"    1  start writer\n"
"    2  spawn thread 1                                                                      queue.c:9\n"
"    3  spawn thread 2                                                                      queue.c:9\n"
"    4  |                                               start reader\n"
"    5  |                       start writer            |\n"
"    6  |                       load stack_of_nodes.head = nodes[1] acquire (2 newer)       queue.c:9\n"
"    7  |                       |                       store flag = -1                     queue.c:9\n"
"    8  compare-exchange stack_of_nodes.head failed, is 0                                   queue.c:9\n"
"    9  |                       end                     |\n"
"   10  join thread 1                                   |                                   queue.c:9\n"
"   11  |                                               lock stack_of_nodes.lock            queue.c:9\n"
"   12  |                                               cond_signal flag                    queue.c:9\n"
">  13  |                                               fence seq_cst                       queue.c:9\n");
}

static void what_is_too_long_goes_on_in_the_next_line(void **state) {
    (void)state;
    const ambit__operation rows[] = {
        START(0, writer), START(1, reader), START(2, reader),
        {.kind = AMBIT__OP_COMPARE_EXCHANGE, .thread = 2, .address = &stack_of_nodes.head, .size = 8,
         .before = NODE(1), .value = NODE(0), .order = AMBIT__ACQ_REL, .site = place()},
        END(2),
    };
    CHECK(rows, NONE,
" step  0 writer                1 reader                2 reader\n"
"    1  start writer\n"
"    2  |                       start reader\n"
"    3  |                       |                       start reader\n"
"    4  |                       |                       compare-exchange                    queue.c:9\n"
"       |                       |                         stack_of_nodes.head nodes[1] ->\n"
"       |                       |                         nodes[0] acq_rel\n"
"    5  |                       |                       end\n");
}

static void many_threads_stand_closer(void **state) {
    (void)state;
    const ambit__operation rows[] = {
        START(0, writer), START(1, reader), START(2, reader), START(3, reader), START(4, reader),
        START(5, reader), START(6, reader), START(7, reader),
        {.kind = AMBIT__OP_UNLOCK, .thread = 7, .address = &flag, .site = place()},
    };
    CHECK(rows, NONE,
" step  0     1     2     3     4     5     6     7 reader\n"
"    1  start writer\n"
"    2  |     start reader\n"
"    3  |     |     start reader\n"
"    4  |     |     |     start reader\n"
"    5  |     |     |     |     start reader\n"
"    6  |     |     |     |     |     start reader\n"
"    7  |     |     |     |     |     |     start reader\n"
"    8  |     |     |     |     |     |     |     start reader\n"
"    9  |     |     |     |     |     |     |     unlock flag                               queue.c:9\n");
}

static void plain_accesses_in_a_row_are_counted(void **state) {
    (void)state;
    const ambit__operation rows[] = {
        START(0, writer),
        {.kind = AMBIT__OP_READ_PLAIN, .thread = 0, .address = &flag, .size = 4, .value = 3},
        {.kind = AMBIT__OP_WRITE_PLAIN, .thread = 0, .address = &flag, .size = 4},
        {.kind = AMBIT__OP_READ_PLAIN, .thread = 0, .address = &nodes, .size = 16},
        {.kind = AMBIT__OP_WRITE_PLAIN, .thread = 0, .address = &nodes[1].value, .size = 4},
        {.kind = AMBIT__OP_ALLOCATE, .thread = 0, .name = "malloc", .address = &flag},
        END(0),
    };
    CHECK(rows, 4,
" step  0 writer\n"
"    1  start writer\n"
"       read flag = 3\n"
"       ... 2 more reads and writes\n"
">      write nodes[1].value\n"
"       malloc flag\n"
"    2  end\n");
}

static void time_that_jumps_is_told(void **state) {
    (void)state;
    const ambit__operation rows[] = {
        START(0, writer),
        {.kind = AMBIT__OP_SLEEP, .thread = 0, .name = "usleep", .timed_out = true, .time_ns = 2500000},
        {.kind = AMBIT__OP_WAIT, .thread = 0, .name = "pthread_cond_timedwait", .address = &flag,
         .timed_out = true, .time_ns = 2500999},
        {.kind = AMBIT__OP_NOTE, .thread = 0, .text = "late by now", .time_ns = 3002500999},
    };
    CHECK(rows, NONE,
" step  0 writer\n"
"    1  start writer\n"
"       ~ 2.5 ms later\n"
"    2  usleep\n"
"    3  cond_timedwait flag, timed out\n"
"       ~ 3 s later\n"
"       \"late by now\"\n");
}

static void who_waits_at_the_end_is_told(void **state) {
    (void)state;
    const ambit__operation rows[] = {START(0, writer), START(1, reader)};
    ambit__operation waiting[AMBIT__THREADS];
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        waiting[i] = (ambit__operation){.kind = AMBIT__OP_KINDS};
    waiting[1] = (ambit__operation){.kind = AMBIT__OP_LOCK, .thread = 1, .address = &stack_of_nodes.lock,
                                    .waits_for = "mutex"};
    check(&(ambit__table){rows, 2, NONE, waiting},
" step  0 writer                          1 reader\n"
"    1  start writer\n"
"    2  |                                 start reader\n"
">      |                                 waits: lock stack_of_nodes.lock\n");
}

/* What has run for ever is not printed for ever. The numbers of the steps go on behind what is left
 * out. */
static void the_middle_of_a_long_table_is_left_out(void **state) {
    (void)state;
    enum { ROWS = 5000, SPARED = 400 };
    static ambit__operation rows[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = (ambit__operation){.kind = i % 10 ? AMBIT__OP_YIELD : AMBIT__OP_READ_PLAIN,
                                     .address = i % 10 ? NULL : &flag, .size = 4};
    char *text = print(&(ambit__table){rows, ROWS, ROWS - 1, NULL});
    size_t lines = 0;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 1 + 100 + 1 + 200);
    assert_non_null(strstr(text, "\n   90  yield\n"));
    assert_non_null(strstr(text, "\n       ... 4230 steps are left out here\n       read flag = 0\n 4321  yield\n"));
    assert_non_null(strstr(text, "\n>4500  yield\n"));
    free(text);
    text = print(&(ambit__table){rows, SPARED, NONE, NULL});
    assert_null(strstr(text, "left out"));
    free(text);
}

static void values_are_written_as_people_do(void **state) {
    (void)state;
    char text[128];
    const struct {
        uint64_t value;
        uint8_t size;
        const char *expected;
    } values[] = {{0, 4, "store flag = 0"}, {99999, 4, "store flag = 99999"},
                  {0x12345678, 4, "store flag = 0x12345678"}, {0xff, 1, "store flag = -1"},
                  {UINT64_MAX, 8, "store flag = -1"}, {NODE(1) + 8, 8, "store flag = nodes[1].value"},
                  {FUNCTION(reader), 8, "store flag = reader()"}};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        ambit__operation row = {.kind = AMBIT__OP_STORE, .address = &flag, .size = values[i].size,
                                .value = values[i].value};
        ambit__row_text(&row, text, sizeof text);
        assert_string_equal(text, values[i].expected);
    }
}
/* clang-format on */

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_threads_are_three_columns),
        cmocka_unit_test(what_is_too_long_goes_on_in_the_next_line),
        cmocka_unit_test(many_threads_stand_closer),
        cmocka_unit_test(plain_accesses_in_a_row_are_counted),
        cmocka_unit_test(time_that_jumps_is_told),
        cmocka_unit_test(who_waits_at_the_end_is_told),
        cmocka_unit_test(the_middle_of_a_long_table_is_left_out),
        cmocka_unit_test(values_are_written_as_people_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
