/* The light barrier and the heavy one: what a process that calls membarrier(2) may rely on, and those of
 * its threads that only keep the compiler from moving things. As P1202R5 has it: a light one and a
 * heavy one are to each other as two sequentially consistent fences are, two heavy ones too, two light
 * ones are nothing. LITMUS=table prints the table for the manual. */
#define _GNU_SOURCE
#include <setjmp.h>

#include "litmus.h"

#include <cmocka.h>

/* Processors take a heavy barrier one after the other; in the model it is one moment for all. */
typedef enum verdict { FORBIDDEN, ALLOWED, NOT_SHOWN } verdict;
static const char *const words[] = {
    "forbidden", "allowed", "allowed; not shown: a heavy barrier is one moment for all threads"};

typedef struct barrier_row {
    const char *name, *text, *weak;
    verdict verdict;
} barrier_row;

static const barrier_row rows[] = {
    {"store buffering, none", "Wx1 Ry|Wy1 Rx", "00", ALLOWED},
    {"store buffering, light and light", "Wx1 L Ry|Wy1 L Rx", "00", ALLOWED},
    {"store buffering, light and none", "Wx1 L Ry|Wy1 Rx", "00", ALLOWED},
    {"store buffering, heavy and none", "Wx1 H Ry|Wy1 Rx", "00", ALLOWED},
    {"store buffering, light and heavy", "Wx1 L Ry|Wy1 H Rx", "00", FORBIDDEN},
    {"store buffering, heavy and heavy", "Wx1 H Ry|Wy1 H Rx", "00", FORBIDDEN},
    {"store buffering, two light and a heavy", "Wx1 L Ry|Wx2 L Ry|Wy1 H Rx", "000", FORBIDDEN},
    {"store buffering of three, one heavy", "Wx1 L Ry|Wy1 H Rz|Wz1 L Rx", "000", NOT_SHOWN},
    {"store buffering of three, two heavy", "Wx1 L Ry|Wy1 H Rz|Wz1 H Rx", "000", FORBIDDEN},
    {"message passing, light and light", "Wx1 L Wy1|Ry L Rx", "10", ALLOWED},
    {"message passing, light and heavy", "Wx1 L Wy1|Ry H Rx", "10", FORBIDDEN},
    {"message passing, heavy and light", "Wx1 H Wy1|Ry L Rx", "10", FORBIDDEN},
    {"message passing, light and none", "Wx1 L Wy1|Ry Rx", "10", ALLOWED},
    {"from barriers to fences", "Wx1 H Wy1|Ry L F Wz1|Rz F Rx", "110", FORBIDDEN},
    {"from a light barrier to fences", "Wx1 L Wy1|Ry H F Wz1|Rz F Rx", "110", FORBIDDEN},
    {"from fences to barriers", "Wx1 F Wy1|Ry F H Wz1|Rz L Rx", "110", FORBIDDEN},
    {"IRIW, light and heavy", "Wx1|Wy1|Rx L Ry|Ry H Rx", "1010", FORBIDDEN},
    {"IRIW, light and light", "Wx1|Wy1|Rx L Ry|Ry L Rx", "1010", ALLOWED},
};
enum { ROWS = sizeof rows / sizeof rows[0], SCHEDULES = 20000 };

static void barriers_order_what_they_should(void **state) {
    const barrier_row *row = *state;
    char groups[40];
    unsigned i = 0;
    for (const char *at = row->text; *at; at++)
        if (strchr("RWLHF|", *at)) groups[i++] = *at == 'F' ? 'S' : *at == '|' ? '|' : '-';
    groups[i] = '\0';
    litmus_program program = litmus_parse(row->text, groups, false);
    unsigned none[26] = {0};
    litmus_choose(&program, none);
    litmus_outcomes seen = {.count = 0};
    ambit_schedule_result result;
    if (litmus_run(&program, AMBIT_SCHEDULE_RANDOM, SCHEDULES, 1, &seen, &result))
        fail_msg("%s: %s", row->name, result.message);
    uint64_t count = litmus_outcome_of(&seen, litmus_key(row->weak))->seen;
    if (getenv("LITMUS"))
        printf("| %s | `%s` | %s | %s | %" PRIu64 " of %d |\n", row->name,
               litmus_show(&program).text,
               litmus_show_outcome(&program, litmus_key(row->weak)).text, words[row->verdict],
               count, SCHEDULES);
    if ((row->verdict == ALLOWED) != (count > 0))
        fail_msg("%s: %s, seen %" PRIu64 " times", row->name, words[row->verdict], count);
    /* What happens one after the other is seen in any case. */
    assert_true(seen.count > 2);
}

int main(void) {
    static struct CMUnitTest tests[ROWS];
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0)) {
        perror("membarrier(2), to register");
        return 1;
    }
    for (unsigned i = 0; i < ROWS; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, barriers_order_what_they_should, NULL, NULL,
                                       (void *)(uintptr_t)&rows[i]};
    return _cmocka_run_group_tests("litmus_barriers", tests, ROWS, NULL, NULL);
}
