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
typedef struct bench_program {
    char name[NAME];
    char about[TEXT]; /* with its version */
    char rows[4096];  /* the names of its rows, each between line ends */
    bool present;
} bench_program;

typedef struct bench_contestant {
    char name[NAME]; /* as shown */
    char row[NAME];  /* as the program calls it */
    bench_program *program;
    bool less; /* does less than the row's work: is not compared with */
} bench_contestant;

typedef enum bench_target_kind {
    TARGET_NONE,
    TARGET_NS,    /* value: at most so many */
    TARGET_SAME,  /* as on one thread */
    TARGET_FLOOR, /* at most 1.5 times the floor */
    TARGET_RATIO  /* of a self-test. value: the best peer costs so many times what ambit does */
} bench_target_kind;

typedef struct bench_target {
    bench_target_kind kind;
    double value;
} bench_target;

typedef struct bench_row {
    char name[NAME];
    char work[TEXT];
    unsigned threads[THREADS];
    bench_target targets[THREADS];
    unsigned thread_counts, target_count;
    bench_contestant contestants[CONTESTANTS]; /* the first is ambit */
    unsigned contestant_count;
} bench_row;

/* What one contestant needed in the rounds of one row with one number of threads. */
typedef struct bench_series {
    double ns[ROUNDS]; /* sorted once the rounds are over */
    unsigned rounds;
    const char *skipped; /* why there is none, otherwise NULL */
} bench_series;

typedef struct bench_result {
    const bench_row *row;
    unsigned threads;
    bench_target target;
    bench_series series[CONTESTANTS];
    unsigned rejected;  /* measurements thrown away, since others used the processors */
    unsigned disturbed; /* taken all the same, since patience was over */
    double target_ns;   /* 0 where it cannot be told */
} bench_result;

/* Prints what is wrong and ends with 2. */
_Noreturn void give_up(const char *what, const char *which);
double now_s(void);

/* ---- rows.c */
extern bench_row rows[ROWS];
extern unsigned row_count;
extern bench_program programs[CONTESTANTS];
extern unsigned program_count;
void read_rows(const char *path);

/* ---- measure.c */
typedef struct bench_measurement {
    double ns;          /* for an operation */
    double waited_part; /* of its time, for which others had its processors */
} bench_measurement;
/* Fills in whether the program is there, what it is and which rows it has. */
void look_at(bench_program *program, const char *folder);
bool has_row(const bench_program *program, const char *row);
/* False if the contestant did not end well; it has said why. */
bool measure(const bench_contestant *contestant, const char *folder, unsigned threads,
             unsigned milliseconds, bench_measurement *out);

/* ---- report.c */
double median(const bench_series *series);
/* What compares with ambit: the contestant that needs least, of those that do all of the work; 0 if
 * there is none. */
unsigned best_peer(const bench_result *result);
const bench_series *floor_of(const bench_result *result); /* NULL if there is none */
bool is_met(const bench_result *result);
void print_programs(void);
void print_heading(void);
void print_result(const bench_result *result);
void print_summary(const bench_result *results, unsigned count);
void write_json(FILE *file, const bench_result *results, unsigned count);

#endif
