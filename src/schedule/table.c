/* The table of a schedule: its threads are columns, its steps are rows.
 *
 * Each row has one thread that does something, so its text may run on over the columns to its
 * right; the columns need to be only so far apart that the eye finds them. A thread that lives and
 * does nothing shows as a bar. Where the text says it was done stands at the right. */
#include <inttypes.h>
#include <stdlib.h>

#include "schedule/report.h"

#define WIDTH 100
#define NUMBER 7      /* of the step, and the mark */
#define PLACE_MOST 26 /* letters of a line's name */
#define TEXT_LEAST 34 /* room that the last column has */
#define APART_MOST 34 /* two threads' columns */
#define PLAIN_SHOWN 3 /* accesses in a row by the same thread: the others are counted */
#define JUMP_NS 1000  /* of the clock, less is from reading it */
/* Of what runs for ever nobody reads all: a table of more than so many lines has its middle left
 * out. */
#define LINES_MOST 400
#define LINES_FIRST 100
#define LINES_LAST 200

struct layout {
    unsigned threads, apart, place;
    size_t from[AMBIT__THREADS], to[AMBIT__THREADS]; /* rows of which the thread lives */
    const char *names[AMBIT__THREADS];
    const ambit__table *table;
    FILE *out;
};

/* ---- Lines ----------------------------------------------------------------------------------- */

struct line {
    char text[WIDTH + 1];
};

static void put(struct line *line, size_t at, const char *text, size_t letters) {
    for (size_t i = 0; i < letters && at + i < WIDTH; i++) line->text[at + i] = text[i];
}

static void print(FILE *out, struct line *line) {
    size_t length = WIDTH;
    while (length && line->text[length - 1] == ' ') length--;
    (void)fprintf(out, "%.*s\n", (int)length, line->text);
}

static size_t column(const struct layout *layout, unsigned thread) {
    return NUMBER + (size_t)thread * layout->apart;
}

/* Blank but for the bars of those that live. */
static void clear(struct line *line, const struct layout *layout, size_t row, unsigned without) {
    memset(line->text, ' ', WIDTH);
    line->text[WIDTH] = '\0';
    for (unsigned i = 0; i < layout->threads; i++)
        if (i != without && row >= layout->from[i] && row <= layout->to[i])
            line->text[column(layout, i)] = '|';
}

/* ---- Layout ---------------------------------------------------------------------------------- */

/* Keeps the end, where the number of the line is. */
static const char *place_of(const ambit__operation *row, char *text, size_t bytes) {
    if (!row->site) return "";
    size_t length = strlen(ambit__site_short(row->site, text, bytes));
    if (length <= PLACE_MOST) return text;
    char *end = text + length - PLACE_MOST;
    end[0] = end[1] = '.';
    return end;
}

static void measure(struct layout *layout) {
    const ambit__table *table = layout->table;
    char text[256];
    layout->threads = layout->place = 0;
    for (size_t i = 0; i < table->count; i++) {
        const ambit__operation *row = &table->rows[i];
        if (row->thread >= AMBIT__THREADS) continue;
        size_t length = strlen(place_of(row, text, sizeof text));
        if (length > layout->place) layout->place = (unsigned)length;
        for (; layout->threads <= row->thread; layout->threads++)
            layout->from[layout->threads] = SIZE_MAX;
        if (layout->from[row->thread] == SIZE_MAX) layout->from[row->thread] = i;
        layout->to[row->thread] = row->kind == AMBIT__OP_EXIT ? i : table->count;
        if (row->kind == AMBIT__OP_START && !layout->names[row->thread])
            layout->names[row->thread] = ambit__function_name((const void *)(uintptr_t)row->value);
    }
    unsigned room = WIDTH - NUMBER - TEXT_LEAST - (layout->place ? layout->place + 2 : 0);
    layout->apart = layout->threads > 1 ? room / (layout->threads - 1) : 0;
    if (layout->apart > APART_MOST) layout->apart = APART_MOST;
}

