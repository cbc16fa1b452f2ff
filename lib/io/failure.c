#include "io/failure.h"

#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "core/memory.h"

static const char says[] = " failed: ";

/* Is the cause itself another program's failure ("mtok failed: …")? Then the length of that
 * program's name. */
static size_t foreign_program(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz");
    return n && strncmp(text + n, says, strlen(says)) == 0 ? n : 0;
}

bool failure_write(struct tar_writer *writer, const char *program, const struct error *cause,
                   struct error *err)
{
    const char *text = cause->text;
    size_t n = foreign_program(text);
    json_t *object = json_pack("{s:i, s:s, s:o, s:o}", "millet", 1, "kind", "error", "program",
                               n ? json_stringn(text, n) : json_string(program), "text",
                               jobject_text(n ? text + n + strlen(says) : text));
    if (!object)
        return error_set(err, "no memory for " FAILURE_MEMBER);
    char *dump = jobject_seal(object, err) ? jobject_dump(object, err) : NULL;
    bool ok = dump && tar_write(writer, FAILURE_MEMBER, dump, strlen(dump), err);
    free(dump);
    json_decref(object);
    return ok;
}

bool failure_tell(const char *place, const uint8_t *bytes, size_t n, struct error *err)
{
    char *member = memory_format(err, "%s: " FAILURE_MEMBER, place);
    json_t *object = member ? jobject_parse((const char *)bytes, n, member, err) : NULL;
    const char *program, *text;
    if (object && jobject_check_seal(object, member, err) &&
        jobject_string(object, member, "program", true, &program, err) &&
        jobject_string(object, member, "text", true, &text, err))
        error_set(err, "%s%s%s", program, says, text);
    json_decref(object);
    free(member);
    return false;
}
