/* records_grams.c: the "grams" of stream.json and of a model's config.json; what records carry must
 * be what the model was made for. */
#include <inttypes.h>
#include <stdio.h>

#include "core/jobject.h"
#include "io/records.h"

bool records_grams_check(const struct records_grams *grams, struct error *err)
{
    if (grams->buckets < RECORDS_GRAMS_MIN_BUCKETS || grams->buckets > RECORDS_GRAMS_MAX_BUCKETS)
        return error_set(err, "%" PRIu32 " buckets of n-grams; expected %d to %d", grams->buckets,
                         RECORDS_GRAMS_MIN_BUCKETS, RECORDS_GRAMS_MAX_BUCKETS);
    bool no_chars = grams->char_min == 0 && grams->char_max == 0;
    if (!no_chars && (grams->char_min == 0 || grams->char_max < grams->char_min ||
                      grams->char_max > RECORDS_GRAMS_MAX_CHARS))
        return error_set(err,
                         "n-grams of %" PRIu32 " to %" PRIu32
                         " characters; expected 1 to %d, the smaller first, or 0 for none",
                         grams->char_min, grams->char_max, RECORDS_GRAMS_MAX_CHARS);
    if (grams->word_max > RECORDS_GRAMS_MAX_WORDS)
        return error_set(err, "n-grams of up to %" PRIu32 " words; expected 0 (none) to %d",
                         grams->word_max, RECORDS_GRAMS_MAX_WORDS);
    return !no_chars || grams->word_max ||
           error_set(err, "n-grams of no characters and no words are none; give one of them");
}

bool records_grams_equal(const struct records_grams *a, const struct records_grams *b)
{
    return a->buckets == b->buckets &&
           (a->buckets == 0 || (a->char_min == b->char_min && a->char_max == b->char_max &&
                                a->word_max == b->word_max));
}

const char *records_grams_text(const struct records_grams *grams, char text[RECORDS_GRAMS_TEXT])
{
    if (grams->buckets)
        snprintf(text, RECORDS_GRAMS_TEXT,
                 "buckets=%" PRIu32 ",chars=%" PRIu32 "-%" PRIu32 ",words=%" PRIu32, grams->buckets,
                 grams->char_min, grams->char_max, grams->word_max);
    else
        snprintf(text, RECORDS_GRAMS_TEXT, "none");
    return text;
}

json_t *records_grams_json(const struct records_grams *grams)
{
    return json_pack("{s:I, s:[I, I], s:I}", "buckets", (json_int_t)grams->buckets, "chars",
                     (json_int_t)grams->char_min, (json_int_t)grams->char_max, "words",
                     (json_int_t)grams->word_max);
}

bool records_grams_from_json(const json_t *object, const char *place, struct records_grams *grams,
                             struct error *err)
{
    int64_t buckets = 0, words = 0, chars[2] = {0, 0};
    const json_t *range = json_object_get(object, "chars");
    *grams = (struct records_grams){0};
    if (!json_is_object(object))
        return error_set(err, "%s: n-grams must be an object with buckets, chars and words", place);
    if (!jobject_integer(object, place, "buckets", true, RECORDS_GRAMS_MIN_BUCKETS,
                         RECORDS_GRAMS_MAX_BUCKETS, &buckets, err) ||
        !jobject_integer(object, place, "words", true, 0, RECORDS_GRAMS_MAX_WORDS, &words, err))
        return false;
    if (json_array_size(range) != 2)
        return error_set(err, "%s: \"chars\" must be two numbers, smallest and largest", place);
    for (size_t i = 0; i < 2; i++) {
        const json_t *number = json_array_get(range, i);
        chars[i] = json_integer_value(number);
        if (!json_is_integer(number) || chars[i] < 0 || chars[i] > RECORDS_GRAMS_MAX_CHARS)
            return error_set(err, "%s: \"chars\" must be two numbers from 0 to %d", place,
                             RECORDS_GRAMS_MAX_CHARS);
    }
    const struct records_grams found = {.buckets = (uint32_t)buckets,
                                        .char_min = (uint32_t)chars[0],
                                        .char_max = (uint32_t)chars[1],
                                        .word_max = (uint32_t)words};
    if (!records_grams_check(&found, err))
        return error_at(err, "%s: ", place);
    *grams = found;
    return true;
}

bool records_check_grams(const struct records_header *header, const char *stream_name,
                         const struct records_grams *grams, const char *model_name,
                         struct error *err)
{
    char has[RECORDS_GRAMS_TEXT], needs[RECORDS_GRAMS_TEXT];
    if (!grams->buckets || records_grams_equal(&header->grams, grams))
        return true;
    return error_set(err,
                     "%s: its records carry n-grams %s, but %s needs %s; make the stream with "
                     "mtok -m %s",
                     stream_name, records_grams_text(&header->grams, has), model_name,
                     records_grams_text(grams, needs), model_name);
}
