/* Censuses for `go tool pprof`: the format is profile.proto, in protocol buffers, by hand.
 *
 * Fields are streamed; only addresses are gathered first. Strings are not looked up but numbered:
 * a fixed part, then file, function and line of each row, path and build id of each mapping, and the
 * name of each address. The format allows a string more than once.
 *
 * ONE SAMPLE for each row of the census, with the row's site as its location; and where stacks were
 * taken, one for each different stack, with the site as its leaf and the row's remaining objects as
 * a sample without a stack. A stack stands for as many objects as the mean says at which it was
 * taken. If that makes more than the row has, all its stacks are scaled down together, so that the
 * samples of a row always add up to the row.
 *
 * LOCATIONS are the rows' sites, then the addresses. An address has the name that the dynamic linker
 * knows, if any. The rest is pprof's to resolve, from the files named as mappings: a program knows
 * nothing of its own static functions, lines and inlined calls. The frames between the site and its
 * caller's are ambit's own, and drop_frames has pprof remove them, leaf included, once it knows
 * their names. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "census/mapping.h"
#include "census/output.h"
#include "census/snapshot.h"

/* The fields of profile.proto's messages that are written. */
enum {
    PROFILE_SAMPLE_TYPE = 1,
    PROFILE_SAMPLE = 2,
    PROFILE_MAPPING = 3,
    PROFILE_LOCATION = 4,
    PROFILE_FUNCTION = 5,
    PROFILE_STRING_TABLE = 6,
    PROFILE_DROP_FRAMES = 7,
    PROFILE_COMMENT = 13,
    PROFILE_DEFAULT_SAMPLE_TYPE = 14,
    VALUE_TYPE_TYPE = 1,
    VALUE_TYPE_UNIT = 2,
    SAMPLE_LOCATION_ID = 1,
    SAMPLE_VALUE = 2,
    SAMPLE_LABEL = 3,
    LABEL_KEY = 1,
    LABEL_STR = 2,
    MAPPING_ID = 1,
    MAPPING_START = 2,
    MAPPING_LIMIT = 3,
    MAPPING_OFFSET = 4,
    MAPPING_FILENAME = 5,
    MAPPING_BUILD_ID = 6,
    LOCATION_ID = 1,
    LOCATION_MAPPING_ID = 2,
    LOCATION_ADDRESS = 3,
    LOCATION_LINE = 4,
    LINE_FUNCTION_ID = 1,
    LINE_LINE = 2,
    FUNCTION_ID = 1,
    FUNCTION_NAME = 2,
    FUNCTION_SYSTEM_NAME = 3,
    FUNCTION_FILENAME = 4
};

/* Numbers of the fixed strings. */
enum {
    TEXT_EMPTY = 0, /* must be the first */
    TEXT_OBJECTS,
    TEXT_COUNT,
    TEXT_SPACE,
    TEXT_BYTES,
    TEXT_KIND,
    TEXT_AGE,
    TEXT_SITE,
    TEXT_DROP,
    TEXT_COMMENT,
    TEXT_KINDS,
    TEXT_AGES = TEXT_KINDS + AMBIT_KIND_COUNT,
    TEXTS = TEXT_AGES + AMBIT_AGE_BANDS
};
static const char *const fixed_texts[TEXT_KINDS] = {
    [TEXT_EMPTY] = "",
    [TEXT_OBJECTS] = "objects",
    [TEXT_COUNT] = "count",
    [TEXT_SPACE] = "space",
    [TEXT_BYTES] = "bytes",
    [TEXT_KIND] = "kind",
    [TEXT_AGE] = "age",
    [TEXT_SITE] = "site",
    /* Those that open something, so never one that calls back into the program. */
    [TEXT_DROP] = "ambit_(ctx_(open|open_timeout|merge|detach|hold)|timer_arm(_[a-z]+)?)_at",
    [TEXT_COMMENT] = "ambit's census",
};

/* ---- Protocol buffers ------------------------------------------------------------------------ */

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, VARINT_BYTES = 10 };

/* A message that is put together before its length can be written. The largest is a sample: 32
 * numbers of locations and little else. */
struct message {
    unsigned char bytes[512];
    size_t length;
};

static size_t encode(unsigned char *out, uint64_t number) {
    size_t length = 0;
    for (; number >= 0x80; number >>= 7) out[length++] = (unsigned char)(number | 0x80);
    out[length++] = (unsigned char)number;
    return length;
}

