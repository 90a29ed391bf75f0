/* What all writers share: the caller's writer, and how texts are put so that readers accept them. */
#ifndef AMBIT_CENSUS_OUTPUT_H
#define AMBIT_CENSUS_OUTPUT_H

#include "ambit/census.h"

typedef struct ambit__output {
    ambit_writer *write;
    void *user;
    ambit_status status; /* after the first refusal AMBIT_EWRITE, and nothing is written any more */
} ambit__output;

void ambit__put_bytes(ambit__output *output, const void *bytes, size_t length);
void ambit__put_text(ambit__output *output, const char *text);
/* At most 511 bytes. */
__attribute__((format(printf, 2, 3))) void ambit__put(ambit__output *output, const char *format,
                                                      ...);
/* "file:line in function()" and a newline. */
void ambit__put_site(ambit__output *output, const ambit_site *site);

/* A JSON string (RFC 8259), quotes included. What is not UTF-8 becomes U+FFFD, byte by byte. */
void ambit__put_json(ambit__output *output, const char *text);
/* "name":"text", with the comma. */
void ambit__put_json_field(ambit__output *output, const char *name, const char *text);

/* How many bytes of `text` form a character of UTF-8 (RFC 3629); 0 if they do not. */
size_t ambit__utf8_length(const char *text);
#define AMBIT__UTF8_REPLACEMENT "\xEF\xBF\xBD"

#endif
