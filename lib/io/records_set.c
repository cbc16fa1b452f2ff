/* records_set.c: all parts of one or several record streams at once, records by number. On mapped
 * files a part is a handful of pointers; only parts of compressed streams occupy memory of their
 * own. */
#include <stdlib.h>

#include "core/hash.h"
#include "core/memory.h"
#include "io/records_header.h"

/* Parts collected so far, growing. */
struct collection {
    struct records_set *set;
    size_t capacity;
    struct hash_stream *chain;
    const char *first_name; /* of the source whose header is the set's */
};

static bool add_part(struct collection *collection, struct records_part *part, struct error *err)
{
    struct records_set *set = collection->set;
    if (!memory_grow(&set->part, &collection->capacity, set->n_parts + 1, sizeof *set->part, err)) {
        records_part_free(part);
        return false;
    }
    hash_stream_add_number(collection->chain, part->hash);
    set->n += part->n;
    set->n_tokens += part->n_tokens;
    for (size_t i = 0; i < part->n; i++) {
        size_t length = (size_t)(part->offset[i + 1] - part->offset[i]);
        if (length > set->longest)
            set->longest = length;
    }
    set->has_logits = set->has_logits && part->logits;
    set->has_text = set->has_text && part->text;
    set->part[set->n_parts++] = *part;
    return true;
}

static bool take_header(struct collection *collection, const struct records_header *header,
                        const char *name, struct error *err)
{
    struct records_set *set = collection->set;
    if (!collection->first_name) {
        collection->first_name = name;
        return records_header_copy(header, &set->header, err);
    }
    if (set->header.max_tokens < header->max_tokens)
        set->header.max_tokens = header->max_tokens;
    return records_header_match(&set->header, collection->first_name, header, name, err);
}

static bool add_source(struct collection *collection, struct source *source, struct error *err)
{
    if (!source_spool(source, err))
        return false;
    struct records_reader *reader = records_reader_open(source, err);
    if (!reader)
        return false;
    bool ok = take_header(collection, records_reader_header(reader), source_name(source), err);
    struct records_part part;
    int more = 0;
    while (ok && (more = records_next(reader, &part, err)) > 0)
        ok = add_part(collection, &part, err);
    records_reader_close(reader);
    return ok && more == 0;
}

static bool number_records(struct records_set *set, struct error *err)
{
    set->first = memory_array(set->n_parts + 1, sizeof *set->first, err);
    if (!set->first)
        return false;
    set->first[0] = 0;
    for (size_t p = 0; p < set->n_parts; p++)
        set->first[p + 1] = set->first[p] + set->part[p].n;
    return true;
}

static bool add_paths(struct collection *collection, const char *const *path, size_t n_paths,
                      struct error *err)
{
    struct records_set *set = collection->set;
    set->source = memory_zeroed(n_paths, sizeof *set->source, err);
    if (!set->source)
        return false;
    for (size_t i = 0; i < n_paths; i++) {
        set->source[i] = source_open(path[i], false, err);
        if (!set->source[i])
            return false;
        set->n_sources++;
        if (!add_source(collection, set->source[i], err))
            return false;
    }
    return number_records(set, err);
}

bool records_set_open(struct records_set *set, const char *const *path, size_t n_paths,
                      struct error *err)
{
    static const char *const standard_input[] = {"-"};
    *set = (struct records_set){.has_logits = true, .has_text = true};
    struct collection collection = {.set = set, .chain = hash_stream_open()};
    if (!collection.chain)
        return error_set(err, "no memory for a checksum");
    bool ok = add_paths(&collection, n_paths ? path : standard_input, n_paths ? n_paths : 1, err);
    set->fingerprint = hash_stream_value(collection.chain);
    hash_stream_close(collection.chain);
    set->has_logits = set->has_logits && set->n_parts;
    set->has_text = set->has_text && set->n_parts;
    if (!ok)
        records_set_close(set);
    return ok;
}

void records_set_close(struct records_set *set)
{
    for (size_t p = 0; p < set->n_parts; p++)
        records_part_free(&set->part[p]);
    for (size_t i = 0; i < set->n_sources; i++)
        source_close(set->source[i]);
    records_header_free(&set->header);
    free(set->part);
    free(set->first);
    free(set->source);
    *set = (struct records_set){0};
}

struct record records_get(const struct records_set *set, size_t i)
{
    size_t low = 0, high = set->n_parts; /* first[low] <= i < first[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (set->first[middle] <= i)
            low = middle;
        else
            high = middle;
    }
    const struct records_part *part = &set->part[low];
    size_t k = i - set->first[low];
    struct record record = {.id = part->id + part->offset[k],
                            .n_ids = (size_t)(part->offset[k + 1] - part->offset[k]),
                            .label = part->label ? part->label[k] : RECORDS_LABEL_UNKNOWN};
    record.labelled = record.label != RECORDS_LABEL_UNKNOWN;
    if (part->label_offset) {
        record.label_id = part->label_id + part->label_offset[k];
        record.n_label_ids = (size_t)(part->label_offset[k + 1] - part->label_offset[k]);
        record.labelled = record.n_label_ids == 0 || record.label_id[0] >= 0;
        if (!record.labelled)
            record.n_label_ids = 0;
    }
    if (part->logits)
        record.logits = part->logits + k * set->header.n_labels;
    if (part->gram) {
        record.gram = part->gram + part->gram_offset[k];
        record.n_grams = (size_t)(part->gram_offset[k + 1] - part->gram_offset[k]);
    }
    if (part->text) {
        record.text = part->text + part->text_offset[k];
        record.n_text = (size_t)(part->text_offset[k + 1] - part->text_offset[k]);
    }
    return record;
}

bool records_any_labelled(const struct records_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        if (records_get(set, i).labelled)
            return true;
    return false;
}
