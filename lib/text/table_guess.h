/* table_guess.h: the format of a table from its file name, else from its first line. */
#ifndef MILLET_TEXT_TABLE_GUESS_H
#define MILLET_TEXT_TABLE_GUESS_H

#include "text/table.h"
#include "text/table_window.h"

enum table_format table_guess(const struct table_window *window,
                              const struct table_options *options);

#endif
