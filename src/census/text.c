/* Censuses as text for people. */
#include <inttypes.h>

#include "base/memory.h"
#include "census/mapping.h"
#include "census/output.h"
#include "census/snapshot.h"

ambit_status ambit_census_write_text(const ambit_census *census, ambit_writer *write, void *user) {
    ambit__output output = {write, user, AMBIT_OK};
    ambit__put(&output, "%-8s %5s %9s %12s %8s %10s %9s  %s\n", "kind", "age", "count", "bytes",
               "zombies", "long-lived", "oldest s", "opened at");
    for (size_t i = 0; i < census->used && !output.status; i++) {
        const ambit_census_row *row = &census->rows[i];
        ambit__put(&output,
                   "%-8s %5s %9" PRIu64 " %12" PRIu64 " %8" PRIu64 " %10" PRIu64 " %9.1f  ",
                   ambit_kind_name(row->kind), ambit_age_band_name(row->age_band), row->count,
                   row->bytes, row->zombies, row->long_lived, (double)row->oldest_ns / 1e9);
        ambit__put_site(&output, row->site);
    }
    return output.status;
}

/* ---- Stacks ---------------------------------------------------------------------------------- */

static void put_frame(ambit__output *output, const ambit__mappings *mappings, unsigned number,
                      uintptr_t address) {
    /* Inside of the call instruction, so that addr2line tells the line of the call. */
    const ambit__mapping *mapping = ambit__mapping_of(mappings, --address);
    ambit__put(output, "    #%-2u 0x%" PRIxPTR, number, address);
    if (mapping) {
        ambit__put_text(output, " ");
        ambit__put_text(output, mapping->path);
        ambit__put(output, "+0x%" PRIxPTR, address - mapping->bias);
    }
    const char *symbol = ambit__symbol_of(address);
    if (symbol) {
        ambit__put_text(output, " in ");
        ambit__put_text(output, symbol);
        ambit__put_text(output, "()");
    }
    ambit__put_text(output, "\n");
}

static void put_stacks_of(ambit__output *output, const ambit__mappings *mappings,
                          const ambit_census *census, const ambit_census_row *row) {
    size_t first, end;
    ambit__census_stacks_of(census, row, &first, &end);
    for (size_t i = first; i < end && !output->status; i++) {
        const ambit__census_stack *stack = &census->stacks[i];
        ambit__put(output,
                   "%s %s: about %" PRIu64 " of %" PRIu64 ", about %" PRIu64 " bytes, by %" PRIu64
                   " taken: ",
                   ambit_kind_name(row->kind), ambit_age_band_name(row->age_band), stack->objects,
                   row->count, stack->bytes, stack->taken);
        ambit__put_site(output, row->site);
        for (unsigned frame = 0; frame < stack->depth; frame++)
            put_frame(output, mappings, frame, stack->frames[frame]);
    }
}

ambit_status ambit_census_write_stacks(const ambit_census *census, ambit_writer *write,
                                       void *user) {
    ambit__output output = {write, user, AMBIT_OK};
    ambit__mappings mappings;
    if (!ambit__mappings_take(&mappings)) return AMBIT_EMEMORY;
    for (size_t i = 0; i < census->used && !output.status; i++)
        put_stacks_of(&output, &mappings, census, &census->rows[i]);
    ambit__mappings_discard(&mappings);
    return output.status;
}
