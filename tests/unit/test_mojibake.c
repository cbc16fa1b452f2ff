/* Mojibake is found, and honest text is not taken for it. */
#include "text/mojibake.h"

#include "tests/tap.h"

static void is(const char *text, enum mojibake expected)
{
    enum mojibake kind = mojibake_find(text, strlen(text));
    tap_ok(kind == expected, "%s: %s", text, mojibake_name(kind));
}

int main(void)
{
    is("рдорд░рд╛рдареА рднрд╛рд╖рд╛", MOJIBAKE_CP866); /* मराठी भाषा */
    is("тАЛрдпрдВрджрд╛ T20", MOJIBAKE_CP866);
    is("cafÃ© au lait", MOJIBAKE_CP1252);
    is("à¤®à¤° 1", MOJIBAKE_CP1252);
    is("मराठी भाषा", MOJIBAKE_NONE);
    is("plain ASCII", MOJIBAKE_NONE);
    is("", MOJIBAKE_NONE);
    is("café naïve", MOJIBAKE_NONE);
    is("Привет, мир", MOJIBAKE_NONE);
    is("сад", MOJIBAKE_NONE); /* three letters that happen to be the bytes of one character */
    is("рдорд░ मराठी",
       MOJIBAKE_NONE); /* repaired in part: not all of it came through the code page */
    return tap_done();
}
