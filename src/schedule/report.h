/* What is told of a schedule: names for addresses, the table, the text of a failure.
 *
 * All of it allocates and reads files, so it is called between schedules only. The exception is
 * ambit__report_stuck(), which is called when there is nothing left to lose. */
#ifndef AMBIT_SCHEDULE_REPORT_H
#define AMBIT_SCHEDULE_REPORT_H

#include <stdio.h>

#include "schedule/inside.h"

/* ---- symbol.c: code -------------------------------------------------------------------------- */

typedef struct ambit__place {
    const char *function; /* never NULL: "?" */
    const char *file;     /* NULL: not known; below the working directory without that */
    int line, column;
} ambit__place;

/* Where the call is that returns to `site`: the line first, then the lines into which it was inlined,
 * with their functions. At least one; they stay for the life of the process. */
unsigned ambit__places(const void *site, const ambit__place **places);
/* The function that starts at `address` (or holds it); NULL if there is none. */
const char *ambit__function_name(const void *address);
/* "dir/file.c:12 in push()" and "file.c:12"; what is not known is told as an address. Return `text`. */
char *ambit__site_text(const void *site, char *text, size_t bytes);
char *ambit__site_short(const void *site, char *text, size_t bytes);

/* ---- variable.c: data ------------------------------------------------------------------------ */

/* "queue.head", "slots[3] + 4", "heap 2 + 16", "stack of thread 1 - 96"; false, and nothing, if it has no name.
 * `size` is of what is meant there: of a structure its first member, or with 0 the whole. */
bool ambit__address_name(uintptr_t address, size_t size, char *text, size_t bytes);
/* The same, or the number; a block of the heap with its size and where it comes from. Returns `text`. */
char *ambit__address_text(uintptr_t address, size_t size, char *text, size_t bytes);

/* For both of them: the modules of the process. */
struct Dwfl_Module;
struct Dwfl_Module *ambit__module_of(uintptr_t address);
struct Dwfl_Module *ambit__module_main(void);

/* ---- table.c --------------------------------------------------------------------------------- */

typedef struct ambit__table {
    const ambit__operation *rows;
    size_t count;
    size_t failing; /* this row is marked; `count` or more: none */
    const ambit__operation
        *waiting; /* for each thread what it waits for at the end; NULL: not told */
} ambit__table;
void ambit__table_print(FILE *out, const ambit__table *table);
/* row.c: what one row says, without its place: "store flag = 1 release". */
void ambit__row_text(const ambit__operation *row, char *text, size_t bytes);
const char *ambit__order_name(int order);
/* black_box.c: which functions of the rows, and which libraries, nobody sees into; nothing if there are none. */
void ambit__black_boxes_print(FILE *out);

/* follow.c: decisions as letters and digits, and back; false: `text` is none. */
void ambit__choices_print(FILE *out, const ambit__written *choices, size_t count);
bool ambit__choices_read(const char *text, ambit__written **choices, size_t *count);
/* shrink.c: fewer decisions that fail in the same way, in place. False: they did not fail at all. */
bool ambit__shrink(ambit_schedule_fn *scenario, void *argument, ambit__written *decisions,
                   size_t *count);

/* ---- report.c -------------------------------------------------------------------------------- */

const char *ambit__failure_name(ambit_schedule_failure failure);
/* One or two lines for ambit_schedule_result.message: what, and at which lines. */
void ambit__report_message(const ambit__finding *found, char *text, size_t bytes);
/* All of it: the failure that was found last, and how it came about. */
typedef struct ambit__story {
    const char *name;
    const char *strategy; /* that has found it */
    const char *asked;    /* the run's: choices are only the same with the same memory model */
    uint64_t seed, hash;  /* of the schedule that failed first */
    uint64_t steps;       /* it took */
    bool by_choices;      /* a seed does not play it again */
    const char *settings; /* of the command line, to play it again: " --depth=2"; may be empty */
    const ambit__written *choices;
    size_t choice_count;
    bool diverged; /* the seed has taken another way, once more or with other addresses */
    bool before;   /* it failed before any schedule */
} ambit__story;
void ambit__report_failure(FILE *out, const ambit__story *story);
/* run.c: the schedule under way. No strategy: none is. */
typedef struct ambit__now_playing {
    const ambit__strategy *strategy;
    uint64_t seed;
} ambit__now_playing;
extern ambit__now_playing ambit__playing;

#endif
