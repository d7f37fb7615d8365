/* What people and scenarios say to the link emulator, on its command line and while it runs. Pure.
 *
 *   line      [DIRECTION] SETTING ...     or "stats"
 *   DIRECTION ab | ba | both (the default): from the first end to the second, or back
 *   SETTING   delay=MS jitter=MS loss=P burst=N reorder=P hold=MS dup=P corrupt=P rate=MBIT
 *             queue=BYTES buffer=BYTES max=BYTES cut=on|off
 *
 * P is a probability, 0.1 or 10%. Rate 0 is as fast as it goes. */
#ifndef KM_TEST_NETLAB_LINK_SETTINGS_H
#define KM_TEST_NETLAB_LINK_SETTINGS_H

#include <keymesh/error.h>

#include "test/netlab/link_pipe.h"

/* Changes `options` by one word. 0, or KM_ERR_INVALID with a sentence; nothing changed then. */
KM_NODISCARD int settings_word(pipe_options *options, const char *word, km_errinfo *err);

/* Changes the two directions by the words of a line, which is cut up. All or nothing. */
KM_NODISCARD int settings_line(pipe_options *ab, pipe_options *ba, char *line, km_errinfo *err);

#endif /* KM_TEST_NETLAB_LINK_SETTINGS_H */
