/* Streams: what would wait for input fails the schedule, by name, since nobody in it could end that. What is
 * there is read, and known as written.
 *
 * A stream is not put back: the next schedule reads what comes next. That is seen as a schedule that takes
 * another way. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "schedule/inside.h"
#include "schedule/wraps.h"

#define HERE __builtin_return_address(0)

/* Refuses unless something is there: in the stream, or behind its descriptor. */
static void expect_input(FILE *stream, const char *name, const void *site) {
    if (!ambit__self) return;
    if (stream->_IO_read_ptr < stream->_IO_read_end) return; /* it has been read */
    int descriptor = fileno(stream);
    struct pollfd input = {.fd = descriptor, .events = POLLIN};
    if (descriptor < 0 || poll(&input, 1, 0) != 0) return;
    ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                "%s() of descriptor %d would wait for input: read it before the schedule", name,
                descriptor);
}

/* ---- One letter ------------------------------------------------------------------------------ */

#define READS_ONE(name, told)                                                                      \
    int __real_##name(FILE *stream);                                                               \
    int __wrap_##name(FILE *stream);                                                               \
    int __wrap_##name(FILE *stream) {                                                              \
        expect_input(stream, told, HERE);                                                          \
        return __real_##name(stream);                                                              \
    }

READS_ONE(fgetc, "fgetc")
READS_ONE(getc, "getc")
READS_ONE(fgetc_unlocked, "fgetc_unlocked")
READS_ONE(__uflow, "getc_unlocked") /* what the macro calls when the stream is empty */

int __real_getchar(void);
int __wrap_getchar(void);
int __wrap_getchar(void) {
    expect_input(stdin, "getchar", HERE);
    return __real_getchar();
}

/* ---- More ------------------------------------------------------------------------------------ */

#define READS_LINE(name)                                                                           \
    char *__real_##name(char *line, int bytes, FILE *stream);                                      \
    char *__wrap_##name(char *line, int bytes, FILE *stream);                                      \
    char *__wrap_##name(char *line, int bytes, FILE *stream) {                                     \
        expect_input(stream, #name, HERE);                                                         \
        if (ambit__self && bytes > 0) ambit__will_write(line, (size_t)bytes, HERE);                \
        return __real_##name(line, bytes, stream);                                                 \
    }

READS_LINE(fgets)
READS_LINE(fgets_unlocked)

#define READS_BLOCK(name)                                                                          \
    size_t __real_##name(void *memory, size_t bytes, size_t count, FILE *stream);                  \
    size_t __wrap_##name(void *memory, size_t bytes, size_t count, FILE *stream);                  \
    size_t __wrap_##name(void *memory, size_t bytes, size_t count, FILE *stream) {                 \
        expect_input(stream, #name, HERE);                                                         \
        if (ambit__self) ambit__will_write(memory, bytes *count, HERE);                            \
        return __real_##name(memory, bytes, count, stream);                                        \
    }

READS_BLOCK(fread)
READS_BLOCK(fread_unlocked)

ssize_t __real_getdelim(char **line, size_t *bytes, int end, FILE *stream);

/* Puts what was read, `length` letters and a zero, where the caller's line is, in the schedule's heap. */
static void give_line(char **line, size_t *bytes, const char *read, size_t length,
                      const void *site) {
    ambit__will_write(line, sizeof *line, site);
    ambit__will_write(bytes, sizeof *bytes, site);
    if (!*line || *bytes <= length) {
        if (*line) ambit__arena_free(*line, site);
        *bytes = length < 120 ? 120 : length + 1;
        *line = ambit__arena_allocate(*bytes, 0, false, site);
    }
    ambit__will_write(*line, length + 1, site);
    if (*line)
        memcpy(*line, read, length + 1); /* it is there: the heap of a schedule does not end */
}

/* The C library takes the memory of a line from its own heap, so it is read there and copied. */
static ssize_t read_line(char **line, size_t *bytes, int end, FILE *stream, const char *name,
                         const void *site) {
    if (!ambit__self) return __real_getdelim(line, bytes, end, stream);
    expect_input(stream, name, site);
    bool from_outside = *line && !ambit__arena_owns((uintptr_t)*line);
    if (from_outside) return __real_getdelim(line, bytes, end, stream);
    char *own = NULL;
    size_t own_bytes = 0;
    ssize_t length = __real_getdelim(&own, &own_bytes, end, stream);
    int error = errno;
    if (length >= 0 && own) give_line(line, bytes, own, (size_t)length, site);
    free(own);
    errno = error;
    return length;
}

ssize_t __wrap_getline(char **line, size_t *bytes, FILE *stream);
ssize_t __wrap_getline(char **line, size_t *bytes, FILE *stream) {
    return read_line(line, bytes, '\n', stream, "getline", HERE);
}

ssize_t __wrap_getdelim(char **line, size_t *bytes, int end, FILE *stream);
ssize_t __wrap_getdelim(char **line, size_t *bytes, int end, FILE *stream) {
    return read_line(line, bytes, end, stream, "getdelim", HERE);
}

ssize_t __wrap___getdelim(char **line, size_t *bytes, int end, FILE *stream);
ssize_t __wrap___getdelim(char **line, size_t *bytes, int end, FILE *stream) {
    return read_line(line, bytes, end, stream, "getdelim", HERE);
}

/* ---- scanf ----------------------------------------------------------------------------------- */

/* Where it writes is not known to anyone but itself. The names that begin with __iso are what the header makes
 * of them, by the version of C. */
#define SCANS(name, told)                                                                          \
    int __wrap_##name(const char *format, ...);                                                    \
    int __wrap_##name(const char *format, ...) {                                                   \
        va_list list;                                                                              \
        expect_input(stdin, told, HERE);                                                           \
        va_start(list, format);                                                                    \
        int count = vfscanf(stdin, format, list);                                                  \
        va_end(list);                                                                              \
        return count;                                                                              \
    }
#define SCANS_FILE(name, told)                                                                     \
    int __wrap_##name(FILE *stream, const char *format, ...);                                      \
    int __wrap_##name(FILE *stream, const char *format, ...) {                                     \
        va_list list;                                                                              \
        expect_input(stream, told, HERE);                                                          \
        va_start(list, format);                                                                    \
        int count = vfscanf(stream, format, list);                                                 \
        va_end(list);                                                                              \
        return count;                                                                              \
    }
#define SCANS_LIST(name, told)                                                                     \
    int __wrap_##name(FILE *stream, const char *format, va_list list);                             \
    int __wrap_##name(FILE *stream, const char *format, va_list list) {                            \
        expect_input(stream, told, HERE);                                                          \
        return vfscanf(stream, format, list);                                                      \
    }

SCANS(scanf, "scanf")
SCANS(__isoc99_scanf, "scanf")
SCANS(__isoc23_scanf, "scanf")
SCANS_FILE(fscanf, "fscanf")
SCANS_FILE(__isoc99_fscanf, "fscanf")
SCANS_FILE(__isoc23_fscanf, "fscanf")
SCANS_LIST(vfscanf, "vfscanf")
SCANS_LIST(__isoc99_vfscanf, "vfscanf")
SCANS_LIST(__isoc23_vfscanf, "vfscanf")
