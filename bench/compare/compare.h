/* Measures rows of work with several contestants, side by side, and says how they compare.
 *
 * compare.c plans and takes the medians, rows.c reads the table of rows, measure.c runs one
 * contestant once, report.c prints the table and writes the JSON. bench/run builds all and calls
 * this. */
#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { ROWS = 128, CONTESTANTS = 16, THREADS = 4, ROUNDS = 99, NAME = 48, TEXT = 256 };

/* A program of the folder of contestants. */
typedef struct program {
    char name[NAME];
    char about[TEXT]; /* with its version */
    char rows[4096];  /* the names of its rows, each between line ends */
    bool present;
} program;

typedef struct contestant {
    char name[NAME]; /* as shown */
    char row[NAME];  /* as the program calls it */
    program *program;
    bool less; /* does less than the row's work: is not compared with */
} contestant;

typedef enum target_kind {
    TARGET_NONE,
    TARGET_NS,    /* value: at most so many */
    TARGET_SAME,  /* as on one thread */
    TARGET_FLOOR, /* at most 1.5 times the floor */
    TARGET_RATIO  /* of a self-test. value: the best peer costs so many times what ambit does */
} target_kind;

typedef struct target {
    target_kind kind;
    double value;
} target;

typedef struct row {
    char name[NAME];
    char work[TEXT];
    unsigned threads[THREADS];
    target targets[THREADS];
    unsigned thread_counts, target_count;
    contestant contestants[CONTESTANTS]; /* the first is ambit */
    unsigned contestant_count;
} row;

/* What one contestant needed in the rounds of one row with one number of threads. */
typedef struct series {
    double ns[ROUNDS]; /* sorted once the rounds are over */
    unsigned rounds;
    const char *skipped; /* why there is none, otherwise NULL */
} series;

typedef struct result {
    const row *row;
    unsigned threads;
    target target;
    series series[CONTESTANTS];
    unsigned rejected;  /* measurements thrown away, since others used the processors */
    unsigned disturbed; /* taken all the same, since patience was over */
    double target_ns;   /* 0 where it cannot be told */
} result;

/* Prints what is wrong and ends with 2. */
_Noreturn void give_up(const char *what, const char *which);
double now_s(void);

/* ---- rows.c */
extern row rows[ROWS];
extern unsigned row_count;
extern program programs[CONTESTANTS];
extern unsigned program_count;
void read_rows(const char *path);

/* ---- measure.c */
typedef struct measurement {
    double ns;          /* for an operation */
    double waited_part; /* of its time, for which others had its processors */
} measurement;
/* Fills in whether the program is there, what it is and which rows it has. */
void look_at(program *program, const char *folder);
bool has_row(const program *program, const char *row);
/* False if the contestant did not end well; it has said why. */
bool measure(const contestant *contestant, const char *folder, unsigned threads,
             unsigned milliseconds, measurement *out);

/* ---- report.c */
double median(const series *series);
/* What compares with ambit: the contestant that needs least, of those that do all of the work; 0 if
 * there is none. */
unsigned best_peer(const result *result);
const series *floor_of(const result *result); /* NULL if there is none */
bool is_met(const result *result);
void print_programs(void);
void print_heading(void);
void print_result(const result *result);
void print_summary(const result *results, unsigned count);
void write_json(FILE *file, const result *results, unsigned count);

#endif
