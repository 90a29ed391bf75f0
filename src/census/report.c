/* Censuses as text for people, and as JSON. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "census/snapshot.h"

int ambit_write_to_file(const char *text, size_t length, void *file) {
    return fwrite(text, 1, length, file) == length ? 0 : -1;
}

struct output {
    ambit_writer *write;
    void *user;
    ambit_status status; /* the first refusal ends it */
};

static void put_bytes(struct output *output, const char *text, size_t length) {
    if (!output->status && output->write(text, length, output->user)) output->status = AMBIT_EWRITE;
}

__attribute__((format(printf, 2, 3))) static void put(struct output *output, const char *format,
                                                      ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0) return;
    put_bytes(output, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

static void put_text(struct output *output, const char *text) {
    put_bytes(output, text, strlen(text));
}

static void put_site(struct output *output, const ambit_site *site) {
    put_text(output, site->file);
    put(output, ":%" PRIu32 " in ", site->line);
    put_text(output, site->function);
    put_text(output, "()\n");
}

/* ---- Text ------------------------------------------------------------------------------------ */

ambit_status ambit_census_write_text(const ambit_census *census, ambit_writer *write, void *user) {
    struct output output = {write, user, AMBIT_OK};
    put(&output, "%-8s %5s %9s %12s %8s %10s %9s  %s\n", "kind", "age", "count", "bytes", "zombies",
        "long-lived", "oldest s", "opened at");
    for (size_t i = 0; i < census->used && !output.status; i++) {
        const ambit_census_row *row = &census->rows[i];
        put(&output, "%-8s %5s %9" PRIu64 " %12" PRIu64 " %8" PRIu64 " %10" PRIu64 " %9.1f  ",
            ambit_kind_name(row->kind), ambit_age_band_name(row->age_band), row->count, row->bytes,
            row->zombies, row->long_lived, (double)row->oldest_ns / 1e9);
        put_site(&output, row->site);
    }
    return output.status;
}

/* All ages of a site in one row. */
static bool fold_ages(const ambit_census *census, ambit_census *folded) {
    for (size_t i = 0; i < census->used; i++) {
        ambit_census_row row = census->rows[i];
        row.age_band = 0;
        if (!ambit__census_add(folded, &row)) return false;
    }
    ambit__census_sort(folded);
    return true;
}

static const ambit_census_row *find_row(const ambit_census *census, const ambit_census_row *like) {
    for (size_t i = 0; i < census->used; i++)
        if (census->rows[i].kind == like->kind && census->rows[i].site == like->site)
            return &census->rows[i];
    return NULL;
}

static void put_growth(struct output *output, const ambit_census *before,
                       const ambit_census *after) {
    put(output, "%-8s %10s %13s  %s\n", "kind", "count", "bytes", "opened at");
    for (size_t i = 0; i < after->used && !output->status; i++) {
        const ambit_census_row *now = &after->rows[i], *then = find_row(before, now);
        int64_t count = (int64_t)(now->count - (then ? then->count : 0));
        int64_t bytes = (int64_t)(now->bytes - (then ? then->bytes : 0));
        if (count <= 0 && bytes <= 0) continue;
        put(output, "%-8s %+10" PRId64 " %+13" PRId64 "  ", ambit_kind_name(now->kind), count,
            bytes);
        put_site(output, now->site);
    }
}

ambit_status ambit_census_write_growth(const ambit_census *before, const ambit_census *after,
                                       ambit_writer *write, void *user) {
    struct output output = {write, user, AMBIT_OK};
    ambit_census *then = ambit__census_new(), *now = ambit__census_new();
    if (then && now && fold_ages(before, then) && fold_ages(after, now))
        put_growth(&output, then, now);
    else
        output.status = AMBIT_EMEMORY;
    ambit_census_free(then);
    ambit_census_free(now);
    return output.status;
}

/* ---- JSON (RFC 8259) ------------------------------------------------------------------------- */

static void put_string(struct output *output, const char *text) {
    put_bytes(output, "\"", 1);
    for (const char *at = text; *at; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte == '"' || byte == '\\')
            put(output, "\\%c", byte);
        else if (byte < 0x20)
            put(output, "\\u%04x", byte);
        else
            put_bytes(output, at, 1);
    }
    put_bytes(output, "\"", 1);
}

static void put_field(struct output *output, const char *name, const char *text) {
    put(output, "\"%s\":", name);
    put_string(output, text);
    put_bytes(output, ",", 1);
}

ambit_status ambit_census_write_json(const ambit_census *census, ambit_writer *write, void *user) {
    struct output output = {write, user, AMBIT_OK};
    put_text(&output, "{\"rows\":[");
    for (size_t i = 0; i < census->used && !output.status; i++) {
        const ambit_census_row *row = &census->rows[i];
        put_text(&output, i ? ",\n{" : "\n{");
        put_field(&output, "kind", ambit_kind_name(row->kind));
        put_field(&output, "file", row->site->file);
        put_field(&output, "function", row->site->function);
        put_field(&output, "age", ambit_age_band_name(row->age_band));
        put(&output,
            "\"line\":%" PRIu32 ",\"count\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"zombies\":%" PRIu64
            ",\"long_lived\":%" PRIu64 ",\"oldest_ns\":%" PRId64 "}",
            row->site->line, row->count, row->bytes, row->zombies, row->long_lived, row->oldest_ns);
    }
    put_text(&output, "]}\n");
    return output.status;
}
