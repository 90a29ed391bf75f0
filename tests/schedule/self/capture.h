/* What a call prints, on both streams in turn as they come. */
#ifndef AMBIT_TESTS_SCHEDULE_CAPTURE_H
#define AMBIT_TESTS_SCHEDULE_CAPTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char captured[65536];

typedef struct capture {
    FILE *file;
    int out, error;
} capture;

static inline capture capture_begin(void) {
    (void)fflush(NULL);
    capture begun = {tmpfile(), dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    assert_non_null(begun.file);
    assert_true(begun.out >= 0 && begun.error >= 0);
    assert_true(dup2(fileno(begun.file), STDOUT_FILENO) >= 0);
    assert_true(dup2(fileno(begun.file), STDERR_FILENO) >= 0);
    return begun;
}

/* Leaves it in `captured`. */
static inline void capture_end(capture begun) {
    (void)fflush(NULL);
    assert_true(dup2(begun.out, STDOUT_FILENO) >= 0);
    assert_true(dup2(begun.error, STDERR_FILENO) >= 0);
    (void)close(begun.out);
    (void)close(begun.error);
    rewind(begun.file);
    size_t length = fread(captured, 1, sizeof captured - 1, begun.file);
    captured[length] = '\0';
    (void)fclose(begun.file);
}

static inline void check_says(const char *expected) {
    if (!strstr(captured, expected)) fail_msg("not said: \"%s\", but:\n%s", expected, captured);
}
static inline void check_says_not(const char *unexpected) {
    if (strstr(captured, unexpected)) fail_msg("said: \"%s\":\n%s", unexpected, captured);
}

/* Hexadecimal numbers of many digits differ from build to build. */
static inline void mask_hashes(void) {
    for (char *at = captured; (at = strstr(at, "hash 0x"));)
        for (at += 7; (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f'); at++) *at = '#';
}

#endif
