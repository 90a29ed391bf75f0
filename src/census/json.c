/* Censuses as JSON. The fields are documented in docs/census.md. */
#include <inttypes.h>

#include "census/output.h"
#include "census/snapshot.h"

static void put_row(ambit__output *output, const ambit_census_row *row) {
    ambit__put_json_field(output, "kind", ambit_kind_name(row->kind));
    ambit__put_json_field(output, "file", row->site->file);
    ambit__put_json_field(output, "function", row->site->function);
    ambit__put_json_field(output, "age", ambit_age_band_name(row->age_band));
    ambit__put(output,
               "\"line\":%" PRIu32 ",\"count\":%" PRIu64 ",\"bytes\":%" PRIu64
               ",\"zombies\":%" PRIu64 ",\"long_lived\":%" PRIu64 ",\"oldest_ns\":%" PRId64 "}",
               row->site->line, row->count, row->bytes, row->zombies, row->long_lived,
               row->oldest_ns);
}

ambit_status ambit_census_write_json(const ambit_census *census, ambit_writer *write, void *user) {
    ambit__output output = {write, user, AMBIT_OK};
    ambit__put_text(&output, "{\"version\":1,\"rows\":[");
    for (size_t i = 0; i < census->used && !output.status; i++) {
        ambit__put_text(&output, i ? ",\n{" : "\n{");
        put_row(&output, &census->rows[i]);
    }
    ambit__put_text(&output, "]}\n");
    return output.status;
}
