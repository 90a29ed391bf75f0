/* The table of rows, as rows.txt explains it. */
#include "compare.h"

#include <stdlib.h>
#include <string.h>

bench_row rows[ROWS];
unsigned row_count;
bench_program programs[CONTESTANTS];
unsigned program_count;

static const char *reading;

_Noreturn static void refuse(const char *what, const char *text) {
    char message[TEXT];
    snprintf(message, sizeof message, "%s: %.40s", reading, what);
    give_up(message, text);
}

static void copy_name(char to[NAME], const char *name) {
    if (strlen(name) >= NAME) refuse("a name is too long", name);
    strcpy(to, name);
}

static bench_program *find_program(const char *name) {
    for (unsigned i = 0; i < program_count; i++)
        if (!strcmp(programs[i].name, name)) return &programs[i];
    if (program_count == CONTESTANTS) refuse("no room for another program", name);
    copy_name(programs[program_count].name, name);
    return &programs[program_count++];
}

/* [~]PROGRAM, [~]PROGRAM/VARIANT for the program's row ROW/VARIANT, or PROGRAM:ROW for any. */
static void add_contestant(bench_row *row, char *word) {
    if (row->contestant_count == CONTESTANTS) refuse("no room for another contestant", word);
    bench_contestant *added = &row->contestants[row->contestant_count++];
    added->less = *word == '~';
    word += added->less;
    copy_name(added->name, word);
    char *after = word + strcspn(word, "/:");
    char called[2 * NAME];
    if (*after == ':')
        snprintf(called, sizeof called, "%s", after + 1);
    else
        snprintf(called, sizeof called, "%s%s", row->name, after);
    copy_name(added->row, called);
    *after = 0;
    added->program = find_program(word);
}

static void add_threads(bench_row *row, const char *word) {
    if (row->thread_counts == THREADS) refuse("no room for another number of threads", word);
    unsigned long count = strtoul(word, NULL, 10);
    if (count < 1 || count > 64) refuse("not a number of threads", word);
    row->threads[row->thread_counts++] = (unsigned)count;
}

static void add_target(bench_row *row, const char *word) {
    if (row->target_count == THREADS) refuse("no room for another target", word);
    bench_target *added = &row->targets[row->target_count++];
    char *end = NULL;
    if (!strcmp(word, "-"))
        added->kind = TARGET_NONE;
    else if (!strcmp(word, "same"))
        added->kind = TARGET_SAME;
    else if (!strcmp(word, "floor"))
        added->kind = TARGET_FLOOR;
    else {
        added->kind = *word == '=' ? TARGET_RATIO : TARGET_NS;
        added->value = strtod(word + (*word == '='), &end);
        if (*end || added->value <= 0) refuse("not a target", word);
    }
}

static void add_words(bench_row *row, const char *field, char *rest) {
    for (char *word; (word = strsep(&rest, " \t")) != NULL;) {
        if (!*word) continue;
        if (!strcmp(field, "threads"))
            add_threads(row, word);
        else if (!strcmp(field, "target"))
            add_target(row, word);
        else if (!strcmp(field, "contestants"))
            add_contestant(row, word);
        else
            refuse("no such field", field);
    }
}

void read_rows(const char *path) {
    FILE *file = fopen(path, "r");
    char line[TEXT];
    if (!file) give_up("cannot read the rows", path);
    reading = path;
    while (fgets(line, sizeof line, file)) {
        char *rest = line;
        line[strcspn(line, "#\n")] = 0;
        const char *field = strsep(&rest, " \t");
        if (!*field) continue;
        if (rest) rest += strspn(rest, " \t");
        if (!rest || !*rest) refuse("nothing stands behind", field);
        if (!strcmp(field, "row")) {
            if (row_count == ROWS) refuse("no room for another row", rest);
            copy_name(rows[row_count++].name, rest);
        } else if (!row_count)
            refuse("the first line must be a row, not", field);
        else if (!strcmp(field, "work"))
            strcpy(rows[row_count - 1].work, rest);
        else
            add_words(&rows[row_count - 1], field, rest);
    }
    fclose(file);
    for (unsigned i = 0; i < row_count; i++) {
        if (!rows[i].contestant_count || !rows[i].thread_counts || !*rows[i].work)
            refuse("no contestants, threads or work", rows[i].name);
        if (rows[i].target_count != rows[i].thread_counts)
            refuse("not as many targets as numbers of threads", rows[i].name);
    }
}
