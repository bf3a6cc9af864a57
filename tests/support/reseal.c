/* reseal.c -- see reseal.h. */
#include "tests/support/reseal.h"

#include <string.h>
#include <xxhash.h>

#include "runtime/model_format.h"

static bool is_inside(const struct erne_disk_section *s, size_t n_bytes)
{
    return s->offset <= n_bytes && s->n_bytes <= n_bytes - s->offset;
}

static void reseal_records(uint8_t *data, const struct erne_disk_section *table)
{
    struct erne_disk_record record;

    for (size_t at = 0; at + sizeof(record) <= table->n_bytes; at += sizeof(record)) {
        memcpy(&record, data + table->offset + at, sizeof(record));
        record.check = erne_record_hash(&record);
        memcpy(data + table->offset + at, &record, sizeof(record));
    }
}

void reseal(uint8_t *data, size_t n_bytes)
{
    struct erne_disk_header header;
    struct erne_disk_trailer trailer;

    if (n_bytes < sizeof(header) + sizeof(trailer))
        return;
    memcpy(&header, data, sizeof(header));
    if (is_inside(&header.sections[ERNE_SECTION_TENSORS - 1], n_bytes))
        reseal_records(data, &header.sections[ERNE_SECTION_TENSORS - 1]);
    /* A table that overlaps the header has changed it. */
    memcpy(&header, data, sizeof(header));
    for (size_t i = 0; i < ERNE_N_SECTIONS; i++) {
        struct erne_disk_section *s = &header.sections[i];

        if (i != ERNE_SECTION_DATA - 1 && s->number != 0 && is_inside(s, n_bytes))
            s->xxh3 = XXH3_64bits(data + s->offset, (size_t)s->n_bytes);
    }
    header.xxh3 = erne_header_hash(&header);
    memcpy(data, &header, sizeof(header));
    memcpy(&trailer, data + n_bytes - sizeof(trailer), sizeof(trailer));
    trailer.header_xxh3 = header.xxh3;
    trailer.check = erne_trailer_hash(&trailer);
    memcpy(data + n_bytes - sizeof(trailer), &trailer, sizeof(trailer));
}