static void add_number(struct message *message, uint64_t number) {
    message->length += encode(message->bytes + message->length, number);
}
/* Zero is the default and left out. */
static void add_field(struct message *message, unsigned field, uint64_t number) {
    if (!number) return;
    add_number(message, field << 3 | WIRE_VARINT);
    add_number(message, number);
}
static void add_message(struct message *message, unsigned field, const struct message *inner) {
    add_number(message, field << 3 | WIRE_BYTES);
    add_number(message, inner->length);
    memcpy(message->bytes + message->length, inner->bytes, inner->length);
    message->length += inner->length;
}

static void put_header(ambit__output *output, unsigned field, size_t length) {
    unsigned char header[2 * VARINT_BYTES];
    size_t header_length = encode(header, field << 3 | WIRE_BYTES);
    header_length += encode(header + header_length, length);
    ambit__put_bytes(output, header, header_length);
}
static void put_message(ambit__output *output, unsigned field, const struct message *message) {
    put_header(output, field, message->length);
    ambit__put_bytes(output, message->bytes, message->length);
}
static void put_number(ambit__output *output, unsigned field, uint64_t number) {
    struct message message = {.length = 0};
    add_field(&message, field, number);
    ambit__put_bytes(output, message.bytes, message.length);
}
/* The two one after the other, as UTF-8, which the format requires; what is not becomes U+FFFD. */
static void put_strings_joined(ambit__output *output, const char *text, const char *more) {
    size_t length = strlen(more);
    for (const char *at = text; *at;) {
        size_t bytes = ambit__utf8_length(at);
        length += bytes ? bytes : sizeof AMBIT__UTF8_REPLACEMENT - 1;
        at += bytes ? bytes : 1;
    }
    put_header(output, PROFILE_STRING_TABLE, length);
    for (const char *at = text; *at;) {
        size_t bytes = ambit__utf8_length(at);
        if (bytes)
            ambit__put_bytes(output, at, bytes);
        else
            ambit__put_text(output, AMBIT__UTF8_REPLACEMENT);
        at += bytes ? bytes : 1;
    }
    ambit__put_text(output, more);
}
static void put_string(ambit__output *output, const char *text) {
    put_strings_joined(output, text, "");
}

/* ---- What is written ------------------------------------------------------------------------- */

struct profile {
    ambit__output output;
    const ambit_census *census;
    uintptr_t *addresses; /* of all stacks, sorted, each once */
    size_t address_count, address_capacity;
    ambit__mappings mappings; /* empty without stacks */
};

