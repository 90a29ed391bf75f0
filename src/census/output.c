#include "census/output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int ambit_write_to_file(const char *text, size_t length, void *file) {
    return fwrite(text, 1, length, file) == length ? 0 : -1;
}

void ambit__put_bytes(ambit__output *output, const void *bytes, size_t length) {
    if (length && !output->status && output->write(bytes, length, output->user))
        output->status = AMBIT_EWRITE;
}

void ambit__put_text(ambit__output *output, const char *text) {
    ambit__put_bytes(output, text, strlen(text));
}

void ambit__put(ambit__output *output, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    /* clang-tidy 14 sees this only when it reads several files in one run. */
    int length = /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
        vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0) return;
    ambit__put_bytes(output, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

void ambit__put_site(ambit__output *output, const ambit_site *site) {
    ambit__put_text(output, site->file);
    ambit__put(output, ":%" PRIu32 " in ", site->line);
    ambit__put_text(output, site->function);
    ambit__put_text(output, "()\n");
}

size_t ambit__utf8_length(const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    /* The second byte's range keeps out overlong forms, surrogates, and what is above U+10FFFF. */
    unsigned char low = 0x80, high = 0xBF;
    size_t length;
    if (at[0] < 0x80) return at[0] != 0;
    if (at[0] < 0xC2 || at[0] > 0xF4) return 0;
    length = at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;
    if (at[0] == 0xE0) low = 0xA0;
    if (at[0] == 0xED) high = 0x9F;
    if (at[0] == 0xF0) low = 0x90;
    if (at[0] == 0xF4) high = 0x8F;
    if (at[1] < low || at[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if (at[i] < 0x80 || at[i] > 0xBF) return 0; /* the end of the text included */
    return length;
}

void ambit__put_json(ambit__output *output, const char *text) {
    ambit__put_bytes(output, "\"", 1);
    for (const char *plain = text;;) { /* from here to `text` nothing needs escaping */
        unsigned char byte = (unsigned char)*text;
        size_t length = ambit__utf8_length(text);
        if (length && byte >= 0x20 && byte != '"' && byte != '\\') {
            text += length;
            continue;
        }
        ambit__put_bytes(output, plain, (size_t)(text - plain));
        if (!byte) break;
        if (!length)
            ambit__put_text(output, AMBIT__UTF8_REPLACEMENT);
        else
            ambit__put(output, byte < 0x20 ? "\\u%04x" : "\\%c", byte);
        plain = ++text;
    }
    ambit__put_bytes(output, "\"", 1);
}

void ambit__put_json_field(ambit__output *output, const char *name, const char *text) {
    ambit__put(output, "\"%s\":", name);
    ambit__put_json(output, text);
    ambit__put_bytes(output, ",", 1);
}