static void print_header(const struct layout *layout) {
    struct line line;
    char name[64];
    clear(&line, layout, SIZE_MAX, AMBIT__THREADS);
    put(&line, 1, "step", 4);
    for (unsigned i = 0; i < layout->threads; i++) {
        int length =
            snprintf(name, sizeof name, "%u %s", i, layout->names[i] ? layout->names[i] : "");
        size_t letters = length < (int)sizeof name ? (size_t)length : sizeof name - 1;
        /* Half a name says nothing. */
        if (i + 1 < layout->threads && letters >= layout->apart) letters = 1;
        put(&line, column(layout, i), name, letters);
    }
    print(layout->out, &line);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* The letters of `text` that fit: up to a space, if there is one that leaves not too little. */
static size_t fitting(const char *text, size_t room) {
    size_t length = strlen(text);
    if (length <= room) return length;
    for (size_t i = room; i > room / 3; i--)
        if (text[i] == ' ') return i;
    return room;
}

static void print_cell(const struct layout *layout, size_t index, unsigned thread, const char *text,
                       const char *head, const char *place) {
    size_t at = column(layout, thread);
    size_t end = layout->place ? WIDTH - layout->place - 2 : WIDTH;
    struct line line;
    clear(&line, layout, index, thread);
    put(&line, 0, head, strlen(head));
    put(&line, WIDTH - strlen(place), place, strlen(place));
    for (;;) {
        size_t letters = fitting(text, end - at);
        put(&line, at, text, letters);
        /* A bar right behind the text would read as a part of it. */
        if (at + letters < end) line.text[at + letters] = ' ';
        print(layout->out, &line);
        for (text += letters; *text == ' '; text++) {
        }
        if (!*text) return;
        clear(&line, layout, index, thread);
        if (at == column(layout, thread)) at += 2;
    }
}

/* Allocations are told as what happened, but none waits for its turn. */
static bool is_step(const ambit__operation *row) {
    return row->kind < AMBIT__OP_READ_PLAIN && row->kind != AMBIT__OP_ALLOCATE &&
           row->kind != AMBIT__OP_FREE;
}

static bool is_plain(const ambit__operation *row) {
    return row->kind == AMBIT__OP_READ_PLAIN || row->kind == AMBIT__OP_WRITE_PLAIN;
}

/* How many plain accesses of one thread follow each other from here. */
static size_t plain_run(const ambit__table *table, size_t index) {
    size_t end = index;
    while (end < table->count && is_plain(&table->rows[end]) &&
           table->rows[end].thread == table->rows[index].thread)
        end++;
    return end - index;
}

static void print_jump(const struct layout *layout, int64_t ns) {
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double amount = (double)ns;
    unsigned unit = 0;
    for (; amount >= 1000 && unit < 3; unit++) amount /= 1000;
    (void)fprintf(layout->out, "%*s~ %.4g %s later\n", NUMBER, "", amount, units[unit]);
}

static void print_row(const struct layout *layout, size_t index, unsigned *step) {
    const ambit__operation *row = &layout->table->rows[index];
    char text[320], head[16], place[256];
    bool marked = index == layout->table->failing;
    ambit__row_text(row, text, sizeof text);
    if (is_step(row))
        (void)snprintf(head, sizeof head, "%c%4u", marked ? '>' : ' ', ++*step % 100000);
    else
        (void)snprintf(head, sizeof head, "%s", marked ? ">" : "");
    print_cell(layout, index, row->thread, text, head, place_of(row, place, sizeof place));
}

/* The first and the last of a run are shown: the last may be the one that failed. */
static void print_run(const struct layout *layout, size_t index, size_t count, unsigned *step) {
    char text[48];
    if (count <= PLAIN_SHOWN) {
        for (size_t i = 0; i < count; i++) print_row(layout, index + i, step);
        return;
    }
    print_row(layout, index, step);
    (void)snprintf(text, sizeof text, "... %zu more reads and writes", count - 2);
    print_cell(layout, index + 1, layout->table->rows[index].thread, text, "", "");
    print_row(layout, index + count - 1, step);
}

/* Who waits at the end, and can wait for ever. */
static void print_waiting(const struct layout *layout) {
    char text[320], place[256];
    for (unsigned i = 0; i < layout->threads; i++) {
        const ambit__operation *waiting = &layout->table->waiting[i];
        if (waiting->kind == AMBIT__OP_KINDS || !waiting->waits_for) continue;
        memcpy(text, "waits: ", 8);
        ambit__row_text(waiting, text + 7, sizeof text - 7);
        print_cell(layout, layout->table->count, i, text, ">",
                   place_of(waiting, place, sizeof place));
    }
}

/* How many rows from this one are told in one go: a run of plain accesses, else one. */
static size_t rows_of_piece(const ambit__table *table, size_t index) {
    size_t run = table->rows[index].thread < AMBIT__THREADS ? plain_run(table, index) : 0;
    return run ? run : 1;
}

static void print_piece(const struct layout *layout, size_t index, size_t rows, unsigned *step) {
    const ambit__operation *row = &layout->table->rows[index];
    if (row->thread >= AMBIT__THREADS) return;
    if (index && row->time_ns - row[-1].time_ns >= JUMP_NS)
        print_jump(layout, row->time_ns - row[-1].time_ns);
    if (rows > 1)
        print_run(layout, index, rows, step);
    else
        print_row(layout, index, step);
}

/* Returns where it goes on. */
static size_t leave_out(const struct layout *layout, size_t index, size_t pieces, unsigned *step) {
    unsigned before = *step;
    for (; pieces; pieces--) {
        size_t rows = rows_of_piece(layout->table, index);
        for (size_t i = index; i < index + rows; i++)
            if (layout->table->rows[i].thread < AMBIT__THREADS && is_step(&layout->table->rows[i]))
                ++*step;
        index += rows;
    }
    (void)fprintf(layout->out, "%*s... %u steps are left out here\n", NUMBER, "", *step - before);
    return index;
}

void ambit__table_print(FILE *out, const ambit__table *table) {
    struct layout layout = {.table = table, .out = out};
    unsigned step = 0;
    size_t pieces = 0, piece = 0;
    measure(&layout);
    print_header(&layout);
    for (size_t i = 0; i < table->count; i += rows_of_piece(table, i)) pieces++;
    for (size_t i = 0; i < table->count; piece++) {
        if (piece == LINES_FIRST && pieces > LINES_MOST)
            i = leave_out(&layout, i, pieces - LINES_FIRST - LINES_LAST, &step);
        size_t rows = rows_of_piece(table, i);
        print_piece(&layout, i, rows, &step);
        i += rows;
    }
    if (table->waiting) print_waiting(&layout);
}