static int by_address(const void *left, const void *right) {
    const uintptr_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

/* Into the call instruction: the address after it may be another line's. */
static uintptr_t call_of(uintptr_t return_address) { return return_address - 1; }

static void gather_addresses(struct profile *profile) {
    size_t count = 0, kept = 0;
    uintptr_t *all = profile->addresses;
    for (size_t i = 0; i < profile->census->stacks_used; i++) {
        const ambit__census_stack *stack = &profile->census->stacks[i];
        for (uint32_t frame = 0; frame < stack->depth; frame++)
            all[count++] = call_of(stack->frames[frame]);
    }
    qsort(all, count, sizeof *all, by_address);
    for (size_t i = 0; i < count; i++)
        if (!kept || all[i] != all[kept - 1]) all[kept++] = all[i];
    profile->address_count = kept;
}

static bool prepare(struct profile *profile) {
    for (size_t i = 0; i < profile->census->stacks_used; i++)
        profile->address_capacity += profile->census->stacks[i].depth;
    if (!profile->address_capacity) return true;
    profile->addresses =
        ambit__allocate(profile->address_capacity * sizeof(uintptr_t), _Alignof(uintptr_t));
    if (!profile->addresses) return false;
    gather_addresses(profile);
    return ambit__mappings_take(&profile->mappings);
}

static void discard(struct profile *profile) {
    ambit__release(profile->addresses, profile->address_capacity * sizeof(uintptr_t),
                   _Alignof(uintptr_t));
    ambit__mappings_discard(&profile->mappings);
}

static uint64_t site_location(size_t row) { return row + 1; }

static uint64_t address_location(const struct profile *profile, uintptr_t address) {
    const uintptr_t *found =
        bsearch(&address, profile->addresses, profile->address_count, sizeof address, by_address);
    return profile->census->used + (uint64_t)(found - profile->addresses) + 1;
}

/* Numbers of the strings of a row, a mapping and an address. */
static uint64_t file_text(size_t row) { return TEXTS + 3 * (uint64_t)row; }
static uint64_t function_text(size_t row) { return file_text(row) + 1; }
static uint64_t site_text(size_t row) { return file_text(row) + 2; }
static uint64_t path_text(const struct profile *profile, size_t mapping) {
    return file_text(profile->census->used) + 2 * (uint64_t)mapping;
}
static uint64_t symbol_text(const struct profile *profile, size_t address) {
    return path_text(profile, profile->mappings.used) + address;
}

static void add_label(struct message *sample, unsigned key, uint64_t text) {
    struct message label = {.length = 0};
    add_field(&label, LABEL_KEY, key);
    add_field(&label, LABEL_STR, text);
    add_message(sample, SAMPLE_LABEL, &label);
}

static void put_sample(struct profile *profile, size_t index, const ambit__census_stack *stack,
                       uint64_t objects, uint64_t bytes) {
    const ambit_census_row *row = &profile->census->rows[index];
    struct message sample = {.length = 0}, values = {.length = 0};
    add_field(&sample, SAMPLE_LOCATION_ID, site_location(index));
    for (uint32_t frame = 0; stack && frame < stack->depth; frame++)
        add_field(&sample, SAMPLE_LOCATION_ID,
                  address_location(profile, call_of(stack->frames[frame])));
    add_number(&values, objects);
    add_number(&values, bytes);
    add_message(&sample, SAMPLE_VALUE, &values);
    add_label(&sample, TEXT_KIND, TEXT_KINDS + (unsigned)row->kind);
    add_label(&sample, TEXT_AGE, TEXT_AGES + row->age_band);
    add_label(&sample, TEXT_SITE, site_text(index));
    put_message(&profile->output, PROFILE_SAMPLE, &sample);
}

__extension__ typedef unsigned __int128 wide;

/* part * whole / sum, for part <= sum; part itself if the whole is large enough for all of them. */
static uint64_t scale(uint64_t part, uint64_t whole, uint64_t sum) {
    return sum > whole ? (uint64_t)((wide)part * whole / sum) : part;
}

static void put_samples_of(struct profile *profile, size_t index) {
    const ambit_census *census = profile->census;
    const ambit_census_row *row = &census->rows[index];
    uint64_t all_objects = 0, all_bytes = 0, objects = 0, bytes = 0;
    size_t first, end;
    ambit__census_stacks_of(census, row, &first, &end);
    for (size_t i = first; i < end; i++) {
        all_objects += census->stacks[i].objects;
        all_bytes += census->stacks[i].bytes;
    }
    for (size_t i = first; i < end; i++) {
        /* By running sums, so that what is rounded off one goes to the next. */
        uint64_t objects_before = scale(objects, row->count, all_objects);
        uint64_t bytes_before = scale(bytes, row->bytes, all_bytes);
        objects += census->stacks[i].objects;
        bytes += census->stacks[i].bytes;
        put_sample(profile, index, &census->stacks[i],
                   scale(objects, row->count, all_objects) - objects_before,
                   scale(bytes, row->bytes, all_bytes) - bytes_before);
    }
    uint64_t objects_left = row->count - scale(all_objects, row->count, all_objects);
    uint64_t bytes_left = row->bytes - scale(all_bytes, row->bytes, all_bytes);
    if (objects_left || bytes_left) put_sample(profile, index, NULL, objects_left, bytes_left);
}

static void put_value_type(ambit__output *output, unsigned type, unsigned unit) {
    struct message message = {.length = 0};
    add_field(&message, VALUE_TYPE_TYPE, type);
    add_field(&message, VALUE_TYPE_UNIT, unit);
    put_message(output, PROFILE_SAMPLE_TYPE, &message);
}

static void put_function(ambit__output *output, uint64_t id, uint64_t name, uint64_t file) {
    struct message function = {.length = 0};
    add_field(&function, FUNCTION_ID, id);
    add_field(&function, FUNCTION_NAME, name);
    add_field(&function, FUNCTION_SYSTEM_NAME, name);
    add_field(&function, FUNCTION_FILENAME, file);
    put_message(output, PROFILE_FUNCTION, &function);
}

static void put_site(struct profile *profile, size_t index) {
    struct message location = {.length = 0}, line = {.length = 0};
    uint64_t id = site_location(index);
    add_field(&line, LINE_FUNCTION_ID, id);
    add_field(&line, LINE_LINE, profile->census->rows[index].site->line);
    add_field(&location, LOCATION_ID, id);
    add_message(&location, LOCATION_LINE, &line);
    put_message(&profile->output, PROFILE_LOCATION, &location);
    put_function(&profile->output, id, function_text(index), file_text(index));
}

static void put_address(struct profile *profile, size_t index) {
    struct message location = {.length = 0}, line = {.length = 0};
    uintptr_t address = profile->addresses[index];
    uint64_t id = address_location(profile, address);
    const ambit__mapping *mapping = ambit__mapping_of(&profile->mappings, address);
    add_field(&location, LOCATION_ID, id);
    if (mapping)
        add_field(&location, LOCATION_MAPPING_ID,
                  (uint64_t)(mapping - profile->mappings.items) + 1);
    add_field(&location, LOCATION_ADDRESS, address);
    if (ambit__symbol_of(address)) {
        add_field(&line, LINE_FUNCTION_ID, id); /* functions are numbered as locations are */
        add_message(&location, LOCATION_LINE, &line);
        put_function(&profile->output, id, symbol_text(profile, index), TEXT_EMPTY);
    }
    put_message(&profile->output, PROFILE_LOCATION, &location);
}

static void put_mapping(struct profile *profile, size_t index) {
    const ambit__mapping *mapping = &profile->mappings.items[index];
    struct message message = {.length = 0};
    add_field(&message, MAPPING_ID, index + 1);
    add_field(&message, MAPPING_START, mapping->start);
    add_field(&message, MAPPING_LIMIT, mapping->limit);
    add_field(&message, MAPPING_OFFSET, mapping->offset);
    add_field(&message, MAPPING_FILENAME, path_text(profile, index));
    add_field(&message, MAPPING_BUILD_ID, path_text(profile, index) + 1);
    put_message(&profile->output, PROFILE_MAPPING, &message);
}

static void put_strings(struct profile *profile) {
    ambit__output *output = &profile->output;
    for (unsigned i = 0; i < TEXT_KINDS; i++) put_string(output, fixed_texts[i]);
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        put_string(output, ambit_kind_name((ambit_kind)kind));
    for (unsigned band = 0; band < AMBIT_AGE_BANDS; band++)
        put_string(output, ambit_age_band_name(band));
    for (size_t i = 0; i < profile->census->used && !output->status; i++) {
        const ambit_site *site = profile->census->rows[i].site;
        char line[16];
        (void)snprintf(line, sizeof line, ":%" PRIu32, site->line);
        put_string(output, site->file);
        put_string(output, site->function);
        put_strings_joined(output, site->file, line);
    }
    for (size_t i = 0; i < profile->mappings.used; i++) {
        put_string(output, profile->mappings.items[i].path);
        put_string(output, profile->mappings.items[i].build_id);
    }
    for (size_t i = 0; i < profile->address_count && !output->status; i++) {
        const char *symbol = ambit__symbol_of(profile->addresses[i]);
        put_string(output, symbol ? symbol : "");
    }
}

ambit_status ambit_census_write_pprof(const ambit_census *census, ambit_writer *write, void *user) {
    struct profile profile = {.output = {write, user, AMBIT_OK}, .census = census};
    ambit__output *output = &profile.output;
    if (!prepare(&profile)) {
        discard(&profile);
        return AMBIT_EMEMORY;
    }
    put_value_type(output, TEXT_OBJECTS, TEXT_COUNT);
    put_value_type(output, TEXT_SPACE, TEXT_BYTES);
    for (size_t i = 0; i < census->used && !output->status; i++) put_samples_of(&profile, i);
    for (size_t i = 0; i < profile.mappings.used; i++) put_mapping(&profile, i);
    for (size_t i = 0; i < census->used && !output->status; i++) put_site(&profile, i);
    for (size_t i = 0; i < profile.address_count && !output->status; i++) put_address(&profile, i);
    put_strings(&profile);
    put_number(output, PROFILE_DROP_FRAMES, TEXT_DROP);
    put_number(output, PROFILE_COMMENT, TEXT_COMMENT);
    put_number(output, PROFILE_DEFAULT_SAMPLE_TYPE, TEXT_SPACE);
    discard(&profile);
    return output->status;
}
